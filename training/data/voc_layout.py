"""Where a VOC-style data set keeps its files, and that none of them lies elsewhere.

Four layouts, told apart by what is there:

    VOC, CVAT       Annotations/NAME.xml   JPEGImages/NAME.jpg   ImageSets/Main/SET.txt   (CVAT: NAME may have subfolders and blanks)
    Label Studio    Annotations/NAME.xml   images/NAME.jpg       no lists
    LabelImg        NAME.xml beside NAME.jpg                     no lists

A name comes from a stranger's list or file. It is checked before it is made a path, and a link is followed before it is trusted.
"""

import errno
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from training.errors import DatasetError

ANNOTATION_FOLDERS = ("Annotations", "annotations", ".")
PHOTO_FOLDERS = ("JPEGImages", "images", ".")
_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
PHOTO_ENDINGS = (*_ENDINGS, *(ending.upper() for ending in _ENDINGS))
LISTS = PurePosixPath("ImageSets/Main")
ALL = "all"
"""Every annotation of the folder, unless there is a list of that name."""
MAX_LIST_BYTES = 64 * 2**20

_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}
_FLAG = re.compile(r"\s+-?[01]$")  # after a name: whether the class is on the photo (VOC devkit, section 6.3; 0: difficult)
_UNSPEAKABLE = re.compile("[^ -~\u00a0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what a line of a list or XML cannot hold


def sets(folder: Path) -> tuple[str, ...]:
    """The names of its image sets, sorted; ("all",) where there are no lists.

    VOC's and CVAT's lists for single classes (dog_train.txt beside train.txt) are none of them. Raises DatasetError where there
    is neither a list nor an annotation.
    """
    lists = {path.stem: inside(folder, LISTS / path.name) for path in sorted((folder / LISTS).glob("*.txt"))}
    known = tuple(name for name, path in lists.items() if path and not _is_of_one_class(name, path, lists))
    if known:
        return known
    if not every_annotation(folder):
        raise DatasetError(
            f"{folder}: no VOC-style data is here, neither {LISTS}/*.txt nor an annotation (.xml). "
            "Give the folder that has Annotations, or photos and .xml files side by side."
        )
    return (ALL,)


def _is_of_one_class(name: str, path: Path, lists: Iterable[str]) -> bool:
    head, _, tail = name.rpartition("_")
    return bool(head) and tail in lists and all(_FLAG.search(line) for line in _lines(path))


def names(folder: Path, image_set: str) -> list[str]:
    """The names that ImageSets/Main/<image_set>.txt lists, in its order; of "all", every annotation's, sorted.

    Raises DatasetError where there is no such set, or a name cannot be that of a file within the folder.
    """
    if PurePosixPath(image_set).name != image_set:
        raise DatasetError(f"an image set has a plain name such as 'train', got {image_set!r}.")
    listed = inside(folder, LISTS / f"{image_set}.txt")
    if listed:
        return [_listed_name(folder, line) for line in _lines(listed)]
    found = every_annotation(folder) if image_set == ALL else []
    if not found:
        known = ", ".join(sets(folder))
        raise DatasetError(f"{folder}: there is no image set {image_set!r} ({LISTS}/{image_set}.txt); there is {known}.")
    for name in found:
        check_name(folder, name)
    return found


def _lines(listed: Path) -> Iterator[str]:
    try:
        if listed.stat().st_size > MAX_LIST_BYTES:
            raise DatasetError(f"{listed}: {listed.stat().st_size} bytes are more than a list of photos has.")
        text = listed.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{listed} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{listed} is not UTF-8 text: byte {error.start} does not fit. Save it as UTF-8.") from error
    return (line.strip() for line in text.split("\n") if line.strip())


def _listed_name(folder: Path, line: str) -> str:
    """A whole line, as CVAT lists names with blanks; or without the flag of a list for one class, or the photo's ending."""
    without_flag = _FLAG.sub("", line)
    ending = PurePosixPath(line).suffix
    for name in (line, without_flag, line.removesuffix(ending if ending in PHOTO_ENDINGS else "")):
        check_name(folder, name)
        if find_annotation(folder, name):
            return name
    return without_flag


def check_name(folder: Path, name: str) -> None:
    """Raises DatasetError for a name that leads out of the folder, or cannot stand in a list and in XML."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise DatasetError(f"{folder}: the image set lists {name!r}, which leads out of the folder.")
    if name != name.strip() or _UNSPEAKABLE.search(name):
        raise DatasetError(f"{folder}: {name!a} has characters that a list of names cannot hold. Rename the files.")


def find_annotation(folder: Path, name: str) -> Path | None:
    """The .xml of that name, checked before."""
    found = (inside(folder, PurePosixPath(place) / f"{name}.xml") for place in ANNOTATION_FOLDERS)
    return next((path for path in found if path), None)


def find_photo(folder: Path, name: str, filename: str = "") -> Path | None:
    """The photo called as the annotation `name` is, or else as its <filename> says.

    Of a filename only the last part counts, so it leads nowhere. Where it is the name and an ending, it decides between a.jpg and
    a.png.
    """
    for place in PHOTO_FOLDERS:
        for candidate in _photo_names(name, filename):
            if candidate.endswith(PHOTO_ENDINGS) and (found := inside(folder, PurePosixPath(place) / candidate)):
                return found
    return None


def _photo_names(name: str, filename: str) -> Iterator[str]:
    file, path = PurePosixPath(filename.replace("\\", "/")).name, PurePosixPath(name)
    beside = str(path.with_name(file)) if file else name
    if PurePosixPath(file).stem == path.name:
        yield beside
    for candidate in dict.fromkeys((name, beside, file or name)):
        yield from (f"{candidate}{ending}" for ending in ("", *PHOTO_ENDINGS))


def find_photos(folder: Path) -> list[Path]:
    """Every photo there is, sorted, hidden files and links to folders left out."""
    place = next((place for place in PHOTO_FOLDERS if (folder / place).is_dir()), ".")
    found = (folder / place).glob("[!.]*" if place == "." else "**/[!.]*")
    return sorted(path for path in found if path.suffix in PHOTO_ENDINGS and path.is_file())


def every_annotation(folder: Path) -> list[str]:
    """The name of every .xml there is, sorted, hidden ones left out; none of them checked."""
    for place in ANNOTATION_FOLDERS:
        root = folder / place
        found = root.glob("[!.]*.xml" if place == "." else "**/[!.]*.xml")  # hidden: what macOS leaves beside files in archives
        if listed := sorted(path.relative_to(root).as_posix().removesuffix(".xml") for path in found):
            return listed
    return []


def inside(folder: Path, relative: PurePosixPath) -> Path | None:
    """The plain file at that place; None if there is none. Raises DatasetError for a link that leads out of the folder."""
    path = folder / relative
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        within = path.resolve().is_relative_to(folder.resolve())
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not within:
        raise DatasetError(f"{path} is a link that leads out of the folder. Put the file itself there.")
    return path
