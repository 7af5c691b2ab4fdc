"""AP50 of the new classes of a run, and the advice after a short run."""

from training.evaluation.new_classes import LongerRun, advise_longer_run, describe_new_classes


def test_new_classes_are_listed_with_their_ap50():
    assert describe_new_classes({"new_ap50": {"cat": 0.9123, "rocket": 0.0625}}) == "cat 0.912, rocket 0.062"
    assert describe_new_classes({}) == ""


def test_a_short_run_that_has_hardly_learned_a_class_should_be_longer():
    advice = advise_longer_run({"new_ap50": {"cat": 0.9, "dog": 0.4, "rocket": 0.0625}}, steps=40, steps_per_epoch=2)
    assert advice == LongerRun("rocket has an AP50 of only 0.06 after 40 steps, so longer training will probably help", 100)


def test_neither_a_long_run_nor_a_good_one_gets_this_advice():
    assert advise_longer_run({"new_ap50": {"rocket": 0.06}}, steps=200, steps_per_epoch=2) is None
    assert advise_longer_run({"new_ap50": {"rocket": 0.5}}, steps=40, steps_per_epoch=2) is None
    assert advise_longer_run({"new_ap50": {}}, steps=40, steps_per_epoch=2) is None
    assert advise_longer_run({}, steps=40, steps_per_epoch=2) is None
