"""Inspect one annotation and its image: find problems and compute the corrected boxes."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.boxes.detections import Boxes
from detector.errors import ImageError
from detector.imaging.image import read_image_bytes
from training.data.exif_orientation import ExifFrame, Size
from training.data.parallel_decoding import read_image_in_budget
from training.data.unusable_boxes import BOX_TOLERANCE, too_thin
from training.data.voc_reader import Annotation, image_of, read_annotation
from training.datasets.findings import Finding, label_key
from training.errors import DatasetError

_Mask = NDArray[np.bool_]

_annotation_lock = threading.Lock()
"""One annotation is parsed at a time. The parser holds the GIL, so several threads would only need more memory, 40 times the file each."""


@dataclass(frozen=True, eq=False)
class InspectedSample:
    """A readable sample with its corrected boxes."""

    annotation: Annotation
    image_path: Path
    digest: bytes  # SHA-256 of the image file
    size: Size  # of the upright image
    boxes: Boxes  # (N, 4) xyxy, upright image pixels, clipped
    usable: _Mask  # (N,) neither empty, nor outside of the image, nor a repetition

    @property
    def is_correct(self) -> bool:
        """True if the annotation needs no correction."""
        same = np.array_equal(self.boxes, self.annotation.boxes)
        return same and bool(self.usable.all()) and not self.annotation.rotated.any() and self.annotation.size == self.size


@dataclass(frozen=True, eq=False)
class Inspection:
    """Findings of one image and its annotation."""

    name: str
    findings: tuple[Finding, ...]
    sample: InspectedSample | None = None  # None: the annotation or the image is missing or unreadable


def inspect_sample(folder: Path, name: str) -> Inspection:
    """Read an annotation and decode its image. Every problem becomes a finding; nothing is raised."""
    try:
        with _annotation_lock:
            annotation = read_annotation(folder, name)
    except DatasetError as error:
        return Inspection(name, (Finding("annotation", name, str(error)),))
    try:
        path = image_of(folder, annotation)
        data = read_image_bytes(path)
        height, width = read_image_in_budget(data).shape[:2]
    except (DatasetError, OSError) as error:
        return Inspection(name, (Finding("photo", name, str(error)),))
    except ImageError as error:
        return Inspection(name, (Finding("photo", name, f"{path}: {error}"),))
    frame = ExifFrame.of(data)
    findings = list(_size_findings(annotation, frame))
    boxes, usable, box_findings = _correct_boxes(annotation, frame)
    findings += box_findings
    if not usable.any():
        findings.append(Finding("no-box", name, f"{path.name} has no usable box."))
    return Inspection(
        name, tuple(findings), InspectedSample(annotation, path, hashlib.sha256(data).digest(), (width, height), boxes, usable)
    )


def _size_findings(annotation: Annotation, frame: ExifFrame) -> Iterator[Finding]:
    name, annotated, upright = annotation.name, annotation.size, frame.upright
    if annotated is None:
        yield Finding("no-size", name, f"the XML has no size; the image has {_text(upright)} pixels.")
    elif annotated == frame.stored != upright:
        yield Finding("turned", name, f"the XML has size {_text(annotated)}; the upright image has {_text(upright)} pixels.")
    elif annotated != upright:
        scaled = ". A repair scales the boxes to the size of the image" if _is_scaled(annotation, upright) else ""
        yield Finding("size", name, f"the XML has size {_text(annotated)}; the image has {_text(upright)} pixels{scaled}.")
    if frame.is_rotated and (annotated is None or annotated == frame.stored == upright):
        yield Finding("orientation", name, f"EXIF orientation {frame.orientation}: check that the boxes fit the upright image.")


def _text(size: Size) -> str:
    return f"{size[0]} x {size[1]}"


def _is_scaled(annotation: Annotation, upright: Size) -> bool:
    """Return whether the image was resized after annotation: its aspect ratio is the same, and the boxes fit the size in the XML."""
    if annotation.size is None:
        return False
    (width, height), (new_width, new_height) = annotation.size, upright
    same_shape = abs(width * new_height - height * new_width) <= 0.01 * width * new_height
    return same_shape and bool((annotation.boxes <= np.array([width, height, width, height]) + 1).all())


def _correct_boxes(annotation: Annotation, frame: ExifFrame) -> tuple[Boxes, _Mask, list[Finding]]:
    """Return the corrected boxes (N, 4), a mask (N,) of the usable ones, and the findings."""
    boxes, is_reversed = _ordered(annotation.boxes)
    empty = too_thin(boxes)
    boxes = _to_upright(boxes, annotation, frame)
    empty |= too_thin(boxes)  # scaling may make a box too thin
    width, height = frame.upright
    clipped = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
    excess = np.abs(clipped - boxes)  # (N, 4) image pixels beyond each border
    elsewhere = too_thin(clipped) & ~empty
    extends = (excess.max(axis=1) > BOX_TOLERANCE) & ~empty & ~elsewhere
    from_zero = (
        extends & ~annotation.rotated & (excess[:, :2].max(axis=1) <= 1 + BOX_TOLERANCE) & (excess[:, 2:].max(axis=1) <= BOX_TOLERANCE)
    )
    repeated = _repeated(clipped, annotation.labels) & ~empty & ~elsewhere
    masks = {
        "reversed": is_reversed,
        "empty": empty,
        "elsewhere": elsewhere,
        "outside": extends & ~from_zero,
        "from-zero": from_zero,
        "rotated": annotation.rotated,
        "same-box": repeated,
    }
    findings = [_box_finding(kind, annotation, mask) for kind, mask in masks.items() if mask.any()]
    return clipped, ~(empty | elsewhere | repeated), findings


def _box_finding(kind: str, annotation: Annotation, mask: _Mask) -> Finding:
    count, first = int(mask.sum()), int(np.argmax(mask))
    xmin, ymin, xmax, ymax = annotation.boxes[first] + np.array([1, 1, 0, 0])
    others = f" and {count - 1} more" if count > 1 else ""
    corners = f"xmin {xmin:g}, ymin {ymin:g}, xmax {xmax:g}, ymax {ymax:g}"
    values = annotation.boxes + np.array([1, 1, 0, 0])
    are_fractions = bool(((values >= 0) & (values <= 1)).all() and (values % 1).any())
    hint = " If these are fractions of the image: VOC needs pixels." if are_fractions and kind in ("empty", "elsewhere") else ""
    return Finding(kind, annotation.name, f"{annotation.labels[first][:40]} at {corners}{others}.{hint}", count)


def _ordered(boxes: Boxes) -> tuple[Boxes, _Mask]:
    """Swap xmin and xmax, or ymin and ymax, where they are reversed. In the file they are inclusive: xmin is low + 1, and xmax is high."""
    low, high = boxes[:, :2], boxes[:, 2:]
    swapped = high < low  # (N, 2)
    ends = np.where(swapped, high - 1, low), np.where(swapped, low + 1, high)
    return np.concatenate(ends, axis=1).astype(np.float32), swapped[:, 0] | swapped[:, 1]


def _to_upright(boxes: Boxes, annotation: Annotation, frame: ExifFrame) -> Boxes:
    annotated, upright = annotation.size, frame.upright
    if annotated == frame.stored != upright:
        return frame.to_upright(boxes)
    if annotated is not None and annotated != upright and _is_scaled(annotation, upright):
        return boxes * np.tile(np.divide(upright, annotated), 2).astype(np.float32)
    return boxes


def _repeated(boxes: Boxes, labels: tuple[str, ...]) -> _Mask:
    """Return a mask (N,) of the boxes that are equal to an earlier box with the same label."""
    earlier: set[tuple[str, ...]] = set()
    repeated = np.zeros(len(boxes), np.bool_)
    for index, (label, box) in enumerate(zip(labels, np.round(boxes / BOX_TOLERANCE), strict=True)):
        key = (label_key(label), *map(str, box))
        repeated[index] = key in earlier
        earlier.add(key)
    return repeated
