"""Detections of classes that are not labelled in an image count neither for nor against a detector, in every measure."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from detector.boxes.detections import Detections
from training.data.voc_reader import Sample
from training.errors import DatasetError
from training.evaluation.evaluate import evaluate_detector
from training.evaluation.per_image import image_results

LABELS = ("cat", "dog")
BOX, FAR = [10, 10, 40, 40], [50, 10, 90, 40]


class FixedDetector:
    """A detector that reports a cat at BOX, and a dog with a higher score at FAR, in every image."""

    class spec:
        labels = LABELS

    def detect(self, _image, **_):
        return Detections(np.array([FAR, BOX], np.float32), np.array([0.9, 0.8], np.float32), np.array([1, 0]))


@pytest.fixture
def sample(tmp_path):
    """(labelled, boxes, labels) -> a sample of 100 x 50 pixels."""
    image = tmp_path / "a.png"
    Image.new("RGB", (100, 50)).save(image)

    def make(labelled, boxes=(BOX,), labels=("cat",)):
        no_flags = np.zeros(len(boxes), np.bool_)
        return Sample("a", image, np.array(boxes, np.float32), labels, no_flags, no_flags, labelled)

    return make


@pytest.mark.parametrize(("labelled", "wrong"), [(None, 1), ({"cat", "dog"}, 1), ({"cat"}, 0), ({"cat", "cow"}, 0)])
def test_a_detection_of_an_unlabelled_class_is_ignored(sample, labelled, wrong):
    dog = replace(sample(None), boxes=np.array([FAR], np.float32), labels=("dog",))
    result = evaluate_detector(FixedDetector(), [sample(labelled and frozenset(labelled)), replace(dog, labelled=frozenset({"dog"}))])
    dogs = result.classes["dog"]
    assert (dogs.boxes, len(dogs.scores) - 1) == (1, wrong)
    assert result.confusion[2].tolist() == [0, wrong, 0]
    assert result.confusion[:2, :2].tolist() == [[1, 0], [0, 1]]
    assert [len(each.false_positives) for each in image_results(result)] == [wrong, 0]
    assert len(result.detections[0]) == 1 + wrong
    assert result.coco.ap50 == pytest.approx(
        1 - wrong / 4
    )  # in one of two classes, a false positive precedes the true positive of equal score


def test_a_box_of_an_unlabelled_class_counts_as_difficult(sample):
    result = evaluate_detector(FixedDetector(), [sample(frozenset({"cat"}), (BOX, FAR), ("cat", "dog"))])
    assert result.classes.keys() == {"cat"}
    assert result.confusion.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert (image_results(result)[0].missed, result.coco.ap50) == ((), pytest.approx(1.0))


def test_a_set_with_only_boxes_of_unlabelled_classes_is_refused(sample):
    with pytest.raises(DatasetError, match="there is nothing to evaluate"):
        evaluate_detector(FixedDetector(), [sample(frozenset({"dog"}))])
