"""Split a data set into train and val, with the same proportion of every class. Identical images stay in one set."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.errors import ImageError, SettingError
from detector.imaging.image import read_image_bytes
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
    shares = _shares(samples, groups)
    initial = np.zeros(shares.groups, np.bool_)
    initial[np.random.default_rng(seed).permutation(shares.groups)[: round(shares.groups * val)]] = True
    in_val = _improve(shares, initial, val)
    if in_val.all() or not in_val.any():
        images = f"{count_of(len(samples), 'image')}, {shares.groups:,} without duplicates"
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
    return [numbers.setdefault(_digest(sample.image_path), len(numbers)) for sample in samples]


def _digest(path: Path) -> bytes:
    try:
        return hashlib.sha256(read_image_bytes(path)).digest()
    except ImageError as error:
        raise type(error)(f"{path}: {error}") from error


@dataclass(frozen=True, eq=False)
class _Shares:
    """Share of each group in the images and in the boxes of each label. Only the shares above zero are stored.

    The full matrix of groups and labels would have gigabytes if thousands of images each had labels of their own.
    """

    groups: int
    columns: int  # 0 is the number of images, the others are the labels
    group: NDArray[np.intp]  # (E,) ascending
    column: NDArray[np.intp]  # (E,)
    share: NDArray[np.float64]  # (E,) of the column's total


def _shares(samples: Sequence[Sample], groups: Sequence[int]) -> _Shares:
    columns = {label: index for index, label in enumerate(sorted({label for sample in samples for label in sample.labels}), start=1)}
    counts: Counter[tuple[int, int]] = Counter()
    for sample, number in zip(samples, groups, strict=True):
        counts[number, 0] += 1
        counts.update((number, columns[label]) for label in sample.labels)
    entries = np.array(sorted(counts), np.intp).reshape(-1, 2)
    group, column = entries[:, 0], entries[:, 1]
    numbers = np.array([counts[entry] for entry in sorted(counts)], np.float64)
    share = numbers / np.bincount(column, numbers)[column]
    return _Shares(max(groups, default=-1) + 1, 1 + len(columns), group, column, share)


def _improve(shares: _Shares, in_val: NDArray[np.bool_], val: float) -> NDArray[np.bool_]:
    """Move groups between the sets until no move lowers the error."""
    in_val = in_val.copy()
    squares = np.bincount(shares.group, shares.share**2, shares.groups)  # (groups,)
    starts = np.searchsorted(shares.group, np.arange(shares.groups + 1))
    used = in_val[shares.group]
    error = np.bincount(shares.column[used], shares.share[used], shares.columns) - val  # (columns,)
    while shares.groups:
        sign = np.where(in_val, -1.0, 1.0)
        products = np.bincount(shares.group, shares.share * error[shares.column], shares.groups)
        change = 2 * sign * products + squares  # (groups,) change of the error if the group moves
        best = int(np.argmin(change))
        if change[best] > -1e-12:
            break
        entries = slice(starts[best], starts[best + 1])
        error[shares.column[entries]] += sign[best] * shares.share[entries]
        in_val[best] = not in_val[best]
    return in_val
