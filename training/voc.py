"""VOC-style annotations -> samples. The first of the three places where a box changes its frame.

A file says 1-based inclusive pixels; a sample says continuous pixel edges: xmin - 1, ymin - 1, xmax, ymax.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from numpy.typing import NDArray

from detector.detections import Boxes
from detector.errors import MissingExtra
from training.errors import DatasetError

try:
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring
except ModuleNotFoundError as error:
    raise MissingExtra("reading VOC annotations needs defusedxml, which is not installed: pip install 'boxwright[train]'.") from error

PHOTO_FOLDERS = ("JPEGImages", "images", ".")
PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG", ".webp", ".bmp")
MAX_XML_BYTES = 8 * 2**20


@dataclass(frozen=True, eq=False)
class Sample:
    """A photo and what is to be found on it, as the file says it: nothing clipped, nothing left out."""

    name: str  # the annotation's name without ending, as an image set lists it
    photo: Path
    boxes: Boxes  # (N, 4) xyxy, image pixels
    labels: tuple[str, ...]  # (N,)
    difficult: NDArray[np.bool_]  # (N,) counted neither for nor against a detector


def read_set(folder: Path, name: str) -> list[Sample]:
    """The samples that ImageSets/Main/<name>.txt lists, in its order.

    Raises DatasetError where the list, an annotation or a photo is missing or cannot be read as such.
    """
    if PurePosixPath(name).name != name:
        raise DatasetError(f"an image set has a plain name such as 'train', got {name!r}.")
    listed = folder / "ImageSets" / "Main" / f"{name}.txt"
    if not listed.is_file():
        known = sorted(path.stem for path in listed.parent.glob("*.txt"))
        raise DatasetError(f"{folder}: there is no image set {name!r} (ImageSets/Main/{name}.txt); there is {', '.join(known) or 'none'}.")
    lines = (line.split() for line in listed.read_text(encoding="utf-8").splitlines())
    return [read_sample(folder, words[0]) for words in lines if words]


def read_sample(folder: Path, name: str) -> Sample:
    """One annotation with its photo; `name` as an image set lists it."""
    _check_inside(folder, name)
    xml = folder / "Annotations" / f"{name}.xml"
    root = parse_annotation(xml)
    objects = root.findall("object")
    return Sample(
        name,
        _photo(folder, [name, *_file_names(root)], xml),
        np.array([_box(thing, xml) for thing in objects], np.float32).reshape(-1, 4),
        tuple(_text(thing, "name", xml) for thing in objects),
        np.array([(thing.findtext("difficult") or "0").strip() == "1" for thing in objects], np.bool_),
    )


def parse_annotation(xml: Path) -> Element:
    """The <annotation> element. Entities, DTDs and outside references are refused (defusedxml)."""
    if not xml.is_file():
        raise DatasetError(f"{xml}: the annotation is missing.")
    if xml.stat().st_size > MAX_XML_BYTES:
        raise DatasetError(f"{xml}: {xml.stat().st_size} bytes are more than an annotation has; at most {MAX_XML_BYTES}.")
    try:
        root: Element = fromstring(xml.read_bytes(), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:  # the last two: encodings that do not exist
        raise DatasetError(f"{xml}: not readable as XML: {error}.") from error
    if root.tag != "annotation":
        raise DatasetError(f"{xml}: the first element is <{root.tag}>, a VOC file has <annotation>.")
    return root


def _file_names(root: Element) -> Iterable[str]:
    name = (root.findtext("filename") or "").strip()
    return [PurePosixPath(name.replace("\\", "/")).name] if name else []


def _photo(folder: Path, names: Iterable[str], xml: Path) -> Path:
    """The photo called as the annotation is, or else as its <filename> says, never outside the folder."""
    for place in PHOTO_FOLDERS:
        for name in names:
            for ending in ("", *PHOTO_ENDINGS):
                path = folder / place / f"{name}{ending}"
                if path.suffix in PHOTO_ENDINGS and path.is_file():
                    return path
    raise DatasetError(f"{xml}: its photo is in none of {', '.join(PHOTO_FOLDERS)} under {folder}.")


def _check_inside(folder: Path, name: str) -> None:
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name or "\0" in name:
        raise DatasetError(f"{folder}: the image set lists {name!r}, which leads out of the folder.")


def _box(thing: Element, xml: Path) -> tuple[float, float, float, float]:
    xmin, ymin, xmax, ymax = (_number(thing, corner, xml) for corner in ("xmin", "ymin", "xmax", "ymax"))
    return xmin - 1, ymin - 1, xmax, ymax


def _number(thing: Element, corner: str, xml: Path) -> float:
    text = _text(thing, f"bndbox/{corner}", xml)
    try:
        value = float(text)
    except ValueError as error:
        raise DatasetError(f"{xml}: <{corner}> is {text!r}, a number of pixels is wanted.") from error
    if not abs(value) < 1e6:
        raise DatasetError(f"{xml}: <{corner}> is {text!r}, a number of pixels is wanted.")
    return value


def _text(thing: Element, path: str, xml: Path) -> str:
    text = (thing.findtext(path) or "").strip()
    if not text:
        raise DatasetError(f"{xml}: an <object> has no <{path.replace('/', '><')}>.")
    return text
