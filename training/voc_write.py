"""Samples -> VOC-style files: the way back of `voc`, and a whole data set at once.

Continuous pixel edges become 1-based inclusive pixels: x0 + 1, y0 + 1, x1, y1. Whole numbers are written as such; others keep four
decimals, for rounding would move them.
"""

import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np
from numpy.typing import NDArray

from detector.detections import Boxes
from training.errors import DatasetError
from training.labelled import FILE as LABELLED
from training.labelled import Labelled, labelled_text
from training.photo_frame import Size
from training.voc_folder import LISTS, check_name
from weights.atomic import sync_folder

_NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what no XML can hold (XML 1.0, section 2.2)
DECIMALS = 4


def annotation_xml(
    filename: str,
    size: Size,
    boxes: Boxes,
    labels: Sequence[str],
    *,
    difficult: NDArray[np.bool_] | None = None,
    crowd: NDArray[np.bool_] | None = None,
) -> bytes:
    """The .xml of a photo, UTF-8. boxes: (N, 4) xyxy, image pixels; labels, difficult and crowd: (N,), no such box if not given.

    Raises DatasetError for a label that XML cannot hold or that is blank.
    """
    root = Element("annotation")
    _add(root, "filename", filename)
    sides = SubElement(root, "size")
    for tag, value in zip(("width", "height", "depth"), (*size, 3), strict=True):
        _add(sides, tag, str(value))
    none = np.zeros(len(boxes), np.bool_)
    flags = zip(none if difficult is None else difficult, none if crowd is None else crowd, strict=True)
    for box, label, (is_difficult, is_crowd) in zip(boxes, labels, flags, strict=True):
        thing = SubElement(root, "object")
        _add(thing, "name", checked_label(label))
        _add(thing, "difficult", str(int(is_difficult)))
        if is_crowd:
            _add(thing, "crowd", "1")
        write_box(SubElement(thing, "bndbox"), box)
    indent(root)
    return bytes(tostring(root, encoding="utf-8")) + b"\n"


def checked_label(label: str) -> str:
    """The label without blanks around it. Raises DatasetError where XML cannot hold it, or nothing is left."""
    if not label.strip() or _NO_XML.search(label):
        raise DatasetError(f"the label {label[:40]!a} is blank, or has characters that XML cannot hold.")
    return label.strip()


def write_box(bndbox: Element, box: Boxes) -> None:
    """(4,) xyxy, image pixels -> the texts of <xmin>, <ymin>, <xmax>, <ymax>, which are made where they are missing."""
    for corner, value in zip(("xmin", "ymin", "xmax", "ymax"), box.tolist(), strict=True):
        set_text(bndbox, corner, _number(value + 1 if corner.endswith("min") else value))


def set_text(parent: Element, tag: str, text: str) -> None:
    """Give the child of that tag a text; make it if there is none."""
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
    """A data set being written, in VOC's layout."""

    folder: Path

    def add(self, name: str, photo: Path, xml: bytes, *, link: bool = False) -> None:
        """Add a sample: its photo is copied byte for byte, or with `link` becomes a hard link where the file system allows it.

        Raises DatasetError for a name that is unfit or there already, OSError.
        """
        check_name(self.folder, name)
        annotation = self.folder / "Annotations" / f"{name}.xml"
        if annotation.exists():
            raise DatasetError(f"two photos would have the name {name!r}. Rename one of them.")
        copy = self.folder / "JPEGImages" / f"{name}{photo.suffix}"
        for path in (annotation, copy):
            path.parent.mkdir(parents=True, exist_ok=True)
        annotation.write_bytes(xml)
        if not (link and _linked(photo, copy)):
            shutil.copyfile(photo, copy)

    def write_list(self, image_set: str, names: Iterable[str]) -> None:
        """ImageSets/Main/<image_set>.txt. Raises DatasetError for a name that is no plain one."""
        if PurePosixPath(image_set).name != image_set:
            raise DatasetError(f"an image set has a plain name such as 'train', got {image_set!r}.")
        lists = self.folder / LISTS
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{image_set}.txt").write_bytes(list_text(names))

    def write_labelled(self, labelled: Labelled) -> None:
        """ImageSets/labelled.json: which labels are exhaustive in which partially labelled image; nothing if there is no such image."""
        if labelled:
            path = self.folder / LABELLED
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(labelled_text(labelled))


def _linked(photo: Path, copy: Path) -> bool:
    try:
        copy.hardlink_to(photo.resolve())
    except OSError:  # another file system, or one without hard links
        return False
    return True


def list_text(names: Iterable[str]) -> bytes:
    """An image set's file: a name a line."""
    return "".join(f"{name}\n" for name in names).encode()


@contextmanager
def new_dataset(out: Path) -> Iterator[NewDataset]:
    """A data set that appears as the folder `out` when the block ends well; otherwise nothing is left.

    Raises DatasetError where `out` is there already, OSError where the disk refuses.
    """
    check_free(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{secrets.token_hex(8)}.part")
    temporary.mkdir()
    try:
        yield NewDataset(temporary)
        check_free(out)
        temporary.rename(out)
    except BaseException:
        shutil.rmtree(temporary)
        raise
    sync_folder(out.parent)


def check_free(out: Path) -> None:
    """Raises DatasetError where something is there already."""
    if out.exists() or out.is_symlink():
        raise DatasetError(f"{out} is there already. Give the path of a new folder, or remove that one.")
