"""AP50 and found objects of the new classes of a run, and how long to train if a short run has hardly learned one."""

from collections.abc import Mapping
from math import ceil
from typing import Any, NamedTuple

from detector.detector import DEFAULT_SCORE
from detector.messages import count_of
from training.evaluation.voc_ap import ClassResult

LOW_AP50 = 0.5  # A new class below this AP50 counts as hardly learned.
ENOUGH_STEPS = 200  # Runs on 20 images of a class that resembles no known one needed about this many steps.


class LongerRun(NamedTuple):
    """Advice to repeat a short run with more epochs."""

    reason: str  # a sentence without its full stop
    epochs: int


def describe_new_classes(conclusion: Mapping[str, Any]) -> str:
    """Return the new classes with the AP50 in a run's conclusion.json: "cat 0.912, dog 0.875". Empty if there are none."""
    return ", ".join(f"{label} {ap50:.3f}" for label, ap50 in conclusion.get("new_ap50", {}).items())


def count_found(classes: Mapping[str, ClassResult], thresholds: Mapping[str, float]) -> dict[str, dict[str, int]]:
    """Return the numbers of validation boxes by label: all, those found at the default confidence, and those found at the suggested one.

    Args:
        classes: Results of the new classes by label.
        thresholds: Suggested confidence by label. Without a suggestion, the default confidence is used.
    """
    return {
        label: {
            "boxes": result.boxes,
            f"{DEFAULT_SCORE:g}": result.found_above(DEFAULT_SCORE),
            "suggested": result.found_above(thresholds.get(label, DEFAULT_SCORE)),
        }
        for label, result in classes.items()
        if result.boxes
    }


def describe_found(conclusion: Mapping[str, Any]) -> str:
    """Return a sentence with the found validation boxes of each new class in a run's conclusion.json. Empty if there are none."""
    found = conclusion.get("found", {})
    if not found:
        return ""
    sentence = f"Found in the validation set at confidence {DEFAULT_SCORE:g}: {_list_found(found, f'{DEFAULT_SCORE:g}')}"
    suggested = {label: each for label, each in found.items() if label in conclusion.get("confidence", {})}
    return f"{sentence}; at the suggested confidence: {_list_found(suggested, 'suggested')}." if suggested else f"{sentence}."


def _list_found(found: Mapping[str, Mapping[str, int]], key: str) -> str:
    return ", ".join(f"{label} {each[key]} of {each['boxes']}" for label, each in found.items())


def advise_longer_run(conclusion: Mapping[str, Any], *, steps: int, steps_per_epoch: int) -> LongerRun | None:
    """Return advice if a run of few steps has hardly learned a new class, although its loss has not exploded.

    Args:
        conclusion: The content of the run's conclusion.json.
        steps: Number of steps of the run.
        steps_per_epoch: Number of steps in an epoch of the run.
    """
    low = {label: ap50 for label, ap50 in conclusion.get("new_ap50", {}).items() if ap50 < LOW_AP50}
    if not low or steps >= ENOUGH_STEPS or conclusion.get("divergence"):
        return None
    label = min(low, key=lambda each: (low[each], each))
    reason = f"{label} has an AP50 of only {low[label]:.2f} after {count_of(steps, 'step')}, so longer training will probably help"
    return LongerRun(reason, ceil(ENOUGH_STEPS / steps_per_epoch))
