"""Image sets of a YOLO data set in Darknet's obj.data and in list files such as train.txt."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from detector.imaging.suffixes import IMAGE_SUFFIXES
from training.data.voc_layout import MAX_PATH_LENGTH, MAX_PATH_PARTS, check_path_length, name_key, set_of_name
from training.datasets.importers.yolo_layout import YoloFolder, folder_key
from training.errors import DatasetError

DATA_KEYS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Options of .data files -> image set. Other options have similar names: eval=coco chooses a metric, difficult_valid adds a list."""
_FIRST_LINES = 5
"""Number of lines that decide whether a text file is a list of images."""


@dataclass(frozen=True)
class ImageIndex:
    """Finds the images that the lines of lists name."""

    by_path: Mapping[tuple[str, ...], PurePosixPath]
    by_name: Mapping[str, PurePosixPath | None]  # with and without suffix; None if several images have the name

    @classmethod
    def of(cls, images: Iterable[PurePosixPath]) -> "ImageIndex":
        """Index images by path and by name."""
        by_path = {folder_key(image): image for image in images}
        by_name: dict[str, PurePosixPath | None] = {}
        for image in by_path.values():
            for key in {name_key(image.name), name_key(image.stem)}:
                by_name[key] = None if key in by_name else image
        return cls(by_path, by_name)

    def find(self, folder: PurePosixPath, line: str) -> PurePosixPath | None:
        """Return the image that a line of a list in `folder` names, or None if there is none.

        A line is a path, relative to the folder or with any leading parts, or a name, which may lack its suffix. Raises DatasetError if
        it is too long.
        """
        path = line.strip("\"'").replace("\\", "/")
        longest = folder_key(next(without_leading_parts(path), PurePosixPath()))
        keys = (folder_key(folder / PurePosixPath(path)), *(longest[start:] for start in range(len(longest))))
        found = next((self.by_path[key] for key in keys if key in self.by_path), None)
        return found or (self.by_name.get(name_key(path)) if "/" not in path else None)


def without_leading_parts(text: str) -> Iterator[PurePosixPath]:
    """Yield a path and then the path without one leading part, two, and so on. Raises DatasetError if it is too long."""
    check_path_length(text)
    parts = [part for part in PurePosixPath(text.replace("\\", "/")).parts if part not in ("/", ".", "..")]
    if not parts and text.strip("./") == "":
        yield PurePosixPath(".")
    yield from (PurePosixPath(*parts[start:]) for start in range(len(parts)))


def sets_of_lists(files: YoloFolder, folder: PurePosixPath) -> tuple[dict[str, tuple[str, ...]], str]:
    """Return the sets of Darknet's obj.data, or else of list files, and the folder to which their paths are relative.

    Args:
        files: The data set.
        folder: The folder of the class names. Files at the top or in this folder are preferred to those elsewhere, such as in ImageSets.
    """
    places = (PurePosixPath(), folder)
    near = [path for place in dict.fromkeys(places) for path in files.files if path.parent == place]
    others = (path for path in files.files if path not in near and path.suffix.lower() == ".data" and class_file_of_data(files, path))
    for path in (*(path for path in near if path.suffix.lower() == ".data"), *others):
        of_data: dict[str, tuple[str, ...]] = {
            DATA_KEYS[key]: (entry,) for key, entry in _entries_of_data(files, path).items() if key in DATA_KEYS and entry
        }
        if of_data:
            return of_data, "" if path.parent == PurePosixPath() else str(path.parent)
    sets = _sets_of_list_files(files, near)
    return sets or _sets_of_list_files(files, (path for path in files.files if path.stem.isalpha())), ""


def _entries_of_data(files: YoloFolder, path: PurePosixPath) -> dict[str, str]:
    """Return the options of a .data file. Of repeated options, Darknet uses the first."""
    entries: dict[str, str] = {}
    for key, equals, value in (line.partition("=") for line in files.lines(path) if line[0] not in "#;"):
        if equals:
            entries.setdefault(key.strip().lower(), value.strip())
    return entries


def class_file_of_data(files: YoloFolder, path: PurePosixPath) -> PurePosixPath | None:
    """Return the existing file of class names that a .data file names, or None. Binary files of other programs may have this suffix."""
    try:
        entry = _entries_of_data(files, path).get("names", "")
    except DatasetError:
        return None
    known = set(files.files)
    return next((found for found in without_leading_parts(entry) if found in known), None)


def _sets_of_list_files(files: YoloFolder, paths: Iterable[PurePosixPath]) -> dict[str, tuple[str, ...]]:
    label_files = set(files.label_files.values())
    lists = [path for path in paths if path.suffix.lower() == ".txt" and set_of_name(path.stem) and path not in label_files]
    index = ImageIndex.of(files.all_images) if lists else None
    sets: dict[str, tuple[str, ...]] = {}
    for path in lists:
        image_set = set_of_name(path.stem)
        if image_set and index and _lists_images(index, path.parent, files.lines(path)):
            sets[image_set] = (*sets.get(image_set, ()), str(path))
    return sets


def _lists_images(index: ImageIndex, folder: PurePosixPath, lines: list[str]) -> bool:
    """Return whether the first line is the path of an image, which may be missing, or one of the first lines names an image."""
    path = PurePosixPath(next(iter(lines), "").strip("\"'").replace("\\", "/"))
    return path.suffix.lower() in IMAGE_SUFFIXES or any(index.find(folder, line) for line in lines[:_FIRST_LINES] if _may_be_path(line))


def _may_be_path(line: str) -> bool:
    return len(line) <= MAX_PATH_LENGTH and line.count("/") + line.count("\\") < MAX_PATH_PARTS
