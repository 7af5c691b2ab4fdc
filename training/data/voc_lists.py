"""Image sets of a VOC-style data set: lists of names, or else folders such as train and valid."""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path, PurePosixPath
from shlex import quote

from detector.imaging.suffixes import IMAGE_SUFFIXES
from training.data.voc_layout import (
    ALL,
    ANNOTATION_FOLDERS,
    ANNOTATION_SUFFIX,
    LISTS,
    NOT_PRINTABLE,
    all_annotations,
    check_name,
    check_path_length,
    file_inside,
    find_annotation,
    find_images,
    leads_out,
    read_text,
    set_of_name,
    set_of_path,
    tail_starts,
)
from training.errors import DatasetError

MAX_LIST_BYTES = 64 * 2**20
FIRST_LINES = 100
"""Number of lines that decide whether a text file is a list. The search for an annotation takes many system calls per line."""

_OTHER_PLACES = (PurePosixPath("ImageSets"), PurePosixPath())
"""Folders of the lists of other tools, such as PaddleDetection's train.txt at the top. They are used if ImageSets/Main has no list."""
_QUOTED = re.compile(r'^"([^"]+)"')  # Datumaro, which CVAT uses, quotes names with spaces
_FLAG = re.compile(r"\s+-?[01]$")  # after a name: whether the class is in the image (VOC devkit, section 6.3; 0: difficult)


def image_sets(folder: Path) -> tuple[str, ...]:
    """Return the names of the image sets, sorted: lists, or else folders such as train and valid, or else ("all",).

    Lists of single classes (dog_train.txt next to train.txt), and files of other kinds, such as classes.txt, are omitted. Raises
    DatasetError if there is neither a list nor an annotation.
    """
    lists = image_lists(folder)
    known = tuple(name for name, path in lists.items() if not _is_single_class(name, path, lists) and _is_list(folder, name, path))
    if known:
        return known
    annotations = all_annotations(folder)
    if not annotations:
        raise DatasetError(
            f"{folder}: no VOC-style data found: neither {LISTS}/*.txt nor an annotation (.xml). "
            f"{_import_command(folder)}Give the folder that contains Annotations, or images and .xml files side by side"
            f"{_nested_dataset(folder)}.{_unusual_folder(folder)}"
        )
    return tuple(sorted(_names_by_folder(annotations))) or (ALL,)


def image_lists(folder: Path) -> dict[str, Path]:
    """Return name -> file of the lists in ImageSets/Main, or else of the lists of sets (train.txt) in ImageSets or at the top."""
    if lists := _text_files(folder, LISTS):
        return _sets_of_class_lists(lists) or lists
    for place in _OTHER_PLACES:
        texts = _text_files(folder, place)
        if lists := {name: path for name, path in texts.items() if set_of_name(name) and _names_annotations(folder, path)}:
            return lists
    return {}


def _sets_of_class_lists(lists: Mapping[str, Path]) -> dict[str, Path]:
    """Return one list per set if all lists are lists of single classes (VoTT): dog_train.txt and cat_train.txt are the set train.

    Such a list has a flag for each image of the set. If the lists of one set have different images, the result is empty.
    """
    by_set: dict[str, list[Path]] = {}
    for name, path in lists.items():
        head, _, image_set = name.rpartition("_")
        if not head or set_of_name(image_set) is None:
            return {}
        by_set.setdefault(image_set, []).append(path)
    for paths in by_set.values():
        texts = [list(_lines(path)) for path in paths]
        images = {frozenset(_FLAG.sub("", line) for line in lines) for lines in texts}
        if len(images) > 1 or not all(_FLAG.search(line) for lines in texts for line in lines):
            return {}
    return {image_set: paths[0] for image_set, paths in by_set.items()}


def _text_files(folder: Path, place: PurePosixPath) -> dict[str, Path]:
    paths = [path for path in sorted((folder / place).glob("[!.]*")) if path.suffix.lower() == ".txt"]
    return {path.stem: found for path in paths if (found := file_inside(folder, place / path.name))}


def _is_list(folder: Path, name: str, path: Path) -> bool:
    """Return whether a text file in ImageSets/Main is a list. It has the name of a set, or one of its first lines names an annotation."""
    return set_of_name(name) is not None or _names_annotations(folder, path)


def _names_annotations(folder: Path, path: Path) -> bool:
    """Return whether one of the first lines of a text file names an annotation. Invalid lines name none."""

    def names_annotation(line: str) -> bool:
        try:
            return find_annotation(folder, _name_of_line(folder, line)) is not None
        except DatasetError:
            return False

    return any(names_annotation(line) for line in islice(_lines(path), FIRST_LINES))


def _is_single_class(name: str, path: Path, lists: Iterable[str]) -> bool:
    head, _, tail = name.rpartition("_")
    return bool(head) and tail in lists and all(_FLAG.search(line) for line in _lines(path))


def _nested_dataset(folder: Path) -> str:
    """Return a part of a sentence that names a data set up to two levels below, such as VOCdevkit/VOC2007, or else an empty string."""
    names = (name for name in ANNOTATION_FOLDERS if name != ".")
    places = (path for name in names for level in ("*", "*/*") for path in folder.glob(f"{level}/{name}"))
    found = sorted(path.parent for path in places if any(path.rglob(f"*{ANNOTATION_SUFFIX}")))  # `labels` may be a YOLO data set's
    parents = (path for path in _folders_with_annotations(folder) if find_images(path))
    found += [path.parent if set_of_name(path.name) else path for path in parents]
    return f", such as {found[0]}" if found else ""


def _unusual_folder(folder: Path) -> str:
    """Return a space and a sentence if annotations, but no images, are in a folder of an unknown name, or else an empty string."""
    found = next((path for path in _folders_with_annotations(folder) if not find_images(path)), None)
    if found is None or found.name in ANNOTATION_FOLDERS:
        return ""
    return f" The .xml files are in {found}: rename this folder to Annotations, and the folder of the images to JPEGImages."


def _folders_with_annotations(folder: Path) -> list[Path]:
    """Return the folders up to two levels below that contain annotations, sorted."""
    return sorted({path.parent for level in ("*", "*/*") for path in folder.glob(f"{level}/*{ANNOTATION_SUFFIX}")})


def _import_command(folder: Path) -> str:
    """Return a sentence and a space with the command that imports the folder if it has YOLO or COCO data, or else an empty string."""
    yolo = next((name for name in ("data.yaml", "dataset.yaml", "classes.txt", "obj.names") if (folder / name).exists()), None)
    yolo = yolo or ("labels" if any((folder / "labels").rglob("*.txt")) else None)
    coco = next((path for place in (".", "annotations", "*") for path in sorted(folder.glob(f"{place}/*.json"))), None)
    table = next((path for level in ("*", "*/*") for path in sorted(folder.glob(level)) if path.suffix.lower() == ".csv"), None)
    if yolo:
        return f"{yolo} is part of a YOLO data set, which `boxwright data import {quote(str(folder))} --from yolo --out DIR` converts. "
    if coco:
        return f"If {coco} is a COCO file, `boxwright data import {quote(str(coco))} --from coco --out DIR` converts the data set. "
    return f"Tables of boxes, such as {table}, are not read. Export the data set as Pascal VOC, COCO or YOLO. " if table else ""


def _names_by_folder(annotations: Iterable[str]) -> Mapping[str, list[str]]:
    """Return the names by set if every annotation is in a folder with the name of a set (Roboflow); otherwise, nothing."""
    by_set: dict[str, list[str]] = {}
    for name in annotations:
        image_set = set_of_path(PurePosixPath(name).parts[:-1])
        if image_set is None:
            return {}
        by_set.setdefault(image_set, []).append(name)
    return by_set


def image_names(folder: Path, image_set: str) -> list[str]:
    """Return the names in an image set, in the order of its list; sorted if there is no list.

    Raises DatasetError if there is no such set, or a name leads out of the folder.
    """
    check_set_name(image_set)
    lists = image_lists(folder)
    if image_list := lists.get(image_set):
        return [_name_of_line(folder, line) for line in _lines(image_list)]
    annotations = all_annotations(folder)
    names = annotations if image_set == ALL else _names_by_folder(annotations).get(image_set, [])
    if not names:
        known = ", ".join(image_sets(folder))
        options = " --set train --force" if "train" in image_sets(folder) else ""
        advice = f" Run `boxwright data split {quote(str(folder))}{options}` first." if image_set in ("train", "val") else ""
        if similar := next((lists[name] for name in image_sets(folder) if set_of_name(name) == image_set and name in lists), None):
            advice = f" Rename {similar.relative_to(folder).as_posix()} to {image_set}.txt."
        raise DatasetError(f"{folder}: there is no image set {image_set!r} ({LISTS}/{image_set}.txt). Existing sets: {known}.{advice}")
    for name in names:
        check_name(folder, name)
    return names


def check_set_name(image_set: str) -> None:
    """Raise DatasetError unless the name of an image set can be the name of its list."""
    plain = PurePosixPath(image_set).name == image_set == image_set.strip(" .")
    if not image_set or not plain or NOT_PRINTABLE.search(image_set):
        raise DatasetError(f"an image set must have a plain name such as 'train', got {image_set!r}.")


def _lines(image_list: Path) -> Iterator[str]:
    return (line.strip() for line in read_text(image_list, MAX_LIST_BYTES).split("\n") if line.strip())


def _name_of_line(folder: Path, line: str) -> str:
    """Return the annotation's name in a line of a list.

    A line is a name, which may have spaces and quotes (CVAT). It may have an image suffix and the flag of a single-class list. With a
    suffix it may also be a path such as JPEGImages/a.jpg, even one of another computer. The path of the annotation may follow
    (PaddleDetection).
    """
    check_path_length(line)
    line = _QUOTED.sub(r"\1", _without_second_path(line.replace("\t", " ")))
    without_flag = _FLAG.sub("", line)
    path = PurePosixPath(line.replace("\\", "/"))
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        path = PurePosixPath(without_flag.replace("\\", "/"))  # a.jpg -1 (VoTT)
    is_file = path.suffix.lower() in (*IMAGE_SUFFIXES, ANNOTATION_SUFFIX)
    names = [line, without_flag]
    if is_file:
        parts = [part for part in path.with_suffix("").parts if part not in ("/", "..")]
        below_annotations = [start + 1 for start, part in enumerate(parts[:-1]) if part in ANNOTATION_FOLDERS]
        names += [str(PurePosixPath(*parts[start:])) for start in (*below_annotations[-2:], *tail_starts(len(parts)))]
    for name in (name for name in names if not (is_file and leads_out(name))):
        check_name(folder, name)
        if find_annotation(folder, name):
            return name
    check_name(folder, line)
    return without_flag


def _without_second_path(line: str) -> str:
    """JPEGImages/a.jpg Annotations/a.xml -> JPEGImages/a.jpg."""
    image, *others = line.rsplit(maxsplit=1)
    is_pair = bool(others) and PurePosixPath(others[0]).suffix.lower() == ANNOTATION_SUFFIX
    return image if is_pair and PurePosixPath(image.replace("\\", "/")).suffix.lower() in IMAGE_SUFFIXES else line
