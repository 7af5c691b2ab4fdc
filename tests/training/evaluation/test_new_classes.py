"""AP50 and found objects of the new classes of a run, and the advice after a short run."""

import numpy as np

from training.evaluation.new_classes import LongerRun, advise_longer_run, count_found, describe_found, describe_new_classes
from training.evaluation.voc_ap import ClassResult


def test_new_classes_are_listed_with_their_ap50():
    assert describe_new_classes({"new_ap50": {"cat": 0.9123, "rocket": 0.0625}}) == "cat 0.912, rocket 0.062"
    assert describe_new_classes({}) == ""


def test_found_objects_are_counted_at_the_default_and_the_suggested_confidence():
    scores = np.array([0.5, 0.2, 0.1])
    cone = ClassResult(4, precision=np.ones(3), recall=np.array([0.25, 0.5, 0.75]), scores=scores)
    without_boxes = ClassResult(0, precision=np.zeros(3), recall=np.zeros(3), scores=scores)
    thresholds = {"cone": 0.15, "cat": 0.1}
    conclusion = {"found": count_found({"cone": cone, "dog": cone, "cat": without_boxes}, thresholds), "confidence": thresholds}
    assert conclusion["found"] == {"cone": {"boxes": 4, "0.25": 1, "suggested": 2}, "dog": {"boxes": 4, "0.25": 1, "suggested": 1}}
    assert describe_found(conclusion) == (
        "Found in the validation set at confidence 0.25: cone 1 of 4, dog 1 of 4; at the suggested confidence: cone 2 of 4."
    )
    assert describe_found({}) == ""


def test_a_short_run_that_has_hardly_learned_a_class_should_be_longer():
    advice = advise_longer_run({"new_ap50": {"cat": 0.9, "dog": 0.4, "rocket": 0.0625}}, steps=40, steps_per_epoch=2)
    assert advice == LongerRun("rocket has an AP50 of only 0.06 after 40 steps, so longer training will probably help", 100)


def test_a_long_or_successful_run_gets_no_advice_to_train_longer():
    assert advise_longer_run({"new_ap50": {"rocket": 0.06}}, steps=200, steps_per_epoch=2) is None
    assert advise_longer_run({"new_ap50": {"rocket": 0.5}}, steps=40, steps_per_epoch=2) is None
    assert advise_longer_run({"new_ap50": {}}, steps=40, steps_per_epoch=2) is None
    assert advise_longer_run({}, steps=40, steps_per_epoch=2) is None
