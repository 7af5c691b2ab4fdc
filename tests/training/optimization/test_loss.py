"""Every loss term has known values for simple inputs."""

import numpy as np
import pytest
import tensorflow as tf

from detector.boxes.geometry import broadcast_iou
from detector.boxes.grid import decode
from tests.training.optimization.loss_inputs import ANCHORS, BOXES, SPEC, batch, boxes_of, random_logits
from training.config.options import Config
from training.optimization import loss as terms
from training.optimization.loss import Loss


def perfect(targets):
    """Return logits of exactly the target boxes with full confidence."""
    logits = np.zeros((2, 3, 3, 2, 8))
    responsible = targets["responsible"].numpy()
    logits[..., 0:4] = targets["logits"]
    logits[..., 4] = 40 * (2 * responsible - 1)
    logits[..., 5:] = 60 * np.eye(3)[targets["class_ids"]]
    return tf.constant(logits)


@pytest.mark.parametrize("loss_name", ["darknet", "modern"])
def test_perfect_predictions_have_no_loss(loss_name):
    targets = batch()
    values = Loss(SPEC, Config(loss=loss_name))(perfect(targets), targets, 10**6)
    np.testing.assert_allclose([float(value) for value in values.values()], 0, atol=1e-4)


def test_zero_logits_have_the_known_loss():
    targets = batch([BOXES[1], BOXES[1]])
    values = Loss(SPEC, Config(loss="darknet", rescore=False, ignore_iou=1.0))(tf.zeros((2, 3, 3, 2, 8), tf.float64), targets, 0)
    assert float(values["object"]) == pytest.approx(5 * 0.5 * 0.5**2)
    assert float(values["no_object"]) == pytest.approx(17 * 0.5 * 0.5**2)  # one of 3 x 3 x 2 predictions is responsible
    assert float(values["class"]) == pytest.approx(np.log(3))
    assert float(values["prior"]) == 0
    # centre (46, 30), size 32 x 40 px: cell (1, 0), anchor 32 x 48 px
    weight = 2 - (32 / 96) * (40 / 96)
    errors = (46 / 32 - 1 - 0.5) ** 2 + (30 / 32 - 0.5) ** 2 + np.log(40 / 48) ** 2
    assert float(values["box"]) == pytest.approx(0.5 * weight * errors, rel=1e-5)


def test_the_anchor_prior_ends_after_the_first_images():
    loss, targets = Loss(SPEC, Config(loss="darknet")), batch()
    assert float(loss(random_logits(), targets, 12_799)["prior"]) > 0
    assert float(loss(random_logits(), targets, 12_800)["prior"]) == 0


def test_predictions_that_overlap_ground_truth_are_not_penalised():
    targets = batch([BOXES[1], BOXES[1]])
    logits = np.full((2, 3, 3, 2, 8), -20.0)
    logits[..., 2:4] = 0
    logits[:, 0, 1, 1, 0:5] = [
        *targets["logits"][0, 0, 1, 0, :2].numpy(),
        np.log(32 / 80),
        np.log(40 / 64),
        20,
    ]  # the other anchor predicts the same box
    strict, lenient = (
        Loss(SPEC, Config(ignore_iou=limit, noobject_scale=1.0, loss_norm="images"))(tf.constant(logits), targets, 0)["no_object"]
        for limit in (1.0, 0.6)
    )
    assert float(strict) == pytest.approx(20, abs=1e-3)
    assert float(lenient) == pytest.approx(0, abs=1e-3)


def test_objectness_learns_the_iou():
    targets = batch()
    logits = tf.Variable(random_logits(5))
    with tf.GradientTape() as tape:
        value = Loss(SPEC, Config(loss="darknet", object_scale=1.0))(logits, targets, 10**6)["object"]
    gradient = tape.gradient(value, logits).numpy()
    assert np.abs(gradient[..., 0:4]).max() == 0  # the IoU is a constant target without a gradient
    responsible = targets["responsible"].numpy() > 0
    overlap = broadcast_iou(boxes_of(logits.value()).numpy(), targets["boxes"].numpy())[responsible]
    objectness = 1 / (1 + np.exp(-logits.numpy()[..., 4][responsible]))
    assert float(value) == pytest.approx(0.5 * ((objectness - overlap) ** 2).sum() / 2)


def test_ciou_of_known_boxes_is_correct():
    def ciou(first, second):
        return float(terms.complete_iou(tf.constant([first], tf.float64), tf.constant([second], tf.float64))[0])

    assert ciou([0, 0, 2, 2], [0, 0, 2, 2]) == pytest.approx(1)
    # two equal boxes side by side: IoU 0, centre distance 2, enclosing box 4 x 2
    assert ciou([0, 0, 2, 2], [2, 0, 4, 2]) == pytest.approx(-4 / 20)
    # two boxes with the same centre: IoU 1/2, distance 0; v = 4/pi^2 (atan 1 - atan 2)^2
    v = 4 / np.pi**2 * (np.arctan(1) - np.arctan(2)) ** 2
    assert ciou([0, 0, 2, 2], [-1, 0, 3, 2]) == pytest.approx(0.5 - v * v / (0.5 + v))


def test_decoded_boxes_equal_those_of_the_detector():
    logits = random_logits(7, images=1)
    np.testing.assert_allclose(boxes_of(logits)[0].numpy().reshape(-1, 4), decode(logits[0].numpy(), ANCHORS, SPEC.stride)[0], rtol=1e-5)


@pytest.mark.parametrize("part_count", [1, 2])
def test_the_modern_loss_is_divided_by_the_objects_of_the_batch(part_count):
    targets, logits = batch(), random_logits()
    loss = Loss(SPEC, Config())
    sums = loss(logits, targets, 0, 1)
    objects = float(loss.objects(targets))
    assert objects == 3
    parts = [slice(0, 1), slice(1, 2)] if part_count == 2 else [slice(0, 2)]
    divided = [loss(logits[part], {name: array[part] for name, array in targets.items()}, 0, loss.divisor(2, objects)) for part in parts]
    for name, value in sums.items():
        np.testing.assert_allclose(sum(float(each[name]) for each in divided), float(value) / 3, rtol=1e-6)


def test_each_loss_has_its_own_weights_and_divisor():
    assert Config(loss="darknet").scales == (5.0, 1.0, 1.0, 1.0)
    assert Config().scales == (1.0, 0.5, 1.0, 2.5)
    assert Config(object_scale=0.0).scales == (0.0, 0.5, 1.0, 2.5)
    divisors = [float(Loss(SPEC, Config(loss=loss_name, loss_norm=norm)).divisor(2, 3)) for loss_name, norm in
                [("darknet", "auto"), ("modern", "auto"), ("darknet", "objects"), ("modern", "images")]]  # fmt: skip
    assert divisors == [2, 3, 3, 2]


def test_a_batch_without_objects_has_a_finite_loss():
    targets = batch([(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))] * 2)
    assert np.isfinite([float(value) for value in Loss(SPEC, Config())(random_logits(), targets, 0).values()]).all()
