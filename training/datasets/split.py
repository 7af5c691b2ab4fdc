"""A data set parted into train and val, each class in the same proportion, no photo in both."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.errors import SettingError
from training.data.voc_layout import LISTS
from training.data.voc_reader import Sample
from training.data.voc_writer import list_text
from training.errors import DatasetError
from weights.atomic_files import atomic_write

SETS = ("train", "val")


@dataclass(frozen=True)
class Split:
    """Names in the order of the samples."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    boxes: Counter[str]  # by label, of all
    val_boxes: Counter[str]


def split(samples: Sequence[Sample], *, val: float = 0.2, seed: int = 0) -> Split:
    """About `val` of the photos, and of each label's boxes, go to val; the same samples, share and seed give the same split.

    A random split is improved by moving photos, always the one that helps most, until none helps. What is made small is the
    sum of squares over photos, and over the boxes of each label, of (part in val / all - `val`); so rare labels count as much as common
    ones. Copies of a photo (same bytes) stay together. Raises SettingError for a share outside 0..1, DatasetError where a side
    would be empty.
    """
    if not 0 < val < 1:
        raise SettingError(f"the share of val must be above 0 and below 1, got {val}.")
    groups = _groups(samples)
    counts = _counts(samples, groups)
    in_val = _improved(counts / counts.sum(axis=0), _random(len(counts), val, seed), val)
    if in_val.all() or not in_val.any():
        raise DatasetError(f"{len(samples)} photos, {len(counts)} of them different, are too few to give val a share of {val}.")
    chosen = [(sample, bool(in_val[group])) for sample, group in zip(samples, groups, strict=True)]
    return Split(
        tuple(sample.name for sample, is_val in chosen if not is_val),
        tuple(sample.name for sample, is_val in chosen if is_val),
        Counter(label for sample in samples for label in sample.labels),
        Counter(label for sample, is_val in chosen if is_val for label in sample.labels),
    )


def write_split(folder: Path, parts: Split, *, force: bool = False) -> tuple[Path, ...]:
    """ImageSets/Main/train.txt and val.txt, both or neither. Raises DatasetError where one is there already, unless `force`; OSError."""
    paths = tuple(folder / LISTS / f"{name}.txt" for name in SETS)
    taken = [str(path) for path in paths if path.exists() or path.is_symlink()]
    if taken and not force:
        raise DatasetError(f"{', '.join(taken)}: there already, and not replaced unless forced (--force).")
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        files = [stack.enter_context(atomic_write(path)) for path in paths]
        for file, names in zip(files, (parts.train, parts.val), strict=True):
            file.write(list_text(names))
    return paths


def _groups(samples: Sequence[Sample]) -> list[int]:
    """The number of each sample's photo; copies have the same."""
    numbers: dict[bytes, int] = {}
    return [numbers.setdefault(hashlib.sha256(sample.photo.read_bytes()).digest(), len(numbers)) for sample in samples]


def _counts(samples: Sequence[Sample], groups: Sequence[int]) -> NDArray[np.float64]:
    """(groups, 1 + labels): how many photos a group has, and how many boxes of each label."""
    columns = {label: index for index, label in enumerate(sorted({label for sample in samples for label in sample.labels}), start=1)}
    counts = np.zeros((max(groups, default=-1) + 1, 1 + len(columns)))
    for sample, group in zip(samples, groups, strict=True):
        counts[group, 0] += 1
        for label in sample.labels:
            counts[group, columns[label]] += 1
    return counts


def _random(count: int, val: float, seed: int) -> NDArray[np.bool_]:
    in_val = np.zeros(count, np.bool_)
    in_val[np.random.default_rng(seed).permutation(count)[: round(count * val)]] = True
    return in_val


def _improved(shares: NDArray[np.float64], in_val: NDArray[np.bool_], val: float) -> NDArray[np.bool_]:
    """Shares (groups, columns): the part of each column's total that a group has. A move changes each column's error by it."""
    in_val = in_val.copy()
    own = (shares**2).sum(axis=1)  # (groups,)
    error = shares[in_val].sum(axis=0) - val  # (columns,)
    while len(shares):
        sign = np.where(in_val, -1.0, 1.0)
        change = 2 * sign * (shares * error).sum(axis=1) + own  # (groups,) of the sum of squares, if the group moved
        best = int(np.argmin(change))
        if change[best] > -1e-12:
            break
        error = error + sign[best] * shares[best]
        in_val[best] = not in_val[best]
    return in_val
