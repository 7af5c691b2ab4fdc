"""Results of single images, and the examples of the report."""

import numpy as np
import pytest

from detector.boxes.detections import Detections
from training.evaluation.evaluate import Evaluation
from training.evaluation.per_image import image_results, select_examples
from training.evaluation.voc_ap import ImageTruth

LABELS = ("cat", "dog")
LEFT, RIGHT, FAR = (0, 0, 10, 10), (20, 0, 30, 10), (60, 60, 70, 70)


def detections_of(*boxes):
    """(box, score, class id), ... -> Detections."""
    corners, scores, classes = ([each[part] for each in boxes] for part in range(3))
    return Detections(np.array(corners, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(classes, np.int64))


def truth_of_image(*boxes, difficult=()):
    """(box, class id), ... -> ground truth of an image."""
    corners, classes = ([each[part] for each in boxes] for part in range(2))
    marks = np.array([index in difficult for index in range(len(boxes))], np.bool_)
    return ImageTruth(np.array(corners, np.float32).reshape(-1, 4), np.array(classes, np.int64), marks)


def results_of(*images):
    return image_results(Evaluation(LABELS, [detections for detections, _ in images], [truth for _, truth in images], 1.0, 0))


@pytest.mark.parametrize(
    ("detections", "truth", "description"),
    [
        (detections_of((LEFT, 0.9, 0)), truth_of_image((LEFT, 0)), "found"),
        (detections_of((LEFT, 0.9, 0), (RIGHT, 0.8, 1)), truth_of_image((LEFT, 0), (RIGHT, 1)), "all 2 found"),
        (detections_of((LEFT, 0.2, 0)), truth_of_image((LEFT, 0)), "cat missed"),  # the score is below 0.25
        (detections_of((LEFT, 0.9, 1)), truth_of_image((LEFT, 0)), "cat detected as dog (90%)"),
        (detections_of((FAR, 0.5, 1)), truth_of_image((LEFT, 0)), "dog (50%) without an object, cat missed"),
        (detections_of(), truth_of_image(), "no object, no detection"),
        (detections_of((LEFT, 0.9, 1)), truth_of_image((LEFT, 0), difficult=(0,)), "no object, no detection"),  # ignored
        (detections_of(), truth_of_image(*[(LEFT, 0)] * 8), "cat missed, cat missed, cat missed, cat missed, cat missed and 3 more"),
    ],
)
def test_the_result_of_an_image_is_described_in_words(detections, truth, description):
    (result,) = results_of((detections, truth))
    assert result.describe(LABELS) == description


def test_examples_are_selected_by_kind_and_no_image_twice():
    results = results_of(
        (detections_of((LEFT, 0.6, 0)), truth_of_image((LEFT, 0))),
        (detections_of((LEFT, 0.9, 0)), truth_of_image((LEFT, 0))),
        (detections_of((FAR, 0.4, 0)), truth_of_image()),
        (detections_of((FAR, 0.7, 0)), truth_of_image((LEFT, 0), (RIGHT, 0))),
        (detections_of(), truth_of_image((LEFT, 0))),
        (detections_of(), truth_of_image((LEFT, 0), (RIGHT, 0))),
        (detections_of(), truth_of_image()),
    )
    selected = {kind: [each.index for each in examples] for kind, examples in select_examples(results, 6).items()}
    assert selected == {"worst": [3, 2], "missed": [5, 4], "best": [1, 0]}
    assert [len(examples) for examples in select_examples(results, 1).values()] == [1, 1, 1]
