"""Read the classes and the image sets of a YOLO data set from data.yaml, or from files of class names and `yolo_lists`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from detector.errors import MissingExtra
from detector.network.spec import MAX_NAME_LENGTH
from training.data.voc_layout import ANNOTATION_SUFFIX, file_inside, set_of_name
from training.datasets.importers.yolo_labels import Classes, looks_like_labels
from training.datasets.importers.yolo_layout import CLASS_FILE_NAMES, OTHER_CLASS_FILE_NAMES, YoloFolder
from training.datasets.importers.yolo_lists import class_file_of_data, sets_of_lists
from training.errors import DatasetError
from weights.formats.numbered_labels import numbered_labels

try:
    import yaml
except ModuleNotFoundError as error:
    raise MissingExtra("reading YOLO's data.yaml needs pyyaml, which is not installed. Install the extra 'train'.") from error

CLASS_FILES = ("data.yaml", "dataset.yaml", "classes.txt", "labels/classes.txt", "obj.names")
MAX_YAML_CHARACTERS = 2**19
"""Longest YAML file. The parser is written in Python and slow."""
MAX_SET_ENTRIES = 100
"""Maximum number of folders and lists of one image set. Each may be searched for in all images."""
MAX_DIGITS = 9  # of the number of a class
_NO_VALUE = frozenset({"", "~", "null", "none"})
_YAML = (".yaml", ".yml")
_SET_KEY = re.compile("([a-z]+)(_(images?|imgs?|dir|folder|path|list|file))?")  # train, val_images


@dataclass(frozen=True)
class YoloConfig:
    """Classes and image sets of a YOLO data set."""

    classes: Classes
    path: str  # of the file with the classes
    sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # set -> folders, list files and images as written
    root: str = ""  # data.yaml's `path`
    names_sets: bool = False  # the file itself names the sets; otherwise they come from .data files or list files

    @classmethod
    def read(cls, files: YoloFolder) -> "YoloConfig":
        """Read data.yaml, or obj.data and a file of class names. Raises DatasetError."""
        known, others = _config_candidates(files)
        configs = [config for path in known if (config := cls._of_file(files, path))]
        if configs and configs[0].is_yaml:
            return configs[0]
        configs += [config for path in others if (config := cls._of_file(files, path))]
        configs = configs or [config for path in _unusual_class_files(files) if (config := cls._of_file(files, path))]
        for other in configs[1:]:
            _check_same_classes(files, configs[0], other)
        if configs:
            return configs[0]
        raise DatasetError(f"{files.folder}: the class names are missing. {_other_format(files)}Expected one of {', '.join(CLASS_FILES)}.")

    @property
    def is_yaml(self) -> bool:
        """True if the file may also name image sets."""
        return PurePosixPath(self.path).suffix.lower() in _YAML

    @classmethod
    def _of_file(cls, files: YoloFolder, path: PurePosixPath) -> "YoloConfig | None":
        """Return the content of a file, or None if it is a YAML file of another kind."""
        text = files.read(path)
        sets, root = sets_of_lists(files, path.parent)
        if path.suffix.lower() not in _YAML:
            labels = {number: line.strip() for number, line in enumerate(text.split("\n")) if line.strip()}
            labels = numbered_labels([*labels.values()]) or labels
            if not labels:
                raise DatasetError(f"{files.folder / path}: the file is empty. It must have the name of one class per line.")
            return cls(Classes(labels, str(path)), str(path), sets, root)
        content = _parse_yaml(files.folder / path, text)
        if not (isinstance(content, dict) and "names" in content) and str(path) not in CLASS_FILES:
            return None
        values = content if isinstance(content, dict) else {}
        labels = _labels_of_yaml(files.folder / path, content)
        classes = Classes(labels, str(path), has_keypoints="kpt_shape" in values)
        if of_yaml := _sets_of_yaml(files.folder / path, values):
            path_value = values.get("path")  # with aliases, the text of a list or mapping could fill the memory
            sets, root = of_yaml, path_value if isinstance(path_value, str) else ""
        return cls(classes, str(path), sets, root, bool(of_yaml))


def _check_same_classes(files: YoloFolder, first: YoloConfig, second: YoloConfig) -> None:
    """Raise DatasetError if two files give one number different labels. One of them may have more labels."""
    if second.path.endswith("predefined_classes.txt"):  # LabelImg's suggestions
        return
    for number, label in second.classes.labels.items():
        if (other := first.classes.labels.get(number, label)) != label:
            raise DatasetError(
                f"{files.folder}: class {number} is {other!r} in {first.path}, but {label!r} in {second.path}. "
                "Keep only the correct file, or import each folder separately."
            )


def _other_format(files: YoloFolder) -> str:
    """Return a sentence and a space if the files are those of another data set, else an empty string."""
    nested = next((path for path in files.files if path.name in CLASS_FILES), None)
    if hidden := next((path for path in files.files if path.name.lower().endswith((".yaml.txt", ".yml.txt"))), None):
        return f"{hidden} has a surplus suffix: rename it to {hidden.stem}. "
    if nested:
        return f"{nested.name} is in {nested.parent}. Import that folder. "
    if any(path.name == "_annotations.txt" for path in files.files):  # Roboflow's YOLO Keras and YOLOv4 PyTorch
        return "_annotations.txt is a list of boxes in pixels, which cannot be imported. Export the data set as YOLOv8 or Pascal VOC. "
    if any(path.suffix.lower() == ANNOTATION_SUFFIX for path in files.files):
        return "It has .xml files: a VOC-style data set needs no import. "
    coco = next((path for path in files.files if path.suffix.lower() == ".json" and path.name != "notes.json"), None)  # Label Studio's
    return f"It has .json files, such as {coco}. If they are COCO files, import them with --from coco. " if coco else ""


def _config_candidates(files: YoloFolder) -> tuple[list[PurePosixPath], list[PurePosixPath]]:
    """Return the usual files with class names, best first, and all others, those in the top folder first."""
    known = [PurePosixPath(name) for name in CLASS_FILES if PurePosixPath(name) in files.files]
    top = [path for path in files.files if len(path.parts) == 1 and path.suffix.lower() in (*_YAML, ".names")]
    nested = [path for path in files.files if path.name.lower() in CLASS_FILE_NAMES or path.suffix.lower() == ".names"]
    nested += _yaml_apart_from_images(files)
    nested += [found for path in files.files if path.suffix.lower() == ".data" if (found := class_file_of_data(files, path))]
    others = [path for path in dict.fromkeys((*top, *nested)) if path not in known]
    for path in (*known, *others):
        file_inside(files.folder, path)
    return known, others


def _yaml_apart_from_images(files: YoloFolder) -> list[PurePosixPath]:
    """Return YAML files in folders without images, such as data/pets.yaml next to images. Other nested folders are data sets."""
    folders = {parent for image in files.all_images for parent in image.parents}
    return [path for path in files.files if len(path.parts) > 1 and path.suffix.lower() in _YAML and path.parent not in folders]


def _unusual_class_files(files: YoloFolder) -> list[PurePosixPath]:
    found = [path for path in files.files if path.name.lower() in OTHER_CLASS_FILE_NAMES]
    return [path for path in found if file_inside(files.folder, path) and not looks_like_labels(files.folder / path)]


def _parse_yaml(path: Path, text: str) -> Any:
    if len(text) > MAX_YAML_CHARACTERS:
        raise DatasetError(f"{path} has {len(text):,} characters; at most {MAX_YAML_CHARACTERS:,} are read.")
    try:
        return yaml.load(text, Loader=yaml.BaseLoader)  # reads only strings, lists and mappings, so a class called "no" stays a string
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        advice = " Write / instead of \\ in paths." if "escape" in str(error) else ""  # C:\\Users is an incomplete escape sequence
        raise DatasetError(f"{path} is not readable as YAML: {error}.{advice}") from error


def _labels_of_yaml(path: Path, content: Any) -> dict[int, str]:
    names = content.get("names") if isinstance(content, dict) else None
    pairs = list(names.items() if isinstance(names, dict) else enumerate(names)) if isinstance(names, dict | list) else []
    if not pairs or not all(str(number).isdecimal() and isinstance(name, str) for number, name in pairs):
        raise DatasetError(f"{path}: 'names' must be a list of labels, or a mapping of numbers to labels.")
    if any(len(str(number)) > MAX_DIGITS or len(name) > MAX_NAME_LENGTH for number, name in pairs):
        raise DatasetError(
            f"{path}: 'names' has a number of more than {MAX_DIGITS} digits, or a label of more than {MAX_NAME_LENGTH:,} characters."
        )
    return {int(number): name.strip() for number, name in pairs if name.strip()}


def _sets_of_yaml(path: Path, content: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    sets: dict[str, tuple[str, ...]] = {}
    for key, value in content.items():
        match = _SET_KEY.fullmatch(key.lower()) if isinstance(key, str) else None
        image_set = set_of_name(match[1]) if match else None
        if image_set is None:
            continue
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(entry, str) for entry in values):
            raise DatasetError(f"{path}: {key!r} must be a folder, a list file, or a list of them.")
        if len(values) > MAX_SET_ENTRIES:
            raise DatasetError(
                f"{path} names {len(values):,} folders or lists for {image_set}; at most {MAX_SET_ENTRIES} are read. "
                "Write the paths of the images to a list file, and name that file."
            )
        if entries := [entry.strip() for entry in values if entry.strip().lower() not in _NO_VALUE]:
            sets[image_set] = (*sets.get(image_set, ()), *entries)
    return sets
