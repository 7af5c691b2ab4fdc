"""Read VOC-style annotations.

Files have 1-based inclusive pixels; samples have continuous pixel edges: xmin - 1, ymin - 1, xmax, ymax.
"""

import hashlib
import math
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from numpy.typing import NDArray

from detector.boxes.detections import Boxes
from detector.boxes.placement import ImageArray
from detector.errors import ImageError, MissingExtra
from detector.imaging.image import read_image_bytes
from detector.text_encoding import decode_text
from training.data.labelled import check_names_exist, read_labelled
from training.data.parallel_decoding import read_image_in_budget
from training.data.rotated_boxes import is_rotated, rectangle_around
from training.data.voc_layout import IMAGE_FOLDERS, check_name, find_annotation, find_image, one_line, unsupported_image
from training.data.voc_lists import image_names
from training.errors import DatasetError

try:
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring
except ModuleNotFoundError as error:
    raise MissingExtra("reading VOC annotations needs defusedxml, which is not installed. Install Boxwright again.") from error

MAX_XML_BYTES = 8 * 2**20
MAX_DEPTH = 20
MAX_COORDINATE = 1e6
ROTATION = "rotation"
FLAGS = dict.fromkeys(("", "0", "0.0", "false", "no", "unspecified"), False) | dict.fromkeys(("1", "1.0", "true", "yes"), True)

_DECLARATION = re.compile(r"\s{0,100}<\?xml[^>]{0,100}\?>")
_DECLARED_ENCODING = re.compile(r"encoding\s{0,9}=\s{0,9}[\"']([\w-]{1,20})")
_EAST_ASIAN = {"gb2312": "gb18030", "gbk": "gb18030", "gb18030": "gb18030", "big5": "big5hkscs"} | {
    name: name for name in ("shift_jis", "shift-jis", "euc-jp", "euc-kr", "cp932", "cp936", "cp949", "cp950")
}
"""Declared encoding -> Python's codec that reads it. The parser does not know multi-byte encodings."""


@dataclass(frozen=True, eq=False)
class Annotation:
    """The content of an annotation file. Boxes are neither clipped nor filtered."""

    name: str  # without suffix, as an image set lists it
    path: Path
    filename: str  # of the image, as written; "" if absent
    size: tuple[int, int] | None  # width, height of the image; None if absent or not positive
    boxes: Boxes  # (N, 4) xyxy, image pixels
    labels: tuple[str, ...]  # (N,)
    difficult: NDArray[np.bool_]  # (N,) ignored in evaluation; crowds are difficult, too
    crowd: NDArray[np.bool_]  # (N,) a region with several objects instead of one object (COCO's iscrowd)
    rotated: NDArray[np.bool_]  # (N,) rotated in the file; the box is the upright rectangle around it


@dataclass(frozen=True, eq=False)
class Sample:
    """An image and its ground truth as annotated. Boxes are neither clipped nor filtered."""

    name: str  # of the annotation, without suffix, as an image set lists it
    image_path: Path
    boxes: Boxes  # (N, 4) xyxy, image pixels
    labels: tuple[str, ...]  # (N,)
    difficult: NDArray[np.bool_]  # (N,) ignored in evaluation; crowds are difficult, too
    crowd: NDArray[np.bool_]  # (N,) a region with several objects instead of one object
    labelled: frozenset[str] | None = None  # the labels that are exhaustive in this image; None: all labels
    rotated: int = 0  # number of boxes that are rotated in the file; `boxes` has the upright rectangles around them

    def load_image(self) -> ImageArray:
        """Decode the image; see `read_image_file`."""
        return read_image_file(self.image_path)


def read_image_file(path: Path) -> ImageArray:
    """Decode an image file to (H, W, 3) uint8 RGB. Raises ImageError with the name of the file, OSError."""
    try:
        return read_image_in_budget(read_image_bytes(path))
    except ImageError as error:
        raise type(error)(f"{path}: {error}") from error


def read_set(folder: Path, name: str) -> list[Sample]:
    """Read an image set in the order of its list, or all annotations in name order for "all".

    Raises:
        DatasetError: The list, an annotation or an image is missing or unreadable, or labelled.json names an image that does not exist.
    """
    labelled = read_labelled(folder)
    names = image_names(folder, name)
    try:
        samples = [replace(read_sample(folder, each), labelled=labelled.get(each)) for each in names]
    except DatasetError as error:
        raise DatasetError(f"{error} `boxwright data check {quote(str(folder))}` lists every mistake.") from error
    check_names_exist(folder, labelled.keys() - {sample.name for sample in samples})
    return samples


def label_partially(samples: Sequence[Sample], labels: Collection[str]) -> list[Sample]:
    """Return the samples. Where `labelled` is None, it becomes `labels`, because objects of other classes may lack a box."""
    return [sample if sample.labelled is not None else replace(sample, labelled=frozenset(labels)) for sample in samples]


def data_fingerprint(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the number of images and boxes, and a SHA-256 of names, image file sizes, boxes and labels. Raises OSError."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.name}\0{sample.image_path.stat().st_size}\0{sample.labels}\0".encode())
        digest.update(sample.boxes.tobytes() + sample.difficult.tobytes())
        if sample.labelled is not None or sample.crowd.any():  # otherwise the digest equals that of earlier versions
            digest.update(f"{sample.labelled and sorted(sample.labelled)}".encode() + sample.crowd.tobytes())
    return {"photos": len(samples), "boxes": sum(len(sample.boxes) for sample in samples), "sha256": digest.hexdigest()}


def read_sample(folder: Path, name: str) -> Sample:
    """Read an annotation and find its image. Raises DatasetError."""
    annotation = read_annotation(folder, name)
    image, rotated = image_of(folder, annotation), int(annotation.rotated.sum())
    return Sample(name, image, annotation.boxes, annotation.labels, annotation.difficult, annotation.crowd, rotated=rotated)


def read_annotation(folder: Path, name: str) -> Annotation:
    """Read an annotation. Its image need not exist. Raises DatasetError."""
    check_name(folder, name)
    xml = find_annotation(folder, name)
    if xml is None:
        raise DatasetError(f"{folder / 'Annotations' / name}.xml: the annotation is missing.")
    root = parse_annotation(xml)
    objects = root.findall("object")
    if not objects and root.find(".//bndbox") is not None:
        raise DatasetError(f"{xml}: a <bndbox> is in no <object> of the <annotation>, so it would be ignored.")
    crowd = np.array([_flag(each, "crowd", xml) for each in objects], np.bool_)
    return Annotation(
        name,
        xml,
        (root.findtext("filename") or "").strip(),
        _size(root),
        np.array([_box(each, xml) for each in objects], np.float32).reshape(-1, 4),
        tuple(_text(each, "name", xml) for each in objects),
        np.array([_flag(each, "difficult", xml) for each in objects], np.bool_) | crowd,
        crowd,
        np.array([is_rotated(rotation_of(each)) for each in objects], np.bool_),
    )


def image_of(folder: Path, annotation: Annotation) -> Path:
    """Return the annotation's image inside the folder. Raises DatasetError if it is missing."""
    image = find_image(folder, annotation.name, annotation.filename)
    if image is None and (unsupported := unsupported_image(folder, annotation.name)):
        raise DatasetError(f"{unsupported} is of a format that Boxwright does not read. Convert it to JPEG.")
    if image is None:
        subfolders = ", ".join(each for each in IMAGE_FOLDERS if each != ".")
        raise DatasetError(f"{annotation.path}: its image is in none of the folders {subfolders} of {folder}, and not in {folder} itself.")
    return image


def parse_annotation(xml: Path) -> Element:
    """Return the <annotation> element. Entities, DTDs and external references are refused. Raises DatasetError."""
    if not xml.is_file():
        raise DatasetError(f"{xml}: the annotation is missing.")
    try:
        if xml.stat().st_size > MAX_XML_BYTES:
            raise DatasetError(f"{xml}: the annotation has {xml.stat().st_size} bytes; at most {MAX_XML_BYTES} are read.")
        data = xml.read_bytes()
        root: Element = fromstring(_for_parser(data), forbid_dtd=True)
    except OSError as error:
        raise DatasetError(f"{xml} cannot be read: {error.strerror or error}.") from error
    except DefusedXmlException as error:
        raise DatasetError(f"{xml}: not readable as XML: document types are refused. Delete the line with <!DOCTYPE.") from error
    except (ParseError, ValueError, LookupError) as error:  # the last two: unknown encodings
        advice = " Delete encoding=... from the first line." if "encoding" in str(error) else ""
        advice = advice if _is_utf_8(data) else " Save it as UTF-8."
        raise DatasetError(f"{xml}: not readable as XML: {str(error).rstrip('.')}.{advice}") from error
    if root.tag != "annotation":
        advice = " Export the labels from CVAT as Pascal VOC." if root.tag == "annotations" else ""
        raise DatasetError(f"{xml}: the root element is <{root.tag[:40]}>; a VOC file has <annotation>.{advice}")
    _check_depth(root, xml)
    return root


def _for_parser(data: bytes) -> bytes | str:
    """Return XML as text if the parser would not know its encoding, or would trust a wrong declaration. Raises UnicodeDecodeError."""
    declaration = _DECLARATION.match(data[:300].decode("latin-1"))
    declared = _DECLARED_ENCODING.search(declaration[0]) if declaration else None
    if declared and (codec := _EAST_ASIAN.get(declared[1].lower())):
        return _without_declaration(data.decode(codec))
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return _without_declaration(decode_text(data))
    return data.lstrip(b" \t\r\n")


def _without_declaration(xml: str) -> str:
    declaration = _DECLARATION.match(xml)
    return xml[declaration.end() :] if declaration else xml


def _is_utf_8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _check_depth(root: Element, xml: Path) -> None:
    """Refuse deeply nested files, because the standard library compares and writes elements recursively."""
    level = [root]
    for _ in range(MAX_DEPTH):
        level = [child for element in level for child in element]
    if level:
        raise DatasetError(f"{xml}: elements are nested more than {MAX_DEPTH} levels deep; an annotation has 4 levels.")


def _size(root: Element) -> tuple[int, int] | None:
    """Return the size in the file. An invalid size is not an error, because training uses the size of the image file."""
    try:
        width, height = (float(root.findtext(f"size/{side}") or "") for side in ("width", "height"))
    except ValueError:
        return None
    if not (1 <= width < MAX_COORDINATE and 1 <= height < MAX_COORDINATE):
        return None
    return round(width), round(height)


def _box(element: Element, xml: Path) -> tuple[float, float, float, float]:
    xmin, ymin, xmax, ymax = (_number(element, corner, xml) for corner in ("xmin", "ymin", "xmax", "ymax"))
    return rectangle_around((xmin - 1, ymin - 1, xmax, ymax), rotation_of(element))


def rotation_of(element: Element) -> float:
    """Return the angle of an <object> in degrees (CVAT's attribute `rotation`); 0 if it has none."""
    for attribute in element.iterfind("attributes/attribute"):
        if (attribute.findtext("name") or "").strip() == ROTATION:
            try:
                degrees = float(attribute.findtext("value") or 0)
            except ValueError:
                return 0.0
            return degrees if math.isfinite(degrees) else 0.0
    return 0.0


def _number(element: Element, corner: str, xml: Path) -> float:
    text = _text(element, f"bndbox/{corner}", xml)
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan  # Python accepts more notations than XML
    except ValueError:
        value = math.nan
    if not abs(value) < MAX_COORDINATE:
        raise DatasetError(f"{xml}: <{corner}> is {text[:40]!r}; expected a number of pixels.")
    return value


def _flag(element: Element, tag: str, xml: Path) -> bool:
    text = (element.findtext(tag) or "").strip().lower()
    if text not in FLAGS:
        raise DatasetError(f"{xml}: <{tag}> is {text[:40]!r}; expected 0 or 1.")
    return FLAGS[text]


def _text(element: Element, path: str, xml: Path) -> str:
    tag = path.partition("/")[0]
    if (count := len(element.findall(tag))) > 1:
        raise DatasetError(f"{xml}: an <object> has {count} <{tag}>, and only the first would be used. Write one <object> for each.")
    text = one_line(element.findtext(path) or "")
    if not text:
        raise DatasetError(f"{xml}: an <object> has no <{path.replace('/', '><')}>, or an empty one.")
    return text
