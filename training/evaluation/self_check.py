"""Self-check: train and validate on the same few images (`Config.overfit`). A network that fits its task learns them completely."""

from collections.abc import Mapping
from typing import Any

from detector.messages import count_of

PASSED_AP50 = 0.9  # A passed self-check on eight images reaches 1. A few objects that are very small may be missing.


def is_self_check(conclusion: Mapping[str, Any]) -> bool:
    """Return whether the run of a conclusion.json was a self-check."""
    return bool(conclusion.get("self_check"))


def has_passed(conclusion: Mapping[str, Any]) -> bool:
    """Return whether a self-check has learned its images."""
    return bool(conclusion["ap50"] >= PASSED_AP50)


def describe_self_check(conclusion: Mapping[str, Any]) -> str:
    """Return the result of a self-check, and what it means."""
    images = count_of(conclusion["self_check"], "image")
    measured = f"AP50 is {conclusion['ap50']:.3f} on the {images} of training"
    if has_passed(conclusion):
        return f"Self-check passed: {measured}. Train without --overfit before you use the model on new images."
    return f"Self-check failed: {measured}. Either boxes or options are wrong, or the run was too short."
