import numpy as np
import pytest

from detector.detections import Detections
from training.evaluation.evaluate import Evaluation
from training.evaluation.per_image import telling, verdicts
from training.evaluation.voc_ap import Truth

LABELS = ("cat", "dog")
LEFT, RIGHT, FAR = (0, 0, 10, 10), (20, 0, 30, 10), (60, 60, 70, 70)


def found(*boxes):
    """(box, score, class id), ..."""
    corners, scores, classes = ([each[part] for each in boxes] for part in range(3))
    return Detections(np.array(corners, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(classes, np.int64))


def there(*boxes, difficult=()):
    """(box, class id), ..."""
    corners, classes = ([each[part] for each in boxes] for part in range(2))
    marks = np.array([place in difficult for place in range(len(boxes))], np.bool_)
    return Truth(np.array(corners, np.float32).reshape(-1, 4), np.array(classes, np.int64), marks)


def judged(*photos):
    return verdicts(Evaluation(LABELS, [one for one, _ in photos], [other for _, other in photos], 1.0, 0))


@pytest.mark.parametrize(
    ("detections", "truth", "sentence"),
    [
        (found((LEFT, 0.9, 0)), there((LEFT, 0)), "found"),
        (found((LEFT, 0.9, 0), (RIGHT, 0.8, 1)), there((LEFT, 0), (RIGHT, 1)), "all 2 found"),
        (found((LEFT, 0.2, 0)), there((LEFT, 0)), "cat missed"),  # below 0.25: not said
        (found((LEFT, 0.9, 1)), there((LEFT, 0)), "cat taken for dog (90%)"),
        (found((FAR, 0.5, 1)), there((LEFT, 0)), "dog (50%) where none is, cat missed"),
        (found(), there(), "nothing there, nothing found"),
        (found((LEFT, 0.9, 1)), there((LEFT, 0), difficult=(0,)), "nothing there, nothing found"),  # counts neither way
        (found(), there(*[(LEFT, 0)] * 8), "cat missed, cat missed, cat missed, cat missed, cat missed and 3 more"),
    ],
)
def test_a_photo_is_told_of_in_a_sentence(detections, truth, sentence):
    (verdict,) = judged((detections, truth))
    assert verdict.sentence(LABELS) == sentence


def test_photos_are_chosen_by_what_they_show_and_none_twice():
    every = judged(
        (found((LEFT, 0.6, 0)), there((LEFT, 0))),
        (found((LEFT, 0.9, 0)), there((LEFT, 0))),
        (found((FAR, 0.4, 0)), there()),
        (found((FAR, 0.7, 0)), there((LEFT, 0), (RIGHT, 0))),
        (found(), there((LEFT, 0))),
        (found(), there((LEFT, 0), (RIGHT, 0))),
        (found(), there()),
    )
    chosen = {kind: [one.place for one in some] for kind, some in telling(every, 6).items()}
    assert chosen == {"worst": [3, 2], "missed": [5, 4], "best": [1, 0]}
    assert [len(some) for some in telling(every, 1).values()] == [1, 1, 1]
