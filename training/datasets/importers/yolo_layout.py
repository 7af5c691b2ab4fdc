"""Find the images and label files of a YOLO data set.

Layouts: images/train/a.jpg with labels/train/a.txt, train/images/a.jpg with train/labels/a.txt (Roboflow), JPEGImages with labels
(Darknet's voc_label.py), and a.jpg next to a.txt (Darknet, CVAT, LabelImg). Folder names may have any case. If no label
file has exactly the name of the image, it may differ in case, be named a.jpg.txt, or have URL escapes (my%20cat.txt).
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from detector.imaging.suffixes import ANNOTATED_COPY, FOREIGN_FOLDERS, IMAGE_SUFFIXES, UNSUPPORTED_SUFFIXES
from training.data.voc_layout import file_inside, name_key, raise_error, read_text
from training.datasets.importers.yolo_labels import MAX_TEXT_BYTES, looks_like_labels
from training.errors import DatasetError

YOLO_IMAGE_FOLDERS = frozenset({"images", "image", "imgs", "img", "jpegimages", "photos", "pictures", "frames"})
LABEL_FOLDERS = ("labels", "label", "txt", "txts", "labeltxt", "yolo", "labels_yolo", "annotations", "annotation")
"""Best first."""
OTHER_LABEL_SUFFIXES = (".json", ".xml", ".csv")
RESULTS_FOLDER = "runs"
"""Folder of the results of YOLO runs, which is skipped."""
CLASS_FILE_NAMES = frozenset({"classes.txt", "_darknet.labels", "darknet.labels", "predefined_classes.txt"})
OTHER_CLASS_FILE_NAMES = frozenset({"labels.txt", "names.txt", "class_names.txt", "class_list.txt"})
"""Names that may also mean something else. They are used if there is no other file of class names."""


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
        for root, folders, names in os.walk(folder, onerror=raise_error):
            relative = PurePosixPath(Path(root).relative_to(folder).as_posix())
            linked += [str(relative / name) for name in folders if (Path(root) / name).is_symlink()]
            if relative.parts and _is_voc_without_labels(folders):
                folders.clear()
            in_data = any(part.lower() in YOLO_IMAGE_FOLDERS.union(LABEL_FOLDERS) for part in relative.parts)
            folders[:] = [name for name in folders if not name.startswith(".") and not _is_foreign(name, in_data=in_data)]
            files += [relative / name for name in names if not name.startswith(".")]
        return cls(folder, tuple(sorted(files)), tuple(sorted(linked)))

    @cached_property
    def all_images(self) -> tuple[PurePosixPath, ...]:
        """All images except annotated copies. Raises DatasetError for a link that leads out of the folder."""
        images = (path for path in self.files if path.suffix.lower() in IMAGE_SUFFIXES and not path.stem.endswith(ANNOTATED_COPY))
        return tuple(path for path in images if file_inside(self.folder, path))

    @property
    def unsupported_images(self) -> list[PurePosixPath]:
        """Images of formats that cannot be decoded."""
        return [path for path in self.files if path.suffix.lower() in UNSUPPORTED_SUFFIXES]

    @cached_property
    def label_files(self) -> Mapping[PurePosixPath, PurePosixPath]:
        """The label file of each image that has one."""
        texts = {
            path: folder_key(path.parent) for path in self.files if path.suffix.lower() == ".txt" and path.name not in CLASS_FILE_NAMES
        }
        exact = {(folder, path.stem): path for path, folder in texts.items()}
        found = {}
        for image in self.all_images:
            keys = ((folder_key(parent), image.stem) for parent in _label_parents(image.parent))
            if (path := next((exact[key] for key in keys if key in exact), None)) is not None:
                found[image] = path
        used = set(found.values())
        similar = {(folder, _similar(path.stem)): path for path, folder in texts.items() if path not in used}
        for image in (image for image in self.all_images if similar and image not in found):
            keys = ((folder_key(parent), _similar(name)) for parent in _label_parents(image.parent) for name in (image.name, image.stem))
            if (path := next((similar.pop(key) for key in keys if key in similar), None)) is not None:
                found[image] = path
        return found

    @cached_property
    def unused_label_files(self) -> tuple[PurePosixPath, ...]:
        """Text files that look like label files and belong to no image."""
        used = set(self.label_files.values())
        texts = (path for path in self.files if path.suffix.lower() == ".txt" and path not in used and path.name not in CLASS_FILE_NAMES)
        return tuple(path for path in texts if looks_like_labels(self.text_path(path)))

    @cached_property
    def other_label_files(self) -> tuple[PurePosixPath, ...]:
        """Files of other formats that have the name of an image, such as a.json of LabelMe."""
        stems = {name_key(image.stem) for image in self.all_images}
        return tuple(path for path in self.files if path.suffix.lower() in OTHER_LABEL_SUFFIXES and name_key(path.stem) in stems)

    def read(self, path: PurePosixPath) -> str:
        """Return the content of a text file of the data set. Raises DatasetError."""
        return read_text(self.text_path(path), MAX_TEXT_BYTES)

    def text_path(self, path: PurePosixPath) -> Path:
        """Return the full path of a text file. Raises DatasetError unless it is a regular file in the folder."""
        found = file_inside(self.folder, path)
        if found is None:
            raise DatasetError(f"{self.folder / path} is a link to a missing file, or is not a regular file. Put the file itself there.")
        return found

    def lines(self, path: PurePosixPath) -> list[str]:
        """Return the lines of a text file that are not blank, without surrounding whitespace. Raises DatasetError."""
        return [line.strip() for line in self.read(path).split("\n") if line.strip()]

    def images(self) -> tuple[tuple[PurePosixPath, ...], int]:
        """Return the images of the data set, and the number of omitted ones.

        If there is a folder of images, images in other folders are omitted as plots or previews, unless they have a label file.
        """
        chosen = tuple(path for path in self.all_images if _in_image_folder(path) or path in self.label_files)
        if not any(_in_image_folder(path) for path in self.all_images):
            chosen = self.all_images
        return chosen, len(self.all_images) - len(chosen)


def _is_voc_without_labels(folders: Iterable[str]) -> bool:
    """Return whether this is a VOC data set, such as an earlier import. With label files, as voc_label.py writes, it is YOLO data."""
    names = set(folders)
    return {"Annotations", "ImageSets", "JPEGImages"} <= names and "labels" not in names


def _is_foreign(name: str, *, in_data: bool) -> bool:
    return name.lower() in FOREIGN_FOLDERS or (name.lower() == RESULTS_FOLDER and not in_data)


def _in_image_folder(path: PurePosixPath) -> bool:
    return any(part.lower() in YOLO_IMAGE_FOLDERS for part in path.parts[:-1])


def folder_key(folder: PurePosixPath) -> tuple[str, ...]:
    """Return a key that is equal for two paths if their parts have equal `name_key`s."""
    return tuple(name_key(part) for part in folder.parts)


def _similar(name: str) -> str:
    """Return a key that ignores URL escapes and what `name_key` ignores."""
    return name_key(unquote(name))


def _label_parents(parent: PurePosixPath) -> Iterator[PurePosixPath]:
    """Yield the folders that may hold the label files of images in `parent`, best first."""
    parts = parent.parts
    for index in reversed(range(len(parts))):
        if parts[index].lower() in YOLO_IMAGE_FOLDERS:
            yield from (PurePosixPath(*parts[:index], name, *parts[index + 1 :]) for name in LABEL_FOLDERS)
    yield parent
    yield from (parent / name for name in LABEL_FOLDERS)
