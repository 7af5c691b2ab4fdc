"""Find the images of the folders, list files and patterns that a YOLO data set names for its image sets."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from glob import has_magic
from itertools import takewhile
from pathlib import Path, PurePosixPath

from detector.messages import count_of
from training.data.voc_layout import file_inside, set_of_name, set_of_path
from training.datasets.importers.base import joined_classes
from training.datasets.importers.yolo_config import MAX_SET_ENTRIES, YoloConfig
from training.datasets.importers.yolo_layout import YOLO_IMAGE_FOLDERS, YoloFolder, folder_key
from training.datasets.importers.yolo_lists import ImageIndex, without_leading_parts
from training.errors import DatasetError

MAX_PATTERN_STEPS = 20_000_000
"""Maximum number of comparisons of a part of a pattern with a part of a path. A pattern takes about a million for 100,000 images."""
_LIST_SUFFIXES = frozenset({".txt", ".list", ".lst", ".csv", ""})


def resolve_sets(files: YoloFolder, config: YoloConfig) -> tuple[dict[PurePosixPath, list[str]], list[str]]:
    """Return the image sets of each image that the configuration names, and notes.

    Raises:
        DatasetError: The folder, the list or the images of a named set do not exist, or a set has too many entries.
    """
    sets: dict[PurePosixPath, list[str]] = {}
    search = _Search(files, config.root)
    notes = joined_classes(config.classes.labels.items())
    for image_set, named in config.sets.items():
        entries = tuple(dict.fromkeys(named))
        if len(entries) > MAX_SET_ENTRIES:
            raise DatasetError(
                f"{files.folder}: {config.path} names {len(entries):,} folders or lists for {image_set}; at most {MAX_SET_ENTRIES} are "
                "read. Write the paths of the images to a list file, and name that file."
            )
        found: list[PurePosixPath] = []
        unfound: list[str] = []
        missing = 0
        for entry in entries:
            images, absent = search.images(entry)
            found += images
            missing += absent
            if not images and not absent and not search.is_empty_list(entry):
                unfound.append(entry)
        if not found and missing:
            unfound = list(entries)
        if unfound and image_set == "test":
            notes.append(f"The test set ({', '.join(unfound)}) does not exist and is skipped.")
        elif unfound:
            raise DatasetError(
                f"{files.folder}: {config.path} or its lists name {image_set}: {', '.join(unfound)}, but no image was found there. "
                "Correct the path, or remove the line or the list to use folder names instead."
            )
        elif not found:
            notes.append(f"The list of {image_set} ({', '.join(entries)}) is empty and is skipped.")
        if found and missing:
            notes.append(f"{count_of(missing, 'image')} in the list of {image_set} without a file: skipped.")
        for path in dict.fromkeys(found):
            sets.setdefault(path, []).append(image_set)
    return sets, notes


def check_folds(files: YoloFolder, config: YoloConfig, sets: Mapping[PurePosixPath, Sequence[str]]) -> None:
    """Raise DatasetError if list files of several folders, as of cross-validation, put an image into several sets."""
    several = next((named for named in config.sets.values() if len(named) > 1), None)
    if several and not config.names_sets and any(len(each) > 1 for each in sets.values()):
        raise DatasetError(
            f"{files.folder}: several lists have the name of one set, such as {several[0]} and {several[1]}, and put images into several "
            "sets. If these are folds of cross-validation, name the lists of one fold in data.yaml as train and val."
        )


class _Search:
    """Finds the images of entries. Each list file is read once."""

    def __init__(self, files: YoloFolder, root: str) -> None:
        self._files = files
        self._root = root
        self._lists: dict[PurePosixPath, tuple[list[PurePosixPath], int]] = {}
        self._steps = 0  # see MAX_PATTERN_STEPS

    def images(self, entry: str) -> tuple[list[PurePosixPath], int]:
        """Return the images of a folder, a list file or a pattern, and the number of listed images that do not exist."""
        is_text = PurePosixPath(entry).suffix.lower() == ".txt"
        for candidate in _entry_candidates(self._files.folder, self._root, entry):
            if not is_text and (inside := self._inside(candidate)):
                return inside, 0
            if _is_list(self._files, candidate):
                return self._listed(candidate)
            if has_magic(entry) and (matches := self._matching(candidate)):
                return matches, 0
        return [], 0

    def is_empty_list(self, entry: str) -> bool:
        """Return whether an entry is a list file without lines."""
        candidates = _entry_candidates(self._files.folder, self._root, entry)
        found = next((candidate for candidate in candidates if _is_list(self._files, candidate)), None)
        return found is not None and not self._files.lines(found)

    @cached_property
    def _index(self) -> ImageIndex:
        return ImageIndex.of(self._files.all_images)

    @cached_property
    def _sorted(self) -> list[tuple[tuple[str, ...], PurePosixPath]]:
        """The images with their keys. Those of one folder follow each other."""
        return sorted((folder_key(path), path) for path in self._files.all_images)

    def _inside(self, folder: PurePosixPath) -> list[PurePosixPath]:
        key = folder_key(folder)
        images = []
        for position in range(bisect_left(self._sorted, (key,)), len(self._sorted)):
            path_key, path = self._sorted[position]
            if path_key[: len(key)] != key:
                break
            images.append(path)
        return images

    def _listed(self, path: PurePosixPath) -> tuple[list[PurePosixPath], int]:
        if path not in self._lists:
            images = [self._index.find(path.parent, line) for line in self._files.lines(path)]
            self._lists[path] = [image for image in images if image], images.count(None)
        return self._lists[path]

    def _matching(self, pattern: PurePosixPath) -> list[PurePosixPath]:
        """Return the images that a pattern matches. Raises DatasetError if the patterns so far take too long."""
        paths = self._inside(PurePosixPath(*takewhile(lambda piece: not has_magic(piece), pattern.parts)))
        self._steps += len(pattern.parts) * sum(len(path.parts) for path in paths)
        if self._steps > MAX_PATTERN_STEPS:
            raise DatasetError(
                f"{self._files.folder}: the patterns of the image sets, such as {pattern}, are too many or too long for "
                f"{count_of(len(self._files.all_images), 'image')}. Write the paths of the images to a list file, and name that file."
            )
        return [path for path in paths if _matches(path, pattern)]


def _is_list(files: YoloFolder, path: PurePosixPath) -> bool:
    """Return whether the path is a file that may be a list of images, such as train.txt, train.list or trainlist."""
    return path.suffix.lower() in _LIST_SUFFIXES and file_inside(files.folder, path) is not None


def _matches(path: PurePosixPath, pattern: PurePosixPath) -> bool:
    """Return whether a pattern such as images/day*/*.jpg or images/**/*.jpg matches a path, or a folder that the path is in."""
    ends = {0}  # numbers of leading parts of the path that the pattern's parts so far match
    for piece in pattern.parts:
        if piece == "**":
            ends = {end for end in range(len(path.parts) + 1) if end >= min(ends, default=end + 1)}
        else:
            ends = {end + 1 for end in ends if end < len(path.parts) and fnmatchcase(path.parts[end], piece)}
    return bool(ends)


def _entry_candidates(folder: Path, root: str, entry: str) -> Iterator[PurePosixPath]:
    """Yield the paths in the data set that an entry may mean, most specific first: with `path`, without it, without leading parts.

    Roboflow writes ../train/images for train/images, Darknet writes data/train.txt for train.txt, other tools write absolute paths.
    But `images` alone would be the images of all sets, so train/images never means that.
    """
    for text in (f"{root}/{entry}" if root else entry, entry):
        parts: tuple[str, ...] = ()
        for candidate in without_leading_parts(text):
            parts = parts or candidate.parts
            if not _lost_set(folder, parts[: len(parts) - len(candidate.parts)], candidate):
                yield candidate


def _lost_set(folder: Path, omitted: tuple[str, ...], candidate: PurePosixPath) -> bool:
    """Return whether the last omitted part names a set, and the candidate names none.

    Folders such as `images`, and the data set's own folder, do not count.
    """
    last = next((part for part in reversed(omitted) if part.lower() not in YOLO_IMAGE_FOLDERS), "")
    return set_of_name(last) is not None and last != folder.resolve().name and set_of_path(candidate.parts) is None
