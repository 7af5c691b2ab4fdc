"""Find the images, label files, classes and image sets of a YOLO data set.

Layouts: images/train/a.jpg with labels/train/a.txt, train/images/a.jpg with train/labels/a.txt (Roboflow), JPEGImages with labels
(Darknet's voc_label.py), and a.jpg next to a.txt (Darknet, CVAT, LabelImg). Folder names may have any case.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from detector.errors import MissingExtra
from detector.imaging.suffixes import IMAGE_SUFFIXES
from training.data.set_names import set_of_name
from training.data.voc_layout import ANNOTATION_SUFFIX, FOREIGN_FOLDERS, file_inside, read_text
from training.datasets.importers.yolo_labels import MAX_TEXT_BYTES, Classes, looks_like_labels
from training.errors import DatasetError

try:
    import yaml
except ModuleNotFoundError as error:
    raise MissingExtra("reading YOLO's data.yaml needs pyyaml, which is not installed. Install the extra 'train'.") from error

YOLO_IMAGE_FOLDERS = frozenset({"images", "image", "imgs", "img", "jpegimages", "photos", "frames"})
LABEL_FOLDERS = ("labels", "label", "txt", "txts", "yolo", "labels_yolo", "annotations")  # Best first.
RESULTS_FOLDER = "runs"  # Results of YOLO runs.
ANNOTATED_COPY = ".boxes"  # End of the stem of images on which `boxwright detect` has drawn boxes.
CLASS_FILES = ("data.yaml", "dataset.yaml", "classes.txt", "labels/classes.txt", "obj.names")
_NO_VALUE = frozenset({"", "~", "null", "none"})
_CLASS_FILE_NAMES = frozenset({"classes.txt", "_darknet.labels", "predefined_classes.txt"})


@dataclass(frozen=True)
class YoloFolder:
    """The files of a YOLO data set, relative to its folder."""

    folder: Path
    files: tuple[PurePosixPath, ...]  # sorted, without hidden files and foreign folders
    linked_folders: tuple[str, ...]  # not followed

    @classmethod
    def scan(cls, folder: Path) -> "YoloFolder":
        """List the files. Raises OSError."""
        files, linked = [], []
        for root, folders, names in os.walk(folder):
            relative = PurePosixPath(Path(root).relative_to(folder).as_posix())
            linked += [str(relative / name) for name in folders if (Path(root) / name).is_symlink()]
            in_images = any(part.lower() in YOLO_IMAGE_FOLDERS for part in relative.parts)
            folders[:] = [name for name in folders if not name.startswith(".") and not _is_foreign(name, in_images=in_images)]
            files += [relative / name for name in names if not name.startswith(".")]
        return cls(folder, tuple(sorted(files)), tuple(sorted(linked)))

    @cached_property
    def all_images(self) -> tuple[PurePosixPath, ...]:
        """All images except annotated copies. Raises DatasetError for a link that leads out of the folder."""
        images = (path for path in self.files if path.suffix.lower() in IMAGE_SUFFIXES and not path.stem.endswith(ANNOTATED_COPY))
        return tuple(path for path in images if file_inside(self.folder, path))

    @cached_property
    def label_files(self) -> Mapping[PurePosixPath, PurePosixPath]:
        """The label file of each image that has one."""
        by_key = {(_key(path.parent), path.stem): path for path in self.files if path.suffix.lower() == ".txt"}
        found = {}
        for image in self.all_images:
            candidates = ((_key(parent), image.stem) for parent in _label_parents(image.parent))
            path = next((by_key[candidate] for candidate in candidates if candidate in by_key), None)
            if path is not None and path.name not in _CLASS_FILE_NAMES:
                found[image] = path
        return found

    @cached_property
    def unused_label_files(self) -> tuple[PurePosixPath, ...]:
        """Text files that look like label files and belong to no image."""
        used = set(self.label_files.values())
        texts = (path for path in self.files if path.suffix.lower() == ".txt" and path not in used and path.name not in _CLASS_FILE_NAMES)
        return tuple(path for path in texts if looks_like_labels(self.folder / path))

    def read(self, path: PurePosixPath) -> str:
        """Return the content of a text file of the data set. Raises DatasetError."""
        return read_text(self.folder / path, MAX_TEXT_BYTES)

    def lines(self, path: PurePosixPath) -> list[str]:
        """Return the lines of a text file that are not blank, without surrounding whitespace. Raises DatasetError."""
        return [line.strip() for line in self.read(path).split("\n") if line.strip()]

    def images(self) -> tuple[tuple[PurePosixPath, ...], int]:
        """Return the images of the data set, and the number of omitted ones.

        If there is a folder of images, images elsewhere need a label file. Without one they are omitted as plots or previews.
        """
        chosen = tuple(path for path in self.all_images if _in_image_folder(path) or path in self.label_files)
        if not any(_in_image_folder(path) for path in self.all_images):
            chosen = self.all_images
        return chosen, len(self.all_images) - len(chosen)


def _is_foreign(name: str, *, in_images: bool) -> bool:
    return name.lower() in FOREIGN_FOLDERS or (name.lower() == RESULTS_FOLDER and not in_images)


def _in_image_folder(path: PurePosixPath) -> bool:
    return any(part.lower() in YOLO_IMAGE_FOLDERS for part in path.parts[:-1])


def _key(folder: PurePosixPath) -> tuple[str, ...]:
    return tuple(part.lower() for part in folder.parts)


def _label_parents(parent: PurePosixPath) -> Iterator[PurePosixPath]:
    """Folders that may hold the label files of images in `parent`, best first."""
    parts = parent.parts
    for index in reversed(range(len(parts))):
        if parts[index].lower() in YOLO_IMAGE_FOLDERS:
            yield from (PurePosixPath(*parts[:index], name, *parts[index + 1 :]) for name in LABEL_FOLDERS)
    yield parent
    yield from (parent / name for name in LABEL_FOLDERS)


@dataclass(frozen=True)
class YoloConfig:
    """Classes and image sets of a YOLO data set."""

    classes: Classes
    path: str  # of the file with the classes
    sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # set -> folders, list files and images as written
    root: str = ""  # data.yaml's `path`

    @classmethod
    def read(cls, files: YoloFolder) -> "YoloConfig":
        """Read data.yaml, or obj.data and a file of class names. Raises DatasetError."""
        for relative in _config_candidates(files):
            text = files.read(relative)
            if relative.suffix.lower() not in (".yaml", ".yml"):
                labels = {number: line.strip() for number, line in enumerate(text.split("\n")) if line.strip()}
                return cls(Classes(labels, str(relative)), str(relative), _sets_of_lists(files))
            content = _parse_yaml(files.folder / relative, text)
            if (isinstance(content, dict) and "names" in content) or str(relative) in CLASS_FILES:
                values = content if isinstance(content, dict) else {}
                root = values.get("path", "")
                labels = _labels_of_yaml(files.folder / relative, content)
                classes = Classes(labels, str(relative), has_key_points="kpt_shape" in values)
                sets = _sets_of_yaml(values) or _sets_of_lists(files)
                return cls(classes, str(relative), sets, root if isinstance(root, str) else "")
        raise DatasetError(f"{files.folder}: the class names are missing. {_other_format(files)}Expected one of {', '.join(CLASS_FILES)}.")


def _other_format(files: YoloFolder) -> str:
    """Return a sentence with a space if the files show what the folder is instead of a YOLO data set."""
    nested = next((path for path in files.files if path.name in CLASS_FILES), None)
    if nested:
        return f"{nested.name} is in {nested.parent}. Import that folder. "
    if any(path.suffix.lower() == ANNOTATION_SUFFIX for path in files.files):
        return "It has .xml files: a VOC-style data set needs no import. "
    coco = next((path for path in files.files if path.suffix.lower() == ".json" and path.name != "notes.json"), None)  # Label Studio's
    return f"It has .json files, such as {coco}: import these with --from coco. " if coco else ""


def _config_candidates(files: YoloFolder) -> list[PurePosixPath]:
    known = [PurePosixPath(name) for name in CLASS_FILES if PurePosixPath(name) in files.files]
    top = [path for path in files.files if len(path.parts) == 1 and path.suffix.lower() in (".yaml", ".yml", ".names")]
    nested = [path for path in files.files if path.name.lower() in _CLASS_FILE_NAMES or path.suffix.lower() == ".names"]
    candidates = list(dict.fromkeys((*known, *top, *nested)))
    for path in candidates:
        file_inside(files.folder, path)
    return candidates


def _parse_yaml(path: Path, text: str) -> Any:
    try:
        return yaml.load(text, Loader=yaml.BaseLoader)  # reads only texts, lists and mappings, so a class called "no" stays a text
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        advice = " Write / instead of \\ in paths." if "escape character" in str(error) else ""
        raise DatasetError(f"{path} is not readable as YAML: {error}.{advice}") from error


def _labels_of_yaml(path: Path, content: Any) -> dict[int, str]:
    names = content.get("names") if isinstance(content, dict) else None
    pairs = list(names.items() if isinstance(names, dict) else enumerate(names)) if isinstance(names, dict | list) else []
    if not pairs or not all(str(number).isdecimal() and isinstance(name, str) for number, name in pairs):
        raise DatasetError(f"{path}: 'names' must be a list of labels, or a mapping of numbers to labels.")
    return {int(number): name for number, name in pairs if name.strip()}


def _sets_of_yaml(content: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    sets: dict[str, tuple[str, ...]] = {}
    for key, value in content.items():
        image_set = set_of_name(key) if isinstance(key, str) and key.isalpha() else None
        values = value if isinstance(value, list) else [value]
        entries = [entry.strip() for entry in values if isinstance(entry, str) and entry.strip().lower() not in _NO_VALUE]
        if image_set and entries:
            sets[image_set] = (*sets.get(image_set, ()), *entries)
    return sets


def _sets_of_lists(files: YoloFolder) -> dict[str, tuple[str, ...]]:
    """Sets of Darknet's obj.data, or else of list files such as train.txt with an image path in the first line."""
    top = [path for path in files.files if len(path.parts) == 1]
    for path in (path for path in top if path.suffix.lower() == ".data"):
        lines = (line.partition("=") for line in files.lines(path) if "=" in line and line[0] not in "#;")
        entries = {key.strip(): value.strip() for key, _, value in lines}
        of_data: dict[str, tuple[str, ...]] = {
            image_set: (entry,) for key, entry in entries.items() if entry and (image_set := set_of_name(key))
        }
        if of_data:
            return of_data
    lists = (path for path in top if path.suffix.lower() == ".txt" and set_of_name(path.stem) and _lists_images(files.lines(path)))
    return {set_of_name(path.stem) or path.stem: (str(path),) for path in lists}


def _lists_images(lines: list[str]) -> bool:
    return PurePosixPath(next(iter(lines), "").replace("\\", "/")).suffix.lower() in IMAGE_SUFFIXES


def resolve_sets(files: YoloFolder, config: YoloConfig) -> tuple[dict[PurePosixPath, list[str]], list[str]]:
    """Return the image sets of each image that the configuration names, and notes. Raises DatasetError if a named set has no images."""
    sets: dict[PurePosixPath, list[str]] = {}
    notes = []
    for image_set, entries in config.sets.items():
        found: list[PurePosixPath] = []
        missing = 0
        for entry in entries:
            images, absent = _images_of_entry(files, config, entry)
            found += images
            missing += absent
        if not found:
            if image_set == "test":
                notes.append(f"The test set ({', '.join(entries)}) does not exist and is skipped.")
                continue
            raise DatasetError(
                f"{files.folder}: {config.path} or its lists name {image_set}: {', '.join(entries)}, but no image was found there. "
                "Correct the path, or remove the line to use folder names instead."
            )
        if missing:
            notes.append(f"{missing} images in the list of {image_set} do not exist and are skipped.")
        for path in dict.fromkeys(found):
            sets.setdefault(path, []).append(image_set)
    return sets, notes


def _images_of_entry(files: YoloFolder, config: YoloConfig, entry: str) -> tuple[list[PurePosixPath], int]:
    """Images of a folder or of a list file, and the number of listed images that do not exist."""
    for candidate in _entry_candidates(config.root, entry):
        key = _key(candidate)
        inside = [path for path in files.all_images if _key(path)[: len(key)] == key]
        if inside and PurePosixPath(entry).suffix.lower() != ".txt":
            return inside, 0
        if candidate.suffix.lower() == ".txt" and file_inside(files.folder, candidate):
            known = {_key(image): image for image in files.all_images}
            images = [_listed_image(known, candidate.parent, line) for line in files.lines(candidate)]
            return [image for image in images if image], images.count(None)
    return [], 0


def _entry_candidates(root: str, entry: str) -> Iterator[PurePosixPath]:
    """Paths inside the data set that an entry may mean, most specific first: with `path`, without it, without leading parts.

    Roboflow writes ../train/images for train/images, Darknet writes data/train.txt for train.txt, other tools write absolute paths.
    """
    for text in (f"{root}/{entry}" if root else entry, entry):
        yield from _without_leading_parts(text)


def _without_leading_parts(text: str) -> Iterator[PurePosixPath]:
    parts = [part for part in PurePosixPath(text.replace("\\", "/")).parts if part not in ("/", ".", "..")]
    if not parts and text.strip("./") == "":
        yield PurePosixPath(".")
    yield from (PurePosixPath(*parts[start:]) for start in range(len(parts)))


def _listed_image(known: Mapping[tuple[str, ...], PurePosixPath], parent: PurePosixPath, line: str) -> PurePosixPath | None:
    candidates: Iterable[PurePosixPath] = (parent / PurePosixPath(line.replace("\\", "/")), *_without_leading_parts(line))
    return next((known[key] for candidate in candidates if (key := _key(candidate)) in known), None)
