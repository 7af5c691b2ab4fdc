"""Find labels that are probably misspellings of each other: racoon and raccoon, car_s and cars."""

from collections.abc import Iterable, Iterator
from itertools import combinations

MIN_LENGTH = 5  # Shorter labels differ by one letter by chance: cat, car, cap.
MAX_LENGTH, MAX_LABELS = 100, 2000
"""Longer labels are not compared. If there are more labels, none are compared, because the time is quadratic in their number."""


def similar_labels(labels: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of labels that differ by one inserted, deleted, replaced or transposed letter.

    Differences in digits, as in class1 and class2, do not count. Case is ignored, because findings of the kind "spelling" report it.
    """
    compared = [(label, label.casefold()) for label in sorted(labels) if MIN_LENGTH <= len(label) <= MAX_LENGTH]
    if len(compared) > MAX_LABELS:
        return
    for (first, first_folded), (second, second_folded) in combinations(compared, 2):
        if _one_edit(first_folded, second_folded):
            yield first, second


def _one_edit(first: str, second: str) -> bool:
    if first == second or abs(len(first) - len(second)) > 1:
        return False
    start = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))
    rest_1, rest_2 = first[start:], second[start:]
    if len(first) == len(second):
        replaced = rest_1[1:] == rest_2[1:]
        transposed = rest_1[:2] == rest_2[1::-1] and rest_1[2:] == rest_2[2:]
        changed = rest_1[0] + rest_2[0]
        return (replaced or transposed) and not any(letter.isdigit() for letter in changed)
    longer, shorter = (rest_1, rest_2) if len(first) > len(second) else (rest_2, rest_1)
    return longer[1:] == shorter and not longer[0].isdigit()
