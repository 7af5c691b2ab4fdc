"""Parse YOLO label files: one object per line, `class x y width height`, or `class` and a polygon, as fractions of the image."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.messages import count_of
from detector.text_encoding import decode_text
from training.data.voc_layout import read_text
from training.errors import DatasetError

MAX_TEXT_BYTES = 2 * 2**20
MAX_OUTSIDE = 0.1
"""Fraction of the image by which a value may be outside of 0..1. Such boxes are clipped; larger values are errors."""
CLIPPING_TOLERANCE = 1e-3
"""Fraction of the image. Smaller changes are rounding errors and are not reported as clipping."""
_FIRST_LINES = 5
"""Number of lines that decide whether a text file is a label file."""
MAX_REPORTED = 10
"""Maximum number of errors, or of classes, that a message quotes."""
MAX_QUOTED = 40  # Characters of a label in a message.


@dataclass(frozen=True)
class Classes:
    """The meaning of the numbers in label files."""

    labels: Mapping[int, str]
    source: str = "the data set"  # name of the file with the labels, for messages
    has_keypoints: bool = False  # the numbers after a box are keypoints instead of a polygon


@dataclass
class LabelProblems:
    """Errors in all label files, and numbers of changed objects, to be reported together."""

    errors: list[str] = field(default_factory=list)  # the first ones; a file can have a million invalid lines
    error_count: int = 0
    clipped: int = 0  # objects that extended beyond the image
    polygons: int = 0  # polygons that became boxes
    poses: int = 0  # boxes without their keypoints

    def add_error(self, message: str) -> None:
        """Count an error, and keep its message if it is one of the first."""
        self.error_count += 1
        if len(self.errors) < MAX_REPORTED:
            self.errors.append(message)

    def raise_errors(self) -> None:
        """Raise DatasetError with the first errors and their number, if there are any."""
        if self.errors:
            more = self.error_count - len(self.errors)
            quoted = "\n".join(self.errors) + (f"\nand {more} more." if more else "")
            raise DatasetError(quoted if self.error_count == 1 else f"{self.error_count} lines of label files cannot be used:\n{quoted}")


def read_label_file(path: Path, classes: Classes, problems: LabelProblems) -> tuple[NDArray[np.float64], list[str]]:
    """Return boxes (N, 4) xyxy as fractions of the image, clipped to it, and their labels. Invalid lines are added to `problems`."""
    boxes, names = [], []
    for number, line in enumerate(read_text(path, MAX_TEXT_BYTES).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            words = line.split()
            is_pose = classes.has_keypoints and len(words) > 5
            label, box = _parse_line(words[:5] if is_pose else words, classes)
        except ValueError as error:
            problems.add_error(f"{path}: line {number} {error}")
            continue
        clipped = np.clip(box, 0.0, 1.0)
        problems.clipped += bool(np.abs(clipped - box).max() > CLIPPING_TOLERANCE)
        problems.poses += is_pose
        problems.polygons += len(words) > 5 and not is_pose
        boxes.append(clipped)
        names.append(label)
    return np.array(boxes, np.float64).reshape(-1, 4), names


def _parse_line(words: list[str], classes: Classes) -> tuple[str, NDArray[np.float64]]:
    """Parse one line. Raises ValueError with the end of a message such as "line 7 has 6 numbers"."""
    quoted = repr(" ".join(words[:60])[:60])
    try:
        class_id, *values = (float(word) for word in words)
    except ValueError:
        raise ValueError(f"is {quoted}; expected numbers: class x y width height.") from None
    if len(values) == 5 and 0 <= values[4] <= 1:
        raise ValueError(
            "has 6 numbers. The sixth looks like a confidence: these are predictions of a detector, not labels. "
            "Remove the sixth column to import them."
        )
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise ValueError(f"has {count_of(len(words), 'number')}; expected 5 (class x y width height), or a class and a polygon.")
    if not all(-MAX_OUTSIDE <= value <= 1 + MAX_OUTSIDE for value in values) or not class_id.is_integer():
        raise ValueError(f"is {quoted}; expected a whole number, then fractions of the image from 0 to 1.")
    labels = classes.labels
    if int(class_id) not in labels:
        known = ", ".join(f"{number}: {label[:MAX_QUOTED]}" for number, label in islice(labels.items(), MAX_REPORTED))
        known += f" and {len(labels) - MAX_REPORTED} more" if len(labels) > MAX_REPORTED else ""
        raise ValueError(f"has class {int(class_id)}, but {classes.source} names only {known}.")
    if len(values) == 4:
        x, y, width, height = values
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    else:
        xs, ys = values[0::2], values[1::2]
        box = (min(xs), min(ys), max(xs), max(ys))
    return labels[int(class_id)], np.array(box, np.float64)


def have_keypoints(paths: Iterable[Path]) -> bool:
    """Return True if every line longer than a box has keypoints with a visibility of 0, 1 or 2. Raises DatasetError."""
    rows = (line.split() for path in paths for line in read_text(path, MAX_TEXT_BYTES).split("\n"))
    visibilities = (_has_visibilities(words) for words in rows if len(words) > 6)  # not a list: it would hold the words of all files
    return next(visibilities, False) and all(visibilities)


def _has_visibilities(words: list[str]) -> bool:
    """True if the words are a class, a box inside the image, and triples of a position inside the box and a visibility."""
    if (len(words) - 5) % 3 or not all(_is_number(word) for word in words):
        return False
    x, y, width, height, *numbers = map(float, words[1:])
    points = np.array(numbers, np.float64).reshape(-1, 3)
    visible = points[points[:, 2] > 0, :2]  # (N, 2)
    half = np.array([width, height]) / 2 + MAX_OUTSIDE
    return bool(np.isin(points[:, 2], (0, 1, 2)).all() and (np.abs(visible - [x, y]) <= half).all() and 0 < width <= 1 and 0 < height <= 1)


def looks_like_labels(path: Path) -> bool:
    """Return whether one of the first lines of a text file looks like a line of a label file, perhaps of another format. Raises OSError.

    Other formats have names instead of class numbers, or commas, or header lines (DOTA).
    """
    if path.stat().st_size > MAX_TEXT_BYTES:
        return False
    lines = (line for line in decode_text(path.read_bytes(), errors="replace").splitlines() if line.strip())
    return any(_has_box(line.replace(",", " ").split()) for line in islice(lines, _FIRST_LINES))


def _has_box(words: list[str]) -> bool:
    return len(words) >= 5 and sum(_is_number(word) for word in words) >= 4


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
