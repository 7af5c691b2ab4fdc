"""What a detector got right and wrong on each photo, and which photos show it best."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from detector.boxes import box_iou
from detector.detections import Detections
from detector.detector import DEFAULT_SCORE
from training.evaluation.confusion import pairs
from training.evaluation.evaluate import Evaluation
from training.evaluation.voc_ap import Truth


@dataclass(frozen=True, eq=False)
class Verdict:
    """One photo: what was found (scores of at least 0.25) against what is there, paired as in the confusion matrix."""

    place: int  # of the photo in the set
    found: Detections
    truth: Truth
    right: tuple[float, ...]  # of each box that was found with its class: score times IoU
    mistaken: tuple[tuple[int, int], ...]  # (truth, found) whose classes differ
    missed: tuple[int, ...]  # truths that nothing was found on
    invented: tuple[int, ...]  # found where nothing is

    @property
    def surest_mistake(self) -> float:
        """The highest score of a detection that is wrong; 0 if none is."""
        wrong = [*self.invented, *(here for _, here in self.mistaken)]
        return float(self.found.scores[wrong].max()) if wrong else 0.0

    def sentence(self, labels: Sequence[str], most: int = 5) -> str:
        """What is wrong, or how well it was found."""
        scores, found, there = self.found.scores, self.found.class_ids, self.truth.class_ids
        said = [f"{labels[there[one]]} taken for {labels[found[other]]} ({scores[other]:.0%})" for one, other in self.mistaken]
        said += [f"{labels[found[one]]} ({scores[one]:.0%}) where none is" for one in self.invented]
        said += [f"{labels[there[one]]} missed" for one in self.missed]
        if not said:
            return f"all {len(self.right)} found" if len(self.right) > 1 else "found" if self.right else "nothing there, nothing found"
        return ", ".join(said[:most]) + (f" and {len(said) - most} more" if len(said) > most else "")


def verdicts(evaluation: Evaluation) -> list[Verdict]:
    """One for each photo, in their order. Boxes marked difficult, and what is found on them, count neither way."""
    both = zip(evaluation.found, evaluation.truths, strict=True)
    return [_verdict(place, found[found.scores >= DEFAULT_SCORE], truth) for place, (found, truth) in enumerate(both)]


def _verdict(place: int, found: Detections, truth: Truth, iou_threshold: float = 0.5) -> Verdict:
    overlaps = box_iou(truth.boxes, found.boxes)
    matched = pairs(overlaps, iou_threshold)
    counted = [(there, here) for there, here in matched if not truth.difficult[there]]
    alike = [(there, here) for there, here in counted if truth.class_ids[there] == found.class_ids[here]]
    missed = set(np.flatnonzero(~truth.difficult).tolist()) - {there for there, _ in matched}
    invented = set(range(len(found))) - {here for _, here in matched}
    return Verdict(
        place,
        found,
        truth,
        tuple(float(found.scores[here] * overlaps[there, here]) for there, here in alike),
        tuple(pair for pair in counted if pair not in alike),
        tuple(sorted(missed)),
        tuple(sorted(invented)),
    )


def telling(every: Sequence[Verdict], most: int) -> dict[str, list[Verdict]]:
    """At most `most` photos of each kind, no photo twice: worst (the surest mistakes), missed (the most boxes), best."""
    worst = _first(every, most, lambda one: one.surest_mistake)
    missed = _first([one for one in every if one not in worst], most, lambda one: len(one.missed))
    flawless = [one for one in every if one.right and not (one.missed or one.surest_mistake)]
    return {"worst": worst, "missed": missed, "best": _first(flawless, most, lambda one: float(np.mean(one.right)))}


def _first(some: Sequence[Verdict], most: int, measure: Callable[[Verdict], float]) -> list[Verdict]:
    """Those with the highest measure above 0."""
    return [one for one in sorted(some, key=measure, reverse=True)[:most] if measure(one) > 0]
