"""Find the files of a VOC-style data set.

Five layouts are recognised by their content:

    VOC, CVAT       Annotations/NAME.xml   JPEGImages/NAME.jpg   ImageSets/Main/SET.txt   (CVAT: NAME may have subfolders and spaces)
    Label Studio    Annotations/NAME.xml   images/NAME.jpg       no lists
    LabelImg        NAME.xml next to NAME.jpg                    no lists
    Roboflow        train/NAME.xml next to train/NAME.jpg, valid/, test/

Names come from files that are not trusted. Each is checked before it becomes a path, and links are resolved before they are followed.
"""

import errno
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from detector.imaging.suffixes import IMAGE_SUFFIXES
from training.errors import DatasetError

ANNOTATION_FOLDERS = ("Annotations", "annotations", ".")
IMAGE_FOLDERS = ("JPEGImages", "images", ".")
ANNOTATION_SUFFIX = ".xml"
FOREIGN_FOLDERS = frozenset({"@eadir", "__macosx"})  # Folders of other programs, in lower case: thumbnails, and archive metadata.
LISTS = PurePosixPath("ImageSets/Main")
ALL = "all"  # The set of all annotations, unless there is a list of that name.
MAX_LIST_BYTES = 64 * 2**20

_SETS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test", "testing": "test"}
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}
_FLAG = re.compile(r"\s+-?[01]$")  # after a name: whether the class is in the image (VOC devkit, section 6.3; 0: difficult)
_NOT_PRINTABLE = re.compile("[^ -~\u00a0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # cannot be part of a line of a list, or of XML


def set_of_name(name: str) -> str | None:
    """Return "train", "val" or "test" if the name contains words for exactly one of them, in any case and with any suffix, else None.

    Train, train2017 and obj_train_data are "train"; images-val is "val"; trainval and train_val name no single set.
    """
    found = {_SETS[word] for word in re.findall("[a-z]+", name.lower()) if word in _SETS}
    return found.pop() if len(found) == 1 else None


def set_of_path(parts: Iterable[str]) -> str | None:
    """Return the set that the outermost folder with a set's name belongs to."""
    return next((found for part in parts if (found := set_of_name(part))), None)


def image_sets(folder: Path) -> tuple[str, ...]:
    """Return the names of the image sets, sorted: lists, or else folders such as train and valid, or else ("all",).

    Lists of single classes (dog_train.txt next to train.txt) are omitted. Raises DatasetError if there is neither a list nor an annotation.
    """
    lists = {path.stem: file_inside(folder, LISTS / path.name) for path in sorted((folder / LISTS).glob("*.txt"))}
    known = tuple(name for name, path in lists.items() if path and not _is_single_class(name, path, lists))
    if known:
        return known
    annotations = all_annotations(folder)
    if not annotations:
        raise DatasetError(
            f"{folder}: no VOC-style data found: neither {LISTS}/*.txt nor an annotation (.xml). "
            "Give the folder that contains Annotations, or images and .xml files side by side."
        )
    return tuple(sorted(_names_by_folder(folder, annotations))) or (ALL,)


def _is_single_class(name: str, path: Path, lists: Iterable[str]) -> bool:
    head, _, tail = name.rpartition("_")
    return bool(head) and tail in lists and all(_FLAG.search(line) for line in _lines(path))


def _names_by_folder(folder: Path, annotations: Iterable[str]) -> dict[str, list[str]]:
    """Return the names by set in Roboflow's layout; empty in other layouts."""
    by_set: dict[str, list[str]] = {}
    if any((folder / place).is_dir() for place in ANNOTATION_FOLDERS if place != "."):
        return {}
    for name in annotations:
        if (image_set := set_of_name(PurePosixPath(name).parts[0])) and "/" in name:
            by_set.setdefault(image_set, []).append(name)
    return by_set


def image_names(folder: Path, image_set: str) -> list[str]:
    """Return the names in an image set, in the order of its list; sorted if there is no list.

    Raises DatasetError if there is no such set, or a name leads out of the folder.
    """
    if PurePosixPath(image_set).name != image_set:
        raise DatasetError(f"an image set must have a plain name such as 'train', got {image_set!r}.")
    image_list = file_inside(folder, LISTS / f"{image_set}.txt")
    if image_list:
        return [_name_of_line(folder, line) for line in _lines(image_list)]
    annotations = all_annotations(folder)
    names = annotations if image_set == ALL else _names_by_folder(folder, annotations).get(image_set, [])
    if not names:
        known = ", ".join(image_sets(folder))
        options = " --set train --force" if "train" in image_sets(folder) else ""
        advice = f" Run `boxwright data split {folder}{options}` first." if image_set in ("train", "val") else ""
        raise DatasetError(f"{folder}: there is no image set {image_set!r} ({LISTS}/{image_set}.txt). Existing sets: {known}.{advice}")
    for name in names:
        check_name(folder, name)
    return names


def _lines(image_list: Path) -> Iterator[str]:
    return (line.strip() for line in read_text(image_list, MAX_LIST_BYTES).split("\n") if line.strip())


def read_text(path: Path, max_bytes: int) -> str:
    """Return the content of a UTF-8 text file. Raises DatasetError if it is too large, unreadable or not UTF-8."""
    try:
        if path.stat().st_size > max_bytes:
            raise DatasetError(f"{path}: the file has {path.stat().st_size} bytes; at most {max_bytes} are read.")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error


def _name_of_line(folder: Path, line: str) -> str:
    """Return the annotation's name in a line of a list.

    A line is a name, which may have spaces (CVAT). It may end with the flag of a single-class list or with an image suffix. With an image
    suffix it may also be a path such as JPEGImages/a.jpg.
    """
    without_flag = _FLAG.sub("", line)
    path = PurePosixPath(line)
    is_image = path.suffix.lower() in IMAGE_SUFFIXES
    for name in (line, without_flag, line.removesuffix(path.suffix) if is_image or path.suffix.lower() == ANNOTATION_SUFFIX else line):
        check_name(folder, name)
        if find_annotation(folder, name):
            return name
    for start in range(1, len(path.parts)) if is_image else ():
        name = str(PurePosixPath(*path.parts[start:]).with_suffix(""))
        if find_annotation(folder, name):
            return name
    return without_flag


def check_name(folder: Path, name: str) -> None:
    """Raise DatasetError if the name leads out of the folder, or cannot be part of a list or of XML."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise DatasetError(f"{folder}: the image set lists {name!r}, which leads out of the folder.")
    if name != name.strip() or _NOT_PRINTABLE.search(name):
        raise DatasetError(f"{folder}: {name!a} has characters that a list of names cannot hold. Rename the files.")


def find_annotation(folder: Path, name: str) -> Path | None:
    """Return the annotation file of a checked name."""
    suffixes = (ANNOTATION_SUFFIX, ANNOTATION_SUFFIX.upper())
    candidates = (file_inside(folder, PurePosixPath(place) / f"{name}{suffix}") for place in ANNOTATION_FOLDERS for suffix in suffixes)
    return next((path for path in candidates if path), None)


def find_image(folder: Path, name: str, filename: str = "") -> Path | None:
    """Return the image of an annotation: the one with the annotation's name, or else the one that its <filename> names.

    Only the last part of `filename` is used, so it cannot lead out of the folder. If it is the name plus a suffix, it decides between
    a.jpg and a.png.
    """
    for place in IMAGE_FOLDERS:
        for candidate in _image_candidates(name, filename):
            relative = PurePosixPath(place) / candidate
            if relative.suffix.lower() in IMAGE_SUFFIXES and (image := file_inside(folder, relative)):
                return image
    for place in IMAGE_FOLDERS:  # suffixes in mixed case
        parent = folder / place / PurePosixPath(name).parent
        for path in sorted(parent.iterdir()) if parent.is_dir() else ():
            if path.stem == PurePosixPath(name).name and path.suffix.lower() in IMAGE_SUFFIXES:
                return file_inside(folder, PurePosixPath(path.relative_to(folder).as_posix()))
    return None


def _image_candidates(name: str, filename: str) -> Iterator[str]:
    file, path = PurePosixPath(filename.replace("\\", "/")).name, PurePosixPath(name)
    sibling = str(path.with_name(file)) if file else name
    if PurePosixPath(file).stem == path.name:
        yield sibling
    suffixes = sorted(IMAGE_SUFFIXES)
    for candidate in dict.fromkeys((name, sibling, file or name)):
        yield from (f"{candidate}{suffix}" for suffix in ("", ".jpg", *suffixes, *(suffix.upper() for suffix in suffixes)))


def find_images(folder: Path) -> list[Path]:
    """Return all images, sorted. Hidden files, linked folders and folders of other programs are omitted."""
    place = next((place for place in IMAGE_FOLDERS if (folder / place).is_dir()), ".")
    paths = _visible_files(folder / place, nested=place != ".")
    return sorted(path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def all_annotations(folder: Path) -> list[str]:
    """Return the names of all annotations, sorted and unchecked. Hidden files and folders of other programs are omitted."""
    for place in ANNOTATION_FOLDERS:
        if names := _annotation_names(folder / place, _visible_files(folder / place, nested=place != ".")):
            return names
    set_folders = [path for path in folder.glob("[!.]*") if path.is_dir() and not path.is_symlink() and set_of_name(path.name)]
    return _annotation_names(folder, (path for each in set_folders for path in _visible_files(each, nested=False)))


def _annotation_names(root: Path, paths: Iterable[Path]) -> list[str]:
    annotations = (path for path in paths if path.suffix.lower() == ANNOTATION_SUFFIX)
    return sorted(path.relative_to(root).as_posix()[: -len(ANNOTATION_SUFFIX)] for path in annotations)


def _visible_files(root: Path, *, nested: bool) -> Iterator[Path]:
    """Yield the files of `root`, and of its subfolders if `nested`, without hidden files and folders of other programs."""
    for path in root.glob("**/[!.]*" if nested else "[!.]*"):
        if not any(part.startswith(".") or part.lower() in FOREIGN_FOLDERS for part in path.relative_to(root).parts[:-1]):
            yield path


def linked_folders(folder: Path) -> list[Path]:
    """Return symbolic links to folders below `folder`, sorted. `find_images` and `all_annotations` do not follow them."""
    return sorted(path for path in folder.rglob("[!.]*") if path.is_symlink() and path.is_dir())


def file_inside(folder: Path, relative: PurePosixPath) -> Path | None:
    """Return the regular file at a relative path, or None if there is none. Raises DatasetError if a link leads out of the folder."""
    path = folder / relative
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        is_inside = path.resolve().is_relative_to(folder.resolve())
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not is_inside:
        raise DatasetError(f"{path} is a link that leads out of the folder. Put the file itself there.")
    return path
