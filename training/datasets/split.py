"""Split a data set into train and val, with the same proportion of every class. Identical images stay in one set."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.errors import SettingError
from detector.messages import count_of
from training.data.voc_layout import LISTS
from training.data.voc_lists import image_lists
from training.data.voc_reader import Sample
from training.data.voc_writer import list_text
from training.errors import DatasetError
from weights.atomic_files import atomic_write_all

SETS = ("train", "val")


@dataclass(frozen=True)
class Split:
    """Names of both sets, in the order of the samples."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    boxes: Counter[str]  # by label, in both sets
    val_boxes: Counter[str]


def split_dataset(samples: Sequence[Sample], *, val: float = 0.2, seed: int = 0) -> Split:
    """Assign about the fraction `val` of the images, and of each label's boxes, to val. The result depends only on the arguments.

    Start with a random split. Move the image that lowers the error most to the other set, and repeat until no move lowers it. The error is
    the sum of the squares of (fraction in val - `val`), over images and over the boxes of each label. So rare labels count as much as
    frequent ones. Identical image files stay together.

    Raises SettingError if `val` is not between 0 and 1, and DatasetError if a set would be empty.
    """
    if not 0 < val < 1:
        raise SettingError(f"the fraction of val must be above 0 and below 1, got {val}.")
    groups = _groups(samples)
    counts = _counts(samples, groups)
    initial = np.zeros(len(counts), np.bool_)
    initial[np.random.default_rng(seed).permutation(len(counts))[: round(len(counts) * val)]] = True
    in_val = _improve(counts / counts.sum(axis=0), initial, val)
    if in_val.all() or not in_val.any():
        images = f"{count_of(len(samples), 'image')}, {len(counts):,} without duplicates"
        raise DatasetError(f"the data set has too few images for a val fraction of {val}: {images}.")
    assigned = [(sample, bool(in_val[group])) for sample, group in zip(samples, groups, strict=True)]
    return Split(
        tuple(sample.name for sample, is_val in assigned if not is_val),
        tuple(sample.name for sample, is_val in assigned if is_val),
        Counter(label for sample in samples for label in sample.labels),
        Counter(label for sample, is_val in assigned if is_val for label in sample.labels),
    )


def write_split(folder: Path, parts: Split, *, force: bool = False) -> tuple[Path, ...]:
    """Write ImageSets/Main/train.txt and val.txt: both, or neither.

    Args:
        folder: The data set.
        parts: The split.
        force: Replace existing lists.

    Returns:
        The paths of the lists.

    Raises:
        DatasetError: A list exists and `force` is False.
        OSError: A list cannot be written. Existing lists keep their content.
    """
    paths = tuple(folder / LISTS / f"{name}.txt" for name in SETS)
    lists = image_lists(folder)
    existing = [str(path) for path in paths if path.exists() or path.is_symlink()] or [str(lists[name]) for name in SETS if name in lists]
    if existing and not force:
        raise DatasetError(f"the images are divided already: there is {' and '.join(existing)}. Use --force to divide them again.")
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    before = [path.read_bytes() if path.is_file() else None for path in paths]
    try:
        with atomic_write_all(*paths) as files:
            for file, names in zip(files, (parts.train, parts.val), strict=True):
                file.write(list_text(names))
    except OSError:  # the first list may have been replaced before the second one failed
        for path, content in zip(paths, before, strict=True):
            if content is not None:
                path.write_bytes(content)
            elif path.is_file():
                path.unlink()
        raise
    return paths


def _groups(samples: Sequence[Sample]) -> list[int]:
    """Return a number for each sample's image; identical files have the same number."""
    numbers: dict[bytes, int] = {}
    return [numbers.setdefault(hashlib.sha256(sample.image_path.read_bytes()).digest(), len(numbers)) for sample in samples]


def _counts(samples: Sequence[Sample], groups: Sequence[int]) -> NDArray[np.float64]:
    """Return (groups, 1 + labels): number of images, and number of boxes of each label."""
    columns = {label: index for index, label in enumerate(sorted({label for sample in samples for label in sample.labels}), start=1)}
    counts = np.zeros((max(groups, default=-1) + 1, 1 + len(columns)))
    for sample, group in zip(samples, groups, strict=True):
        counts[group, 0] += 1
        for label in sample.labels:
            counts[group, columns[label]] += 1
    return counts


def _improve(fractions: NDArray[np.float64], in_val: NDArray[np.bool_], val: float) -> NDArray[np.bool_]:
    """Move groups between the sets until no move lowers the error. fractions: (groups, columns), of each column's total."""
    in_val = in_val.copy()
    squares = (fractions**2).sum(axis=1)  # (groups,)
    error = fractions[in_val].sum(axis=0) - val  # (columns,)
    while len(fractions):
        sign = np.where(in_val, -1.0, 1.0)
        change = 2 * sign * (fractions * error).sum(axis=1) + squares  # (groups,) change of the error if the group moves
        best = int(np.argmin(change))
        if change[best] > -1e-12:
            break
        error = error + sign[best] * fractions[best]
        in_val[best] = not in_val[best]
    return in_val
