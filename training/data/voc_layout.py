"""Find the files of a VOC-style data set.

These layouts are recognised by their content:

    VOC, CVAT       Annotations/NAME.xml   JPEGImages/NAME.jpg   ImageSets/Main/SET.txt   (CVAT: NAME may have subfolders and spaces)
    Label Studio    Annotations/NAME.xml   images/NAME.jpg       no lists
    FiftyOne        labels/NAME.xml        data/NAME.jpg         no lists
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

from detector.imaging.suffixes import ANNOTATED_COPY, FOREIGN_FOLDERS, IMAGE_SUFFIXES, UNSUPPORTED_SUFFIXES
from detector.text_encoding import decode_text
from training.errors import DatasetError

ANNOTATION_FOLDERS = ("Annotations", "annotations", "ANNOTATIONS", "labels", "xmls", ".")
IMAGE_FOLDERS = ("JPEGImages", "images", "Images", "IMAGES", "data", "img", ".")
_AMBIGUOUS_FOLDERS = frozenset({"data", "img"})
"""Image folders only if another folder has annotations. LabelImg has a folder `data` with class names, for example."""
ANNOTATION_SUFFIX = ".xml"
LISTS = PurePosixPath("ImageSets/Main")
ALL = "all"  # The set of all annotations, unless there is a list of that name.
DEFAULT_SET = "train"  # The set of imported and merged images without one.
MAX_PATH_LENGTH, MAX_PATH_PARTS = 1024, 64
MAX_TAIL_PARTS = 8  # of a path without its leading folders
_LINE_BREAK = re.compile(r"\s*[\r\n\t]\s*")  # an editor that indents XML wraps long labels

_WORD = re.compile(  # train, validation, testset, TrainImages
    "(?:(?P<train>train(?:ing)?)|(?P<val>val(?:id(?:ation|ate)?)?|eval(?:uation)?)|(?P<test>test(?:ing)?))(?:sets?|data|images?|imgs?|split)?"
)
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}
NOT_PRINTABLE = re.compile("[^ -~\u00a0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # cannot be part of a line of a list, or of XML


def set_of_name(name: str) -> str | None:
    """Return "train", "val" or "test" if the name contains words for exactly one of them, in any case and with any suffix, else None.

    Train, train2017, trainset and obj_train_data are "train"; images-val and ValImages are "val"; trainval names no single set.
    """
    words = re.findall("[a-z]+", re.sub("(?<=[a-z])(?=[A-Z])", " ", name).lower())
    found = {match.lastgroup for word in words if (match := _WORD.fullmatch(word))}
    return found.pop() if len(found) == 1 else None


def is_name_of_set(name: str) -> bool:
    """Return whether the complete name means a set: val, Valid or train2017, but not my_test."""
    return set_of_name(name) is not None and name.rstrip("0123456789").isalpha()


def set_of_path(parts: Iterable[str]) -> str | None:
    """Return the set that the outermost folder with a set's name belongs to."""
    return next((found for part in parts if (found := set_of_name(part))), None)


def read_text(path: Path, max_bytes: int) -> str:
    """Return the content of a text file, in UTF-8 or with a byte order mark. Raises DatasetError if it is too large or unreadable."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DatasetError(f"{path} is not a regular file.")
        if status.st_size > max_bytes:
            raise DatasetError(f"{path}: the file has {status.st_size} bytes; at most {max_bytes} are read.")
        return decode_text(path.read_bytes()).replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error


def leads_out(name: str) -> bool:
    """Return whether a name, as a relative path, leads out of the folder or is empty."""
    path = PurePosixPath(name)
    return not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name


def check_name(folder: Path, name: str) -> None:
    """Raise DatasetError if the name leads out of the folder, or cannot be part of a list or of XML."""
    if name != name.strip() or NOT_PRINTABLE.search(name) or ("\\" in name and ".." not in name):
        raise DatasetError(f"{folder}: {name!a} has characters that a list of names cannot hold. Rename the files.")
    if leads_out(name):
        raise DatasetError(f"{folder}: the name {name!r} leads out of the folder.")


def one_line(label: str) -> str:
    """Return a label without surrounding whitespace and line breaks."""
    return _LINE_BREAK.sub(" ", label.strip())


def tail_starts(parts: int) -> Iterable[int]:
    """Return the numbers of leading folders that may be dropped from a path: 0, and all that leave 1 to MAX_TAIL_PARTS parts.

    Each resulting path is searched for on the disk.
    """
    return dict.fromkeys((0, *range(max(0, parts - MAX_TAIL_PARTS), parts)))


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
    suffixes = (ANNOTATION_SUFFIX, ANNOTATION_SUFFIX.upper(), ANNOTATION_SUFFIX.title())
    candidates = (file_inside(folder, PurePosixPath(place) / f"{name}{suffix}") for place in ANNOTATION_FOLDERS for suffix in suffixes)
    return next((path for path in candidates if path), None)


def find_image(folder: Path, name: str, filename: str = "") -> Path | None:
    """Return the image of an annotation: the one with the annotation's name, or else the one that its <filename> names.

    Only the last part of `filename` is used, so it cannot lead out of the folder. If it is the name plus a suffix, it decides between
    a.jpg and a.png.
    """
    for place in (place for place in IMAGE_FOLDERS if (folder / place).is_dir()):  # each candidate takes a system call
        for candidate in _image_candidates(name, filename):
            relative = PurePosixPath(place) / candidate
            if relative.suffix.lower() in IMAGE_SUFFIXES and (image := file_inside(folder, relative)):
                return image
    return _find_ignoring_case(folder, name, filename)


def _find_ignoring_case(folder: Path, name: str, filename: str) -> Path | None:
    """Return the image with the name's stem. Without one, ignore case and try the name's stem, then that of `filename`.

    If case is ignored, only a single match counts.
    """
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


def find_images(folder: Path, *, subfolders: bool = False) -> list[Path]:
    """Return the images, sorted. Hidden files, linked folders, annotated copies and folders of other programs are omitted.

    These are all images in and below the image folder or, without one, only those directly in `folder`.

    Args:
        folder: The data set, or a folder of images.
        subfolders: Include images below `folder` even if it has no image folder, such as JPEGImages.
    """
    place = next((place for place in IMAGE_FOLDERS if (folder / place).is_dir()), ".")
    if place in _AMBIGUOUS_FOLDERS and not any(_annotations_in(folder, each) for each in ANNOTATION_FOLDERS if each != "."):
        place = "."
    paths = visible_files(folder / place, nested=subfolders or place != ".")
    images = (path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES and not path.stem.endswith(ANNOTATED_COPY))
    return sorted(path for path in images if path.is_file())


def unsupported_images(folder: Path) -> list[Path]:
    """Return the images in and below a folder that cannot be decoded because of their format, sorted."""
    return sorted(path for path in visible_files(folder, nested=True) if path.suffix.lower() in UNSUPPORTED_SUFFIXES)


def all_annotations(folder: Path) -> list[str]:
    """Return the names of all annotations, sorted and unchecked. Hidden files and folders of other programs are omitted."""
    root, paths = annotation_files(folder)
    return sorted(path.relative_to(root).as_posix()[: -len(ANNOTATION_SUFFIX)] for path in paths)


def annotation_files(folder: Path) -> tuple[Path, list[Path]]:
    """Return the files of all annotations, and the folder to which their names are relative."""
    for place in ANNOTATION_FOLDERS:
        if paths := _annotations_in(folder, place):
            return folder / place, paths
    set_folders = [path for path in folder.glob("[!.]*") if path.is_dir() and not path.is_symlink() and set_of_name(path.name)]
    return folder, [path for each in set_folders for path in _annotations_in(each, ".")]


def _annotations_in(folder: Path, place: str) -> list[Path]:
    return [path for path in visible_files(folder / place, nested=place != ".") if path.suffix.lower() == ANNOTATION_SUFFIX]


def visible_files(root: Path, *, nested: bool, strict: bool = True) -> Iterator[Path]:
    """Yield the files of `root`, and of its subfolders if `nested`, without hidden ones and folders of other programs.

    Raises OSError for a folder that cannot be read. If `strict` is False, it is omitted.
    """
    for folder, subfolders, names in os.walk(root, onerror=raise_error if strict else None) if root.is_dir() else ():
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
    if "\0" in str(path):
        return None
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
