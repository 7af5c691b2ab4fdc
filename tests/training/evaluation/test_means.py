"""The three means of AP50 over classes, and the choice between them."""

from types import SimpleNamespace

import pytest

from training.evaluation.evaluate import Evaluation
from training.optimization.early_stopping import watched_value


def evaluation(**classes):
    """Return an evaluation of these classes: name -> (boxes, ap)."""
    evaluation = Evaluation(tuple(classes), (), (), 1.0, 0)
    evaluation.__dict__["classes"] = {name: SimpleNamespace(boxes=boxes, ap=ap) for name, (boxes, ap) in classes.items()}
    return evaluation


def test_the_three_means_are_over_all_classes_over_frequent_classes_and_weighted_by_boxes():
    result = evaluation(person=(100, 0.5), cat=(19, 0.8), train=(1, 0.0))
    assert result.ap50 == pytest.approx(1.3 / 3)
    assert result.ap50_frequent == pytest.approx(0.65)
    assert result.ap50_weighted == pytest.approx((50 + 19 * 0.8) / 120)


def test_without_frequent_classes_the_mean_is_over_all_classes():
    assert evaluation(cat=(3, 0.8), dog=(2, 0.4)).ap50_frequent == pytest.approx(0.6)


@pytest.mark.parametrize(("watch", "value"), [("ap", 0.1), ("ap-frequent", 0.2), ("ap-weighted", 0.3), ("loss", -4.0)])
def test_watched_value_is_the_metric_that_the_option_names(watch, value):
    assert watched_value({"ap50": 0.1, "ap50_frequent": 0.2, "ap50_weighted": 0.3, "val_loss": 4.0}, watch) == value
