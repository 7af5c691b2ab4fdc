"""One annotation and its photo, looked at closely: what is wrong, and which boxes would be right."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.detections import Boxes
from detector.errors import ImageError
from detector.imaging.image import read_image
from training.data.exif_orientation import PhotoFrame, Size
from training.data.voc_reader import Annotation, photo_of, read_annotation
from training.datasets.findings import Finding, Kind, label_key
from training.errors import DatasetError

TOLERANCE = 1e-3
"""Image pixels; boxes that differ by less are the same."""
MIN_SIDE = 1.0
"""Image pixels; nothing is that small. From 5 to 5 is a pixel to VOC, nothing to tools that count from 0, and a slip of the mouse."""

_Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Seen:
    """A sample whose annotation and photo can be read, with its boxes as they should be."""

    annotation: Annotation
    photo: Path
    digest: bytes  # sha256 of the photo's file
    size: Size  # of the photo, upright
    boxes: Boxes  # (N, 4) xyxy, upright image pixels, clipped; those not kept may be empty
    kept: _Mask  # (N,) neither empty nor there twice

    @property
    def is_sound(self) -> bool:
        """Whether the annotation says all this already."""
        same = np.array_equal(self.boxes, self.annotation.boxes)
        return same and bool(self.kept.all()) and self.annotation.size == self.size


@dataclass(frozen=True, eq=False)
class Look:
    """What was found at one name."""

    name: str
    findings: tuple[Finding, ...]
    seen: Seen | None = None  # None: something is missing or unreadable


def look(folder: Path, name: str) -> Look:
    """Read an annotation and decode its photo. What is wrong with either becomes a finding; nothing is raised."""
    try:
        annotation = read_annotation(folder, name)
    except DatasetError as error:
        return Look(name, (Finding("annotation", name, str(error)),))
    try:
        photo = photo_of(folder, annotation)
        data = photo.read_bytes()
        height, width = read_image(data).shape[:2]
    except (DatasetError, OSError) as error:
        return Look(name, (Finding("photo", name, str(error)),))
    except ImageError as error:
        return Look(name, (Finding("photo", name, f"{photo}: {error}"),))
    frame = PhotoFrame.of(data)
    findings = list(_size_findings(annotation, frame))
    boxes, kept, box_findings = _mend(annotation, frame)
    findings += box_findings
    if not kept.any():
        findings.append(Finding("no-box", name, f"{photo.name} has no box."))
    return Look(name, tuple(findings), Seen(annotation, photo, hashlib.sha256(data).digest(), (width, height), boxes, kept))


def _size_findings(annotation: Annotation, frame: PhotoFrame) -> Iterator[Finding]:
    name, said, upright = annotation.name, annotation.size, frame.upright
    if said is None:
        yield Finding("no-size", name, f"the XML gives no size; the photo has {_by(upright)} pixels.")
    elif said == frame.stored != upright:
        yield Finding("turned", name, f"the XML says {_by(said)}; upright, as EXIF has it, the photo has {_by(upright)} pixels.")
    elif said != upright:
        scaled = "; a repaired copy has its boxes scaled to it" if _is_scaled(annotation, upright) else ""
        yield Finding("size", name, f"the XML says {_by(said)}, the photo has {_by(upright)} pixels{scaled}.")
    if frame.is_turned and (said is None or said == frame.stored == upright):
        yield Finding(
            "orientation", name, f"EXIF orientation {frame.orientation}: look whether the boxes fit the photo as it is shown upright."
        )


def _by(size: Size) -> str:
    return f"{size[0]} x {size[1]}"


def _is_scaled(annotation: Annotation, upright: Size) -> bool:
    """Whether the photo was made larger or smaller after its boxes were drawn: same shape, and the boxes fit the size in the XML."""
    if annotation.size is None:
        return False
    (width, height), (now_width, now_height) = annotation.size, upright
    same_shape = abs(width * now_height - height * now_width) <= 0.01 * width * now_height
    return same_shape and bool((annotation.boxes <= np.array([width, height, width, height]) + 1).all())


def _mend(annotation: Annotation, frame: PhotoFrame) -> tuple[Boxes, _Mask, list[Finding]]:
    """Boxes (N, 4) as they should be, which of them (N,) to keep, and what was wrong."""
    boxes, is_reversed = _put_right(annotation.boxes)
    empty = _too_thin(boxes)
    boxes = _to_upright(boxes, annotation, frame)
    empty |= _too_thin(boxes)  # scaled down to nothing
    width, height = frame.upright
    clipped = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
    over = np.abs(clipped - boxes)  # (N, 4) image pixels beyond each border
    elsewhere = _too_thin(clipped) & ~empty
    reaches_out = (over.max(axis=1) > TOLERANCE) & ~empty & ~elsewhere
    from_zero = reaches_out & (over[:, :2].max(axis=1) <= 1 + TOLERANCE) & (over[:, 2:].max(axis=1) <= TOLERANCE)
    twice = _repeated(clipped, annotation.labels) & ~empty & ~elsewhere
    masks: dict[Kind, _Mask] = {
        "reversed": is_reversed,
        "empty": empty,
        "elsewhere": elsewhere,
        "outside": reaches_out & ~from_zero,
        "from-zero": from_zero,
        "same-box": twice,
    }
    findings = [_of_boxes(kind, annotation, mask) for kind, mask in masks.items() if mask.any()]
    return clipped, ~(empty | elsewhere | twice), findings


def _of_boxes(kind: Kind, annotation: Annotation, mask: _Mask) -> Finding:
    count, first = int(mask.sum()), int(np.argmax(mask))
    xmin, ymin, xmax, ymax = annotation.boxes[first] + np.array([1, 1, 0, 0])
    others = f" and {count - 1} more" if count > 1 else ""
    corners = f"xmin {xmin:g}, ymin {ymin:g}, xmax {xmax:g}, ymax {ymax:g}"
    return Finding(kind, annotation.name, f"{annotation.labels[first][:40]} at {corners}{others}.", count)


def _put_right(boxes: Boxes) -> tuple[Boxes, _Mask]:
    """Where xmin and xmax, or ymin and ymax, have changed places they are changed back, as the file counts: inclusive."""
    low, high = boxes[:, :2], boxes[:, 2:]
    swapped = high < low  # (N, 2)
    ends = np.where(swapped, high - 1, low), np.where(swapped, low + 1, high)
    return np.concatenate(ends, axis=1).astype(np.float32), swapped[:, 0] | swapped[:, 1]


def _to_upright(boxes: Boxes, annotation: Annotation, frame: PhotoFrame) -> Boxes:
    said, upright = annotation.size, frame.upright
    if said == frame.stored != upright:
        return frame.to_upright(boxes)
    if said is not None and said != upright and _is_scaled(annotation, upright):
        return boxes * np.tile(np.divide(upright, said), 2).astype(np.float32)
    return boxes


def _too_thin(boxes: Boxes) -> _Mask:
    thin: _Mask = (boxes[:, 2:] - boxes[:, :2]).min(axis=1) <= MIN_SIDE + TOLERANCE
    return thin


def _repeated(boxes: Boxes, labels: tuple[str, ...]) -> _Mask:
    """(N,) whether the same box with the same label came before."""
    before: set[tuple[str, ...]] = set()
    repeated = np.zeros(len(boxes), np.bool_)
    for index, (label, box) in enumerate(zip(labels, np.round(boxes / TOLERANCE), strict=True)):
        key = (label_key(label), *map(str, box))
        repeated[index] = key in before
        before.add(key)
    return repeated
