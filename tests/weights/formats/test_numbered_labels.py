"""Labels that follow their numbers."""

import pytest

from weights.formats.numbered_labels import numbered_labels


@pytest.mark.parametrize(
    "lines",
    [["0: dog", "1: cat"], ["0 dog", "1 cat"], ["0. dog", "1. cat"], ["0) dog", "1) cat"], ["0,dog", "1,cat"], ["0 = dog", "1 = cat"]],
)
def test_numbers_that_count_the_lines_are_removed(lines):
    assert numbered_labels(lines) == {0: "dog", 1: "cat"}


def test_numbers_from_1_are_kept_as_the_numbers_of_the_classes():
    assert numbered_labels(["1: dog", "2: cat"]) == {1: "dog", 2: "cat"}


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["dog", "cat"],
        ["0: dog", "cat"],
        ["0", "1"],
        ["1 euro", "2 euros"],
        ["0 euro"],
        ["1. FC"],
        ["1: euro", "2: euro"],
        ["5: euro", "10: euro"],
        ["0.5", "1.5"],
        ["1: cat", "0: dog"],
        ["1 cent", "2 cent"],
    ],
    ids=str,
)
def test_numbers_that_may_be_part_of_the_labels_stay(lines):
    assert numbered_labels(lines) is None
