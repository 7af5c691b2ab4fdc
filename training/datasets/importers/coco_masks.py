"""Boxes of COCO's run-length encoded masks.

The runs alternate between background and object, in column order, and begin with background. Source: cocoapi, common/maskApi.c.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeGuard

from detector.boxes.detections import Corners

MAX_RUNS = 1_000_000
MAX_BITS = 40
"""Bits of a compressed run. Numbers without a limit would take quadratic time."""


def corners_of_mask(segmentation: Any) -> Corners | None:
    """Return xmin, ymin, xmax, ymax of a mask {"size": [height, width], "counts": ...}; None for anything else and for an empty mask."""
    if not isinstance(segmentation, dict):
        return None
    counts, size = segmentation.get("counts"), segmentation.get("size")
    if isinstance(counts, str) and counts.isascii():
        counts = list(_decode_counts(counts.encode()))
    if not (_are_counts(counts, MAX_RUNS) and _are_counts(size, 2) and len(size) == 2 and size[0] > 0):
        return None
    return _corners_of_runs(counts, height=size[0])


def _are_counts(values: Any, limit: int) -> TypeGuard[list[int]]:
    return (
        isinstance(values, list) and len(values) <= limit and all(isinstance(value, int) and 0 <= value < 2**MAX_BITS for value in values)
    )


def _corners_of_runs(counts: Sequence[int], *, height: int) -> Corners | None:
    """A run that continues in the next column reaches the bottom of one column and the top of the next."""
    xs, ys, end = [], [], 0
    for index, count in enumerate(counts):
        start, end = end, end + count
        if index % 2 == 0 or count == 0:
            continue
        first, last = start // height, (end - 1) // height
        xs += [first, last + 1]
        ys += [start % height, (end - 1) % height + 1] if first == last else [0, height]
    return (min(xs), min(ys), max(xs), max(ys)) if xs else None


def _decode_counts(data: bytes) -> Iterator[int]:
    """Yield the runs of a compressed mask.

    A number is a sequence of characters with five bits each, lowest first; the sixth bit continues it, and the highest bit is its sign.
    From the fourth number on, it is the difference from the number two before.
    """
    counts: list[int] = []
    value, shift = 0, 0
    for byte in data:
        bits = byte - 48
        value |= (bits & 31) << shift
        shift += 5
        if shift > MAX_BITS:
            yield -1  # no count: the mask is refused
            return
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        yield counts[-1]
        value, shift = 0, 0
