"""YOLO's text files -> VOC's layout (docs.ultralytics.com/datasets/detect).

A line is `class x y width height`, centre and sides as shares of the upright photo; a line with more numbers is a polygon, of which the
box is kept. Photos lie in folders called images, their .txt in the same place under labels (images/train/a.jpg, labels/train/a.txt; or
train/images, train/labels), or beside them. A photo without .txt has nothing on it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from detector.errors import MissingExtra
from training.errors import DatasetError
from training.import_annotations import Imported, name_of, upright_size
from training.voc_folder import PHOTO_ENDINGS, inside

try:
    import yaml
except ModuleNotFoundError as error:
    raise MissingExtra("reading YOLO's data.yaml needs pyyaml, which is not installed: pip install 'boxwright[train]'.") from error

LABEL_FILES = ("data.yaml", "dataset.yaml", "classes.txt", "labels/classes.txt", "obj.names")
SETS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
MAX_TEXT_BYTES = 2 * 2**20
_SLACK = 0.01  # shares beyond 0..1 that rounding may leave


def read_yolo(folder: Path, *, image_set: str) -> Iterator[Imported]:
    """The pictures of a YOLO data set, in the order of their paths.

    A photo is of the set that a part of its path names (train, val or valid, test), or else of `image_set`. Raises DatasetError for labels
    and photos that cannot be read; OSError.
    """
    labels = _labels(folder)
    for photo in sorted(path for path in folder.rglob("[!.]*") if path.suffix in PHOTO_ENDINGS and path.is_file()):
        relative = PurePosixPath(photo.relative_to(folder).as_posix())
        inside(folder, relative)  # raises where it is a link that leads out
        size = upright_size(photo)
        boxes, class_ids = _boxes(folder, relative)
        names = tuple(_label(labels, class_id, relative) for class_id in class_ids)
        own = next((SETS[part] for part in relative.parts[:-1] if part in SETS), image_set)
        pixels = (boxes * np.tile(np.array(size, np.float64), 2)).astype(np.float32)  # (N, 4)
        none = np.zeros(len(names), np.bool_)
        yield Imported(name_of(folder, _without_images(relative)), photo, size, pixels, names, none, none, own)


def _without_images(relative: PurePosixPath) -> PurePosixPath:
    """images/train/a.jpg -> train/a.jpg; train/images/a.jpg -> train/a.jpg."""
    return PurePosixPath(*(part for part in relative.parts[:-1] if part != "images"), relative.name)


def _labels(folder: Path) -> dict[int, str]:
    """Class number -> label."""
    path = next((path for name in LABEL_FILES if (path := inside(folder, PurePosixPath(name)))), None)
    if path is None:
        raise DatasetError(f"{folder}: the names of the classes are missing; wanted is one of {', '.join(LABEL_FILES)}.")
    text = _text(path)
    if path.suffix != ".yaml":
        return {number: line.strip() for number, line in enumerate(text.split("\n")) if line.strip()}
    try:
        found = yaml.load(text, Loader=yaml.BaseLoader)  # makes nothing but texts, lists and mappings: a class called "no" stays one
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not readable as YAML: {error}.") from error
    names = found.get("names") if isinstance(found, dict) else None
    pairs = list(names.items() if isinstance(names, dict) else enumerate(names)) if isinstance(names, dict | list) else []
    if not pairs or not all(str(number).isdecimal() and isinstance(name, str) for number, name in pairs):
        raise DatasetError(f"{path}: 'names' must list the labels, or give each number a label.")
    return {int(number): name for number, name in pairs}


def _label(labels: dict[int, str], class_id: int, relative: PurePosixPath) -> str:
    if class_id not in labels:
        raise DatasetError(f"{relative}: its labels have class {class_id}; the data set names {len(labels)}: {', '.join(labels.values())}.")
    return labels[class_id]


def _boxes(folder: Path, relative: PurePosixPath) -> tuple[NDArray[np.float64], list[int]]:
    """Boxes (N, 4) xyxy as shares of the photo, and class numbers (N,)."""
    parts = list(relative.parent.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    path = inside(folder, PurePosixPath(*parts, f"{relative.stem}.txt"))
    rows = [_row(path, number, line.split()) for number, line in enumerate(_text(path).split("\n"), 1) if line.strip()] if path else []
    return np.array([box for _, box in rows], np.float64).reshape(-1, 4), [class_id for class_id, _ in rows]


def _row(path: Path, number: int, words: Sequence[str]) -> tuple[int, tuple[float, ...]]:
    place = f"{path}: line {number}"
    try:
        class_id, *values = (float(word) for word in words)
    except ValueError as error:
        raise DatasetError(f"{place} is {' '.join(words)[:60]!r}; wanted are numbers: class x y width height.") from error
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise DatasetError(f"{place} has {len(words)} numbers; wanted are 5 (class x y width height), or a class and a polygon.")
    if not all(-_SLACK <= value <= 1 + _SLACK for value in values) or not class_id.is_integer():
        raise DatasetError(f"{place} is {' '.join(words)[:60]!r}; wanted are a whole number and then shares of the photo, 0 to 1.")
    if len(values) == 4:
        x, y, width, height = values
        return int(class_id), (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    across, down = values[0::2], values[1::2]
    return int(class_id), (min(across), min(down), max(across), max(down))


def _text(path: Path) -> str:
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise DatasetError(f"{path}: {path.stat().st_size} bytes are more than labels have.")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text: byte {error.start} does not fit.") from error
