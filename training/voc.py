"""VOC-style annotations -> samples. The first of the three places where a box changes its frame.

A file says 1-based inclusive pixels; a sample says continuous pixel edges: xmin - 1, ymin - 1, xmax, ymax.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from numpy.typing import NDArray

from detector.detections import Boxes
from detector.errors import ImageError, MissingExtra
from detector.image import read_image
from detector.placement import Picture
from training.errors import DatasetError
from training.labelled import check_names_exist, read_labelled
from training.voc_folder import PHOTO_FOLDERS, check_name, find_annotation, find_photo, names, sets

try:
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring
except ModuleNotFoundError as error:
    raise MissingExtra("reading VOC annotations needs defusedxml, which is not installed: pip install 'boxwright[train]'.") from error

__all__ = ["Annotation", "Sample", "parse_annotation", "photo_of", "read_annotation", "read_sample", "read_set", "sets"]

MAX_XML_BYTES = 8 * 2**20
MAX_DEPTH = 20
MAX_PIXELS_A_SIDE = 1e6
FLAGS = {"0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}


@dataclass(frozen=True, eq=False)
class Annotation:
    """What an .xml file says of a photo: nothing clipped, nothing left out."""

    name: str  # without ending, as an image set lists it
    path: Path
    filename: str  # of the photo, as written; "" if it is not
    size: tuple[int, int] | None  # width, height of the photo; None where none above 0 is written
    boxes: Boxes  # (N, 4) xyxy, image pixels
    labels: tuple[str, ...]  # (N,)
    difficult: NDArray[np.bool_]  # (N,) counted neither for nor against a detector; crowds are difficult, too
    crowd: NDArray[np.bool_]  # (N,) a region with several objects instead of one object (COCO's iscrowd)


@dataclass(frozen=True, eq=False)
class Sample:
    """A photo and what is to be found on it, as the file says it: nothing clipped, nothing left out."""

    name: str  # the annotation's name without ending, as an image set lists it
    photo: Path
    boxes: Boxes  # (N, 4) xyxy, image pixels
    labels: tuple[str, ...]  # (N,)
    difficult: NDArray[np.bool_]  # (N,) counted neither for nor against a detector; crowds are difficult, too
    crowd: NDArray[np.bool_]  # (N,) a region with several objects instead of one object
    labelled: frozenset[str] | None = None  # the labels that are exhaustive in this image; None: every label

    def picture(self) -> Picture:
        """(H, W, 3) uint8 RGB. Raises the ImageError that `read_image` raises, with the photo's name; OSError."""
        try:
            return read_image(self.photo.read_bytes())
        except ImageError as error:
            raise type(error)(f"{self.photo}: {error}") from error


def read_set(folder: Path, name: str) -> list[Sample]:
    """The samples that ImageSets/Main/<name>.txt lists, in its order; of "all", those of every annotation in the folder.

    Raises DatasetError where the list, an annotation or a photo is missing or cannot be read as such, or labelled.json names an image
    that does not exist.
    """
    labelled = read_labelled(folder)
    samples = [replace(read_sample(folder, listed), labelled=labelled.get(listed)) for listed in names(folder, name)]
    check_names_exist(folder, labelled.keys() - {sample.name for sample in samples})
    return samples


def read_sample(folder: Path, name: str) -> Sample:
    """One annotation with its photo; `name` as an image set lists it. Raises DatasetError."""
    annotation = read_annotation(folder, name)
    return Sample(name, photo_of(folder, annotation), annotation.boxes, annotation.labels, annotation.difficult, annotation.crowd)


def read_annotation(folder: Path, name: str) -> Annotation:
    """One annotation, whether or not its photo is there. Raises DatasetError."""
    check_name(folder, name)
    xml = find_annotation(folder, name)
    if xml is None:
        raise DatasetError(f"{folder / 'Annotations' / name}.xml: the annotation is missing.")
    root = parse_annotation(xml)
    objects = root.findall("object")
    crowd = np.array([_flag(thing, "crowd", xml) for thing in objects], np.bool_)
    return Annotation(
        name,
        xml,
        (root.findtext("filename") or "").strip(),
        _size(root),
        np.array([_box(thing, xml) for thing in objects], np.float32).reshape(-1, 4),
        tuple(_text(thing, "name", xml) for thing in objects),
        np.array([_flag(thing, "difficult", xml) for thing in objects], np.bool_) | crowd,
        crowd,
    )


def photo_of(folder: Path, annotation: Annotation) -> Path:
    """The annotation's photo, within the folder. Raises DatasetError where it is missing."""
    photo = find_photo(folder, annotation.name, annotation.filename)
    if photo is None:
        raise DatasetError(f"{annotation.path}: its photo is in none of {', '.join(PHOTO_FOLDERS)} under {folder}.")
    return photo


def parse_annotation(xml: Path) -> Element:
    """The <annotation> element. Entities, DTDs and outside references are refused (defusedxml). Raises DatasetError."""
    if not xml.is_file():
        raise DatasetError(f"{xml}: the annotation is missing.")
    try:
        if xml.stat().st_size > MAX_XML_BYTES:
            raise DatasetError(f"{xml}: {xml.stat().st_size} bytes are more than an annotation has; at most {MAX_XML_BYTES}.")
        root: Element = fromstring(xml.read_bytes(), forbid_dtd=True)
    except OSError as error:
        raise DatasetError(f"{xml} cannot be read: {error.strerror or error}.") from error
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:  # the last two: encodings that do not exist
        raise DatasetError(f"{xml}: not readable as XML: {error}.") from error
    if root.tag != "annotation":
        raise DatasetError(f"{xml}: the first element is <{root.tag[:40]}>, a VOC file has <annotation>.")
    _check_depth(root, xml)
    return root


def _check_depth(root: Element, xml: Path) -> None:
    """Deep files can be read here, but neither compared nor written: those functions of the standard library call themselves."""
    level = [root]
    for _ in range(MAX_DEPTH):
        level = [child for element in level for child in element]
    if level:
        raise DatasetError(f"{xml}: elements lie more than {MAX_DEPTH} deep in one another; an annotation's lie 4 deep.")


def _size(root: Element) -> tuple[int, int] | None:
    """No error: the size is a hint for checks, and training asks the photo itself."""
    try:
        width, height = (float(root.findtext(f"size/{side}") or "") for side in ("width", "height"))
    except ValueError:
        return None
    if not (1 <= width < MAX_PIXELS_A_SIDE and 1 <= height < MAX_PIXELS_A_SIDE):
        return None
    return round(width), round(height)


def _box(thing: Element, xml: Path) -> tuple[float, float, float, float]:
    xmin, ymin, xmax, ymax = (_number(thing, corner, xml) for corner in ("xmin", "ymin", "xmax", "ymax"))
    return xmin - 1, ymin - 1, xmax, ymax


def _number(thing: Element, corner: str, xml: Path) -> float:
    text = _text(thing, f"bndbox/{corner}", xml)
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan  # Python's numbers may have more than XML's
    except ValueError:
        value = math.nan
    if not abs(value) < MAX_PIXELS_A_SIDE:
        raise DatasetError(f"{xml}: <{corner}> is {text[:40]!r}, a number of pixels is wanted.")
    return value


def _flag(thing: Element, tag: str, xml: Path) -> bool:
    text = (thing.findtext(tag) or "0").strip().lower()
    if text not in FLAGS:
        raise DatasetError(f"{xml}: <{tag}> is {text[:40]!r}; it is 0 or 1.")
    return FLAGS[text]


def _text(thing: Element, path: str, xml: Path) -> str:
    text = (thing.findtext(path) or "").strip()
    if not text:
        raise DatasetError(f"{xml}: an <object> has no <{path.replace('/', '><')}>.")
    return text
