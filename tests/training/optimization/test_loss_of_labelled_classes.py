"""Which predictions get a gradient from ground-truth boxes and labelled classes."""

import numpy as np
import pytest
import tensorflow as tf

from tests.training.optimization.loss_inputs import BOXES, SPEC, random_logits
from training.config.options import Config
from training.data.ground_truth import GroundTruth, PartialRegion, Role
from training.data.targets import dense_targets
from training.optimization.loss import Loss


def objectness_gradient(loss_name, targets, logits, **settings):
    """Return the (N, 3, 3, 2) gradient of all terms with respect to the objectness logits."""
    with tf.GradientTape() as tape:
        tape.watch(logits)
        total = tf.add_n(list(Loss(SPEC, Config(loss=loss_name, **settings))(logits, targets, 0).values()))
    return tape.gradient(total, logits).numpy()[..., 4]


def labelled_batch(partial, boxes=BOXES[1], roles=None, **options):
    """Return the targets of one image in float64."""
    roles = np.full(len(boxes[0]), Role.OBJECT, np.int8) if roles is None else roles
    made = dense_targets(GroundTruth(*boxes, roles, tuple(partial)), SPEC, max_boxes=3, **options)
    return {name: tf.constant(value[None], tf.int32 if name.endswith("class_ids") else tf.float64) for name, value in made.items()}


LOSSES = ["darknet", "modern"]
ALL = np.array([0, 0, 96, 96], np.float32)


@pytest.mark.parametrize("loss_name", LOSSES)
def test_only_predictions_of_labelled_classes_have_an_objectness_gradient(loss_name):
    targets = labelled_batch([PartialRegion(ALL, np.array([True, True, False]))])
    logits = random_logits(images=1)
    gradient = objectness_gradient(loss_name, targets, logits, ignore_iou=1.0)
    unlabelled = logits.numpy()[..., 5:].argmax(axis=-1) == 2
    responsible = targets["responsible"].numpy() > 0
    assert 3 < unlabelled.sum() < 15
    assert (gradient[unlabelled & ~responsible] == 0).all()
    assert (np.abs(gradient[~unlabelled | responsible]) > 1e-3).all()
    assert (np.abs(objectness_gradient(loss_name, labelled_batch([]), logits, ignore_iou=1.0)) > 1e-3).all()


@pytest.mark.parametrize("loss_name", LOSSES)
def test_each_tile_of_a_mosaic_has_its_own_labelled_classes(loss_name):
    left, right = (np.array(box, np.float32) for box in ([0, 0, 40, 96], [40, 0, 96, 96]))
    partial = [PartialRegion(left, np.array([True, False, False])), PartialRegion(right, np.array([True, True, False]))]
    targets = labelled_batch(partial, (np.zeros((0, 4), np.float32), np.zeros(0, np.int64)))
    penalised = {}
    for class_id in range(3):
        logits = random_logits(images=1).numpy()
        logits[..., 5 + class_id] = 9
        penalised[class_id] = (objectness_gradient(loss_name, targets, tf.constant(logits)) != 0).all(axis=(0, 1, 3)).tolist()  # by column
    assert penalised == {0: [True] * 3, 1: [False, False, True], 2: [False] * 3}  # column 1, 32 to 64 px, is in both tiles


@pytest.mark.parametrize("loss_name", LOSSES)
@pytest.mark.parametrize(("role", "box", "penalised"), [
    (Role.IGNORED, [32, 32, 64, 80], False),  # exactly the prediction in the middle cell
    (Role.IGNORED, [16, 16, 96, 96], True),  # IoU 0.24
    (Role.CROWD, [16, 16, 96, 96], False),  # the prediction is inside
    (Role.CROWD, [0, 0, 48, 96], True),  # half of it is inside
])  # fmt: skip
def test_predictions_on_ignored_boxes_and_inside_crowds_get_no_objectness_gradient(loss_name, role, box, penalised):
    boxes = np.array([box], np.float32), np.array([1])
    targets = labelled_batch([], boxes, roles=np.array([role], np.int8), max_crowds=2)
    assert targets["responsible"].numpy().sum() == 0
    logits = np.zeros((1, 3, 3, 2, 8))
    logits[0, 1, 1, 0, 1] = np.log(3)  # y 0.75: the anchor of 32 x 48 px is at [32, 32, 64, 80]
    gradient = objectness_gradient(loss_name, targets, tf.constant(logits))
    assert (gradient[0, 1, 1, 0] != 0) == penalised
    assert gradient[0, 0, 2, 0] != 0


def test_a_difficult_box_does_not_occupy_the_cell_of_an_object():
    box = np.array([[30, 10, 62, 50], [30, 10, 63, 51]], np.float32)
    targets = dense_targets(GroundTruth(box, np.array([1, 0]), np.array([Role.OBJECT, Role.IGNORED], np.int8)), SPEC, max_boxes=3)
    assert targets["class_ids"][targets["responsible"] > 0].tolist() == [1]
    np.testing.assert_array_equal(targets["truth"], [box[0], box[1], [0] * 4])


def class_gradient(loss_name, targets, logits, **settings):
    """Return the (N, 3, 3, 2, C) gradient of all terms with respect to the class logits."""
    with tf.GradientTape() as tape:
        tape.watch(logits)
        total = tf.add_n(list(Loss(SPEC, Config(loss=loss_name, **settings))(logits, targets, 0).values()))
    return tape.gradient(total, logits).numpy()[..., 5:]


def two_overlapping_predictions():
    """Return logits of the box [32, 32, 64, 80] in the middle cell, and of overlapping boxes in the cells above and below it."""
    logits = np.zeros((1, 3, 3, 2, 8))
    logits[0, 1, 1, 0, 1] = np.log(3)  # y 0.75 of the middle cell
    logits[0, 0, 1, 0, 1], logits[0, 2, 1, 0, 1] = (
        20,
        -20,
    )  # boxes centred on the borders of the middle cell: IoU 0.33 and 0.71
    return tf.constant(logits)


def test_predictions_that_overlap_an_object_learn_its_class_with_a_total_weight_of_one_per_object():
    boxes = np.array([[32, 32, 64, 80]], np.float32), np.array([1])
    logits = two_overlapping_predictions()
    gradient = class_gradient("modern", labelled_batch([], boxes), logits, ignore_iou=0.3)
    expected = np.array([1 / 3, -2 / 3, 1 / 3])  # softmax of equal logits minus the class
    np.testing.assert_allclose(gradient[0, 1, 1, 0], expected)  # responsible
    overlapping = np.abs(gradient[0]).sum(axis=-1) > 0
    overlapping[1, 1, 0] = False
    assert 2 <= overlapping.sum() < 17
    np.testing.assert_allclose(gradient[0][overlapping], np.tile(expected / overlapping.sum(), (overlapping.sum(), 1)))


def test_overlapping_predictions_learn_no_class_of_difficult_boxes_and_none_in_darknets_loss():
    boxes = np.array([[32, 32, 64, 80]], np.float32), np.array([1])
    difficult = labelled_batch([], boxes, roles=np.array([Role.IGNORED], np.int8))
    assert (class_gradient("modern", difficult, two_overlapping_predictions(), ignore_iou=0.3) == 0).all()
    darknet = class_gradient("darknet", labelled_batch([], boxes), two_overlapping_predictions(), ignore_iou=0.3)
    assert np.argwhere(np.abs(darknet).sum(axis=-1)).tolist() == [[0, 1, 1, 0]]


@pytest.mark.parametrize("loss_name", LOSSES)
def test_the_class_loss_assumes_that_rare_classes_are_overrepresented_in_training(loss_name):
    boxes = np.array([[32, 32, 64, 80]], np.float32), np.array([1])
    logits, targets = tf.constant(np.zeros((1, 3, 3, 2, 8))), labelled_batch([], boxes)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        total = tf.add_n(list(Loss(SPEC, Config(loss=loss_name, rarity=8.0), frozenset({"c"}))(logits, targets, 0).values()))
    gradient = tape.gradient(total, logits)[0, 1, 1, 0, 5:]
    np.testing.assert_allclose(gradient, [0.1, 0.1 - 1, 0.8], rtol=1e-6)  # softmax of frequencies 1, 1, 8 minus the class
