"""Find the files of a VOC-style data set.

Five layouts are recognised by their content:

    VOC, CVAT       Annotations/NAME.xml   JPEGImages/NAME.jpg   ImageSets/Main/SET.txt   (CVAT: NAME may have subfolders and spaces)
    Label Studio    Annotations/NAME.xml   images/NAME.jpg       no lists
    LabelImg        NAME.xml next to NAME.jpg                    no lists
    Roboflow        train/NAME.xml next to train/NAME.jpg, valid/, test/

Names come from files that are not trusted. Each is checked before it becomes a path, and links are resolved before they are followed.
"""

import errno
import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from glob import escape
from pathlib import Path, PurePosixPath

from detector.imaging.suffixes import FOREIGN_FOLDERS, IMAGE_SUFFIXES, UNSUPPORTED_SUFFIXES
from training.errors import DatasetError

ANNOTATION_FOLDERS = ("Annotations", "annotations", "ANNOTATIONS", ".")
IMAGE_FOLDERS = ("JPEGImages", "images", "Images", "IMAGES", ".")
ANNOTATION_SUFFIX = ".xml"
LISTS = PurePosixPath("ImageSets/Main")
ALL = "all"  # The set of all annotations, unless there is a list of that name.
MAX_LIST_BYTES = 64 * 2**20
MAX_PATH_LENGTH, MAX_PATH_PARTS = 1024, 64

_WORDS = {"train": ("train", "training"), "val": ("val", "valid", "validation", "eval", "evaluation"), "test": ("test", "testing")}
_SETS = {word: image_set for image_set, words in _WORDS.items() for word in words}
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
    lists = {path.stem: file_inside(folder, LISTS / path.name) for path in sorted((folder / LISTS).glob("[!.]*.txt"))}
    known = tuple(name for name, path in lists.items() if path and not _is_single_class(name, path, lists))
    if known:
        return known
    annotations = all_annotations(folder)
    if not annotations:
        raise DatasetError(
            f"{folder}: no VOC-style data found: neither {LISTS}/*.txt nor an annotation (.xml). "
            f"Give the folder that contains Annotations, or images and .xml files side by side{_nested_dataset(folder)}."
        )
    return tuple(sorted(_names_by_folder(folder, annotations))) or (ALL,)


def _nested_dataset(folder: Path) -> str:
    """Return a part of a sentence that names a folder with annotations up to two levels below, such as VOCdevkit/VOC2007."""
    names = (name for name in ANNOTATION_FOLDERS if name != ".")
    found = sorted(path.parent for name in names for level in ("*", "*/*") for path in folder.glob(f"{level}/{name}"))
    return f", such as {found[0]}" if found else ""


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
    check_set_name(image_set)
    image_list = file_inside(folder, LISTS / f"{image_set}.txt")
    if image_list:
        return [_name_of_line(folder, line) for line in _lines(image_list)]
    annotations = all_annotations(folder)
    names = annotations if image_set == ALL else _names_by_folder(folder, annotations).get(image_set, [])
    if not names:
        known = ", ".join(image_sets(folder))
        options = " --set train --force" if "train" in image_sets(folder) else ""
        advice = f" Run `boxwright data split {folder}{options}` first." if image_set in ("train", "val") else ""
        if similar := next((name for name in image_sets(folder) if set_of_name(name) == image_set), None):
            advice = f" Rename {LISTS}/{similar}.txt to {image_set}.txt."
        raise DatasetError(f"{folder}: there is no image set {image_set!r} ({LISTS}/{image_set}.txt). Existing sets: {known}.{advice}")
    for name in names:
        check_name(folder, name)
    return names


def check_set_name(image_set: str) -> None:
    """Raise DatasetError unless the name of an image set can be the name of its list."""
    plain = PurePosixPath(image_set).name == image_set == image_set.strip(" .")
    if not image_set or not plain or _NOT_PRINTABLE.search(image_set):
        raise DatasetError(f"an image set must have a plain name such as 'train', got {image_set!r}.")


def _lines(image_list: Path) -> Iterator[str]:
    return (line.strip() for line in read_text(image_list, MAX_LIST_BYTES).split("\n") if line.strip())


def read_text(path: Path, max_bytes: int) -> str:
    """Return the content of a UTF-8 text file. Raises DatasetError if it is too large, unreadable or not UTF-8."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DatasetError(f"{path} is not a regular file.")
        if status.st_size > max_bytes:
            raise DatasetError(f"{path}: the file has {status.st_size} bytes; at most {max_bytes} are read.")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error


def _name_of_line(folder: Path, line: str) -> str:
    """Return the annotation's name in a line of a list.

    A line is a name, which may have spaces (CVAT). It may end with the flag of a single-class list or with an image suffix. With an image
    suffix it may also be a path such as JPEGImages/a.jpg, even one of another computer.
    """
    check_path_length(line)
    without_flag = _FLAG.sub("", line)
    path = PurePosixPath(line.replace("\\", "/"))
    is_image = path.suffix.lower() in IMAGE_SUFFIXES
    without_suffix = line.removesuffix(path.suffix) if is_image or path.suffix.lower() == ANNOTATION_SUFFIX else line
    names = [name for name in (line, without_flag, without_suffix) if not (is_image and _leads_out(name))]
    if is_image:
        parts = [part for part in path.with_suffix("").parts if part not in ("/", "..")]
        names += [str(PurePosixPath(*parts[start:])) for start in range(len(parts))]
    for name in names:
        check_name(folder, name)
        if find_annotation(folder, name):
            return name
    check_name(folder, line)
    return without_flag


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name


def check_name(folder: Path, name: str) -> None:
    """Raise DatasetError if the name leads out of the folder, or cannot be part of a list or of XML."""
    if _leads_out(name):
        raise DatasetError(f"{folder}: the image set lists {name!r}, which leads out of the folder.")
    if name != name.strip() or _NOT_PRINTABLE.search(name):
        raise DatasetError(f"{folder}: {name!a} has characters that a list of names cannot hold. Rename the files.")


def check_path_length(path: str) -> None:
    """Raise DatasetError if a path has too many characters or parts. The search for its file takes quadratic time in both."""
    parts = path.count("/") + path.count("\\") + 1
    if len(path) > MAX_PATH_LENGTH or parts > MAX_PATH_PARTS:
        raise DatasetError(
            f"the path {path[:80]!r}... has {len(path):,} characters and {parts:,} parts; "
            f"at most {MAX_PATH_LENGTH:,} and {MAX_PATH_PARTS} are allowed."
        )


def name_key(name: str) -> str:
    """Return a key that is equal for names that differ in case or in Unicode composition, which differs between operating systems."""
    return unicodedata.normalize("NFC", name).casefold()


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
    return _find_ignoring_case(folder, name, filename)


def _find_ignoring_case(folder: Path, name: str, filename: str) -> Path | None:
    """Return the image whose name differs in case only: first one with the exact stem, then one that is the only candidate."""
    parents = [folder / place / PurePosixPath(name).parent for place in IMAGE_FOLDERS]
    images = [path for parent in parents if parent.is_dir() for path in sorted(parent.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES]
    stem, file = PurePosixPath(name).name, _last_part(filename)
    matches = [path for path in images if path.stem == stem][:1]
    for key in (name_key(stem), name_key(PurePosixPath(file).stem)):
        matches = matches or [path for path in images if name_key(path.stem) == key]
    return file_inside(folder, PurePosixPath(matches[0].relative_to(folder).as_posix())) if len(matches) == 1 else None


def unsupported_image(folder: Path, name: str) -> Path | None:
    """Return the image with an annotation's name if it is of a format that cannot be decoded."""
    path = PurePosixPath(name)
    images = (each for place in IMAGE_FOLDERS for each in sorted((folder / place / path.parent).glob(f"{escape(path.name)}.*")))
    return next((each for each in images if each.suffix.lower() in UNSUPPORTED_SUFFIXES), None)


def _last_part(filename: str) -> str:
    return PurePosixPath(filename.replace("\\", "/")).name


def _image_candidates(name: str, filename: str) -> Iterator[str]:
    file, path = _last_part(filename), PurePosixPath(name)
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
    """Yield the files of `root`, and of its subfolders if `nested`, without hidden ones and folders of other programs."""
    for folder, subfolders, names in os.walk(root, onerror=raise_error) if root.is_dir() else ():
        subfolders[:] = [name for name in subfolders if nested and not name.startswith(".") and name.lower() not in FOREIGN_FOLDERS]
        yield from (Path(folder) / name for name in names if not name.startswith("."))


def raise_error(error: OSError) -> None:
    """Raise the error that `os.walk` would ignore: a folder that cannot be read would look empty."""
    raise error


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
