"""Training steps: frozen layers, moving averages, regularisation, dropout and precision."""

import numpy as np
import pytest

from detector.engines import load_engine
from training.config.options import Config
from training.data.batches import Batches
from training.data.voc_reader import read_set
from training.modeling.transfer import frozen_layers, transfer
from training.run.trainer import Trainer

SETTINGS = {"batch_size": 3, "epochs": 10, "sizes": "64", "prior_photos": 0, "learning_rate": 0.01}
LABELS = ("blue", "red")


def make_trainer(rectangles, small_model, freeze="none", **settings):
    config = Config(**(SETTINGS | settings))
    start = transfer(small_model, LABELS, small_model.spec.anchors, config)
    batches = Batches(read_set(rectangles, "train"), start.model.spec, config)
    return Trainer(start, config, frozen_layers(start.model.spec.network, freeze)), batches


def train(trainer, batches, steps, rate=0.01, first=0):
    return [trainer.step(*batches.batch(step), number=step, learning_rate=rate) for step in range(first, first + steps)]


def changed(trainer, before):
    """Return the names of the arrays that are not bit-identical."""
    now = trainer.model("now", {}).arrays
    return {name for name, array in before.items() if array.tobytes() != now[name].tobytes()}


def test_frozen_layers_stay_bit_identical_and_others_change(rectangles, small_model):
    trainer, batches = make_trainer(rectangles, small_model, "conv3", batch_norm="train")
    before = trainer.model("before", {}).arrays
    train(trainer, batches, 3)
    changed_arrays = changed(trainer, before)
    frozen = {name for name in before if name.partition("/")[0] in ("conv1", "conv2", "conv3")}
    assert changed_arrays == set(before) - frozen
    with trainer.averaged_weights():
        assert not changed(trainer, before) & frozen
    trainer.freeze(frozenset())
    train(trainer, batches, 1, first=3)
    assert changed(trainer, before) == set(before)


def test_a_frozen_batch_norm_keeps_its_moving_statistics(rectangles, small_model):
    trainer, batches = make_trainer(rectangles, small_model, batch_norm="frozen")
    before = trainer.model("before", {}).arrays
    train(trainer, batches, 3)
    changed_arrays = changed(trainer, before)
    assert changed_arrays == {name for name in before if name.endswith(("/kernel", "/bias"))}


def test_the_batch_norm_of_the_head_can_train_without_that_of_the_backbone(rectangles, small_model):
    trainer, batches = make_trainer(rectangles, small_model, batch_norm="head")
    before = trainer.model("before", {}).arrays
    train(trainer, batches, 2)
    unchanged = set(before) - changed(trainer, before)
    backbone = {"conv1", "conv2", "conv3", "conv4", "conv5"}
    assert unchanged == {name for name in before if name.partition("/")[0] in backbone and not name.endswith("/kernel")}


def test_the_backbone_has_its_own_learning_rate(rectangles, small_model):
    trainer, batches = make_trainer(rectangles, small_model, backbone_rate=0.0, weight_decay=0.0)
    before = trainer.model("before", {}).arrays
    train(trainer, batches, 2)
    assert {name.partition("/")[0] for name in changed(trainer, before)} == {"conv6", "conv7", "conv4a", "conv8", "linear"}


def test_the_loss_of_a_repeated_batch_decreases(rectangles, small_model):
    trainer, batches = make_trainer(rectangles, small_model)
    images, targets = batches.batch(0)
    reports = [trainer.step(images, targets, number=step, learning_rate=0.01) for step in range(80)]
    assert reports[-1].loss < 0.3 * reports[0].loss
    assert set(reports[0].gradients) == {"conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "conv7", "conv4a", "conv8", "linear"}


def test_the_saved_model_equals_the_trained_network_at_every_input_size(rectangles, small_model):
    trainer, batches = make_trainer(rectangles, small_model, batch_norm="train", sizes="32:0.5,64")
    train(trainer, batches, 2)
    train(trainer, batches, 1, first=20)
    assert {batches.input_size_of(0), batches.input_size_of(20)} == {32, 64}
    images = batches.batch(20)[0]
    expected = trainer.networks.logits(trainer.network, images, training=False).numpy()
    np.testing.assert_allclose(load_engine(trainer.model("m", {}))(images), expected, atol=1e-3)


def test_moving_averages_follow_their_formula(rectangles, small_model):
    trainer, batches = make_trainer(rectangles, small_model, ema=0.5)
    name = "linear/bias"
    expected = trainer.model("m", {}).arrays[name]
    for step in range(5):
        train(trainer, batches, 1, first=step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * trainer.model("m", {}).arrays[name]
    last = trainer.model("m", {}).arrays[name]
    with trainer.averaged_weights():
        np.testing.assert_allclose(trainer.model("m", {}).arrays[name], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(trainer.model("m", {}).arrays[name], last)


def test_weight_decay_shrinks_only_kernels(rectangles, small_model):
    no_loss = {"object_scale": 0.0, "noobject_scale": 0.0, "class_scale": 0.0, "coord_scale": 0.0}
    trainer, batches = make_trainer(rectangles, small_model, weight_decay=0.5, backbone_rate=1.0, batch_norm="frozen", **no_loss)
    before = trainer.model("before", {}).arrays
    train(trainer, batches, 1, rate=0.1)
    after = trainer.model("after", {}).arrays
    for name, array in before.items():
        factor = 0.95 if name.endswith("/kernel") else 1.0
        np.testing.assert_allclose(after[name], factor * array, rtol=1e-5)


def test_l2_is_half_the_squared_kernels(rectangles, small_model):
    trainer, batches = make_trainer(rectangles, small_model, l2=0.1)
    kernels = [array for name, array in trainer.model("m", {}).arrays.items() if name.endswith("/kernel")]
    (report,) = train(trainer, batches, 1)
    assert report.terms["l2"] == pytest.approx(0.1 * sum(float((kernel**2).sum()) for kernel in kernels) / 2, rel=1e-4)


@pytest.mark.parametrize("activation", ["elu", "selu"])
def test_dropout_acts_only_in_training(rectangles, small_model, activation):
    settings = {"new_layers": "head", "activation": activation, "init": "lecun", "dropout": 0.5}
    trainer, batches = make_trainer(rectangles, small_model, **settings)
    images = batches.batch(0)[0]
    first, second = (trainer.networks.logits(trainer.network, images, training=True).numpy() for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    first, second = (trainer.networks.logits(trainer.network, images, training=False).numpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_training_in_bfloat16_has_float32_weights_and_similar_losses(rectangles, small_model):
    first, batches = make_trainer(rectangles, small_model, batch_norm="train")
    second, _ = make_trainer(rectangles, small_model, batch_norm="train", precision="bfloat16")
    reports = [[trainer.step(*batches.batch(0), number=step, learning_rate=0.003) for step in range(20)] for trainer in (first, second)]
    assert reports[1][0].loss == pytest.approx(reports[0][0].loss, rel=0.02)
    assert reports[1][0].loss != reports[0][0].loss
    assert reports[1][-1].loss < 0.7 * reports[1][0].loss
    assert all(array.dtype == np.float32 for array in second.model("m", {}).arrays.values())
    assert second.networks.logits(second.network, batches.batch(0)[0], training=False).dtype == "float32"


def test_alpha_dropout_drops_complete_channels_and_keeps_mean_and_variance(rectangles, small_model):
    settings = {"new_layers": "head", "activation": "selu", "init": "lecun", "dropout": 0.3}
    trainer, _ = make_trainer(rectangles, small_model, **settings)
    values = np.random.default_rng(0).standard_normal((64, 4, 4, 500)).astype(np.float32)
    dropped = np.asarray(trainer.network.get_layer("conv8_dropout")(values, training=True))
    flat = np.ptp(dropped, axis=(1, 2)) < 1e-5
    assert flat.mean() == pytest.approx(0.3, abs=0.02)
    assert dropped.mean() == pytest.approx(0, abs=0.03)
    assert dropped.var() == pytest.approx(1, abs=0.05)


def test_the_graph_optimizer_of_tensorflow_processes_the_complete_step(rectangles, small_model, capfd):
    trainer, batches = make_trainer(rectangles, small_model, batch_norm="frozen")
    train(trainer, batches, 1)
    assert "meta_optimizer" not in capfd.readouterr().err  # TensorFlow logs this name if the optimizer fails; then it fuses nothing
