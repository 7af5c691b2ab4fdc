"""Write VOC-style annotations and data sets: the inverse of `voc_reader`.

Continuous pixel edges become 1-based inclusive pixels: x0 + 1, y0 + 1, x1, y1. Numbers keep up to four decimals, because rounding to
integers would move the box.
"""

import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np
from numpy.typing import NDArray

from detector.boxes.detections import Boxes
from training.data.exif_orientation import Size
from training.data.labelled import LABELLED_FILE as LABELLED
from training.data.labelled import Labelled, labelled_text
from training.data.voc_layout import LISTS, check_name, one_line
from training.data.voc_lists import check_set_name
from training.errors import DatasetError
from weights.atomic_files import DISK_FULL, sync_folder

_NOT_IN_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2
DECIMALS = 4


def annotation_xml(
    filename: str,
    size: Size | None,
    boxes: Boxes,
    labels: Sequence[str],
    *,
    difficult: NDArray[np.bool_] | None = None,
    crowd: NDArray[np.bool_] | None = None,
) -> bytes:
    """Return an annotation file as UTF-8. Raises DatasetError if a label is blank or has characters that XML cannot hold.

    Args:
        filename: Name of the image file.
        size: Width and height of the image. None omits <size>.
        boxes: (N, 4) xyxy, image pixels.
        labels: (N,).
        difficult: (N,). None: no box is difficult.
        crowd: (N,). None: no box is a crowd.
    """
    root = Element("annotation")
    _add(root, "filename", filename)
    if size:
        sides = SubElement(root, "size")
        for tag, value in zip(("width", "height", "depth"), (*size, 3), strict=True):
            _add(sides, tag, str(value))
    none = np.zeros(len(boxes), np.bool_)
    flags = zip(none if difficult is None else difficult, none if crowd is None else crowd, strict=True)
    for box, label, (is_difficult, is_crowd) in zip(boxes, labels, flags, strict=True):
        element = SubElement(root, "object")
        _add(element, "name", checked_label(label))
        _add(element, "difficult", str(int(is_difficult)))
        if is_crowd:
            _add(element, "crowd", "1")
        write_box(SubElement(element, "bndbox"), box)
    indent(root)
    return bytes(tostring(root, encoding="utf-8")) + b"\n"


def checked_label(label: str) -> str:
    """Return the label in one line, without surrounding whitespace. Raises DatasetError if it is blank or XML cannot hold it."""
    if not label.strip() or _NOT_IN_XML.search(label):
        raise DatasetError(f"the label {label[:40]!a} is blank, or has characters that XML cannot hold.")
    return one_line(label)


def write_box(bndbox: Element, box: Boxes) -> None:
    """Write a box (4,) xyxy in image pixels to <xmin>, <ymin>, <xmax> and <ymax>, creating missing elements."""
    for corner, value in zip(("xmin", "ymin", "xmax", "ymax"), box.tolist(), strict=True):
        set_text(bndbox, corner, _number(value + 1 if corner.endswith("min") else value))


def set_text(parent: Element, tag: str, text: str) -> None:
    """Set the text of a child element, creating it if it is missing."""
    child = parent.find(tag)
    if child is None:
        child = SubElement(parent, tag)
    for part in list(child):
        child.remove(part)
    child.text = text


def _add(parent: Element, tag: str, text: str) -> None:
    SubElement(parent, tag).text = text


def _number(value: float) -> str:
    return f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class NewDataset:
    """A data set in VOC layout that is being written to a temporary folder."""

    folder: Path

    def add(self, name: str, image: Path, xml: bytes, *, suffix: str | None = None, link: bool = False) -> None:
        """Add an image and its annotation.

        Args:
            name: Name without suffix. It may have subfolders.
            image: The image file, which is copied byte for byte.
            xml: The annotation.
            suffix: Suffix of the copy. None: that of the image.
            link: Create a hard link instead of a copy if the file system supports it.

        Raises:
            DatasetError: The name is invalid or used twice.
            OSError: A file cannot be read or written.
        """
        check_name(self.folder, name)
        annotation = self.folder / "Annotations" / f"{name}.xml"
        if annotation.exists():
            raise DatasetError(f"two images would have the name {name!r}. Rename one of them.")
        copy = self.folder / "JPEGImages" / f"{name}{image.suffix if suffix is None else suffix}"
        for path in (annotation, copy):
            path.parent.mkdir(parents=True, exist_ok=True)
        annotation.write_bytes(xml)
        if not (link and _hard_linked(image, copy)):
            shutil.copyfile(image, copy)

    def write_list(self, image_set: str, names: Iterable[str]) -> None:
        """Write ImageSets/Main/<image_set>.txt. Raises DatasetError if `image_set` is not a plain name."""
        check_set_name(image_set)
        lists = self.folder / LISTS
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{image_set}.txt").write_bytes(list_text(names))

    def write_labelled(self, labelled: Labelled) -> None:
        """Write ImageSets/labelled.json, unless every image is completely labelled."""
        if labelled:
            path = self.folder / LABELLED
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(labelled_text(labelled))


def _hard_linked(image: Path, copy: Path) -> bool:
    try:
        copy.hardlink_to(image.resolve())
    except OSError:  # another file system, or one without hard links
        return False
    return True


def list_text(names: Iterable[str]) -> bytes:
    """Return the content of an image set's list: one name per line."""
    return "".join(f"{name}\n" for name in names).encode()


@contextmanager
def new_dataset(out: Path) -> Iterator[NewDataset]:
    """Yield a data set in a temporary folder, which is renamed to `out` at the end. After an exception, it is deleted.

    Raises DatasetError if `out` exists, and OSError if a file cannot be written.
    """
    check_free(out)
    with _temporary(out) as new:
        yield new
        check_free(out)
        new.folder.rename(out)
    sync_folder(out.parent)


@contextmanager
def add_to_dataset(out: Path, image_sets: Iterable[str]) -> Iterator[NewDataset]:
    """Yield a data set whose images and `image_sets` are added to `out` at the end. After an exception, `out` is unchanged.

    Raises:
        DatasetError: `out` exists and is not a data set with lists, or has one of the sets or images already.
        OSError: A file cannot be written.
    """
    if not (out / LISTS).is_dir():
        with new_dataset(out) as new:
            yield new
        return
    if taken := [each for each in image_sets if (out / LISTS / f"{each}.txt").exists()]:
        raise DatasetError(f"{out}: there is an image set {taken[0]!r} already. Choose another name with --set, or another folder.")
    with _temporary(out) as new:
        yield new
        files = sorted(path.relative_to(new.folder) for path in new.folder.rglob("*") if path.is_file())
        files.sort(key=lambda path: path.parts[0] == "ImageSets")  # lists last: they must not name missing images
        if existing := [path for path in files if (out / path).exists()]:
            raise DatasetError(f"{out}: {existing[0]} exists already. Rename the image, or choose another folder.")
        moved: list[Path] = []
        try:
            for path in files:
                (out / path).parent.mkdir(parents=True, exist_ok=True)
                (new.folder / path).rename(out / path)
                moved.append(out / path)
        except BaseException:
            for target in moved:
                target.unlink()
            raise
        shutil.rmtree(new.folder)
    sync_folder(out)


@contextmanager
def _temporary(out: Path) -> Iterator[NewDataset]:
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{secrets.token_hex(8)}.part")
    try:
        temporary.mkdir()
        yield NewDataset(temporary)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        # if the disk is full, the error of `shutil` names the source file of the copy
        if isinstance(error, OSError) and (error.errno in DISK_FULL or str(error.filename).startswith(str(temporary))):
            raise OSError(error.errno, error.strerror, str(out)) from error
        raise


def check_free(out: Path) -> None:
    """Raise DatasetError if `out` exists."""
    if out.exists() or out.is_symlink():
        raise DatasetError(f"{out} exists already. Give the path of a new folder, or remove that one.")
