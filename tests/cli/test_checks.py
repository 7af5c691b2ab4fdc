"""Checks of arguments, and the suggestions they make."""

import pytest

from cli.checks import match_labels
from detector.errors import UnknownLabel
from detector.messages import did_you_mean

LABELS = ("cat", "dog", "Traffic Light", "knife, fork")


@pytest.mark.parametrize(
    ("requested", "expected"),
    [
        (["dog,cat"], ["dog", "cat"]),
        (["DOG", "traffic light"], ["dog", "Traffic Light"]),
        ([" cat , dog,"], ["cat", "dog"]),
        (["knife, fork", "dog"], ["knife, fork", "dog"]),
        ([], []),
    ],
)
def test_labels_match_in_any_case_and_in_comma_separated_lists(requested, expected):
    assert match_labels(requested, LABELS, "the model") == expected


def test_an_unknown_label_gets_the_closest_one_as_suggestion():
    with pytest.raises(UnknownLabel, match=r"the model has no class 'trafic light'\. Did you mean 'Traffic Light'\?"):
        match_labels(["cat,trafic light"], LABELS, "the model")


def test_a_model_with_very_many_labels_gets_no_suggestion():
    """Comparing a name with 100,000 labels would block the event loop of a service for a second."""
    assert did_you_mean("label 12", (f"label {number}" for number in range(100_000))) == ""


def test_a_name_without_a_similar_one_gets_no_suggestion():
    assert did_you_mean("zebra", LABELS) == ""
