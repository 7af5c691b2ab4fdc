"""Every loss term has known values for simple inputs, and its gradient agrees with finite differences in float64."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from detector.boxes.geometry import broadcast_iou
from detector.boxes.grid import decode, decode_boxes
from detector.network.layers import Conv
from detector.network.spec import ModelSpec
from tests.training.ground_truths import ground_truth_of
from training.config.options import Config
from training.data.ground_truth import GroundTruth, PartialRegion, Role
from training.data.targets import dense_targets
from training.optimization import loss as terms
from training.optimization.loss import Loss

LABELS, ANCHORS = ("a", "b", "c"), ((1.0, 1.5), (2.5, 2.0))
LAYERS = (Conv("stem", 4, size=32, stride=32, padding=(0, 0)), Conv("linear", 16, size=1, normalize=False, activation="linear"))
SPEC = ModelSpec(LABELS, ANCHORS, LAYERS, input_size=96)
BOXES = [
    (np.array([[5, 8, 40, 60], [50, 40, 95, 90]], np.float32), np.array([0, 2])),
    (np.array([[30, 10, 62, 50]], np.float32), np.array([1])),
]
STEP = 1e-6


def batch(boxes=BOXES):
    """Return the targets of a batch in float64."""
    made = [dense_targets(ground_truth_of(corners, class_ids), SPEC, max_boxes=3) for corners, class_ids in boxes]
    stacked = {name: np.stack([each[name] for each in made]) for name in made[0]}
    return {name: tf.constant(value, tf.int32 if name.endswith("class_ids") else tf.float64) for name, value in stacked.items()}


def random_logits(seed=0, images=2):
    return tf.constant(np.random.default_rng(seed).normal(0, 0.7, (images, 3, 3, 2, 8)))


def boxes_of(logits):
    return decode_boxes(logits, ANCHORS, SPEC.stride, ops)


def slope(function, logits, position):
    """Return the central difference of a scalar function with respect to one value of `logits`."""
    shift = np.zeros(logits.shape)
    shift[position] = STEP
    return float(function(logits + shift) - function(logits - shift)) / (2 * STEP)


def check_gradient(function, logits, by_differences=None):
    """Compare gradients with finite differences at the few cells that the term depends on."""
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = function(logits)
    gradient = tape.gradient(value, logits)
    assert np.isfinite(gradient.numpy()).all()
    assert np.abs(gradient).max() > 1e-3
    strongest = np.argsort(-np.abs(gradient.numpy()), axis=None)
    others = np.random.default_rng(1).choice(strongest.size, 6, replace=False)
    for position in [*strongest[:12], *others]:
        index = np.unravel_index(position, logits.shape)
        np.testing.assert_allclose(gradient[index], slope(by_differences or function, logits, index), rtol=1e-5, atol=1e-8)


TERMS = {
    "coordinates_squared": lambda logits, t: terms.coordinates_squared(logits, t, SPEC.stride),
    "pull_to_anchors": lambda logits, t: terms.anchor_prior(logits, 1 - t["responsible"]),
    "objectness_squared": lambda logits, t: terms.objectness_squared(logits, 0.8 * t["responsible"], t["responsible"]),
    "no_objectness_squared": lambda logits, t: terms.objectness_squared(logits, 0 * t["responsible"], 1 - t["responsible"]),
    "objectness_cross_entropy": lambda logits, t: terms.objectness_cross_entropy(logits, 0.8 * t["responsible"], t["responsible"]),
    "class_cross_entropy": terms.class_cross_entropy,
}


@pytest.mark.parametrize("name", TERMS)
def test_gradients_of_the_terms_agree_with_finite_differences(name):
    targets = batch()
    check_gradient(lambda logits: TERMS[name](logits, targets), random_logits())


def test_the_gradient_of_ciou_treats_the_trade_off_as_constant():
    targets, logits = batch(), random_logits(2)
    responsible = targets["responsible"]
    fixed = [terms.trade_off(*terms.ciou_parts(boxes_of(logits), terms.responsible_boxes(targets))[::2])]

    def with_constant_trade_off(shifted):
        iou, distance, shape = terms.ciou_parts(boxes_of(shifted), terms.responsible_boxes(targets))
        return tf.reduce_sum(responsible * (1 - (iou - distance - fixed[0] * shape)))

    check_gradient(lambda shifted: terms.box_ciou(boxes_of(shifted), targets), logits, with_constant_trade_off)


@pytest.mark.parametrize("loss_name", ["darknet", "modern"])
def test_the_gradient_is_finite_for_extreme_logits(loss_name):
    targets = batch([(np.zeros((0, 4), np.float32), np.zeros(0, np.int64)), BOXES[1]])
    for scale in (1, 30, 1e4):
        logits = random_logits(3) * scale
        with tf.GradientTape() as tape:
            tape.watch(logits)
            values = Loss(SPEC, Config(loss=loss_name))(logits, targets, 0)
            total = tf.add_n(list(values.values()))
        assert np.isfinite(total.numpy())
        assert np.isfinite(tape.gradient(total, logits).numpy()).all()


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
    """Return logits with which the middle cell's first anchor and the upper cell's first anchor both predict the box [32, 32, 64, 80]."""
    logits = np.zeros((1, 3, 3, 2, 8))
    logits[0, 1, 1, 0, 1] = np.log(3)  # y 0.75 of the middle cell
    logits[0, 0, 1, 0, 1], logits[0, 2, 1, 0, 1] = (
        20,
        -20,
    )  # the boxes of the cells above and below end at the middle cell: IoU 0.35 and 0.71
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
def test_the_class_loss_expects_rare_classes_to_be_more_frequent_than_in_use(loss_name):
    boxes = np.array([[32, 32, 64, 80]], np.float32), np.array([1])
    logits, targets = tf.constant(np.zeros((1, 3, 3, 2, 8))), labelled_batch([], boxes)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        total = tf.add_n(list(Loss(SPEC, Config(loss=loss_name, rarity=8.0), frozenset({"c"}))(logits, targets, 0).values()))
    gradient = tape.gradient(total, logits)[0, 1, 1, 0, 5:]
    np.testing.assert_allclose(gradient, [0.1, 0.1 - 1, 0.8], rtol=1e-6)  # softmax of frequencies 1, 1, 8 minus the class
