import keras
import numpy as np
import tensorflow as tf

from training.modeling.layers.batch_norm import FusedBatchNorm


def test_it_is_kerass_batch_norm_outputs_statistics_and_gradients():
    rng = np.random.default_rng(0)
    values = [rng.uniform(0.5, 1.5, 3).astype(np.float32) for _ in range(4)]
    images, weights = (tf.constant(rng.standard_normal((2, 3, 4, 3)), tf.float32) for _ in range(2))
    seen = []
    for kind in (keras.layers.BatchNormalization, FusedBatchNorm):
        layer = kind(epsilon=1e-3)
        layer.build(images.shape)
        layer.set_weights(values)
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = layer(images, training=True)
            total = tf.reduce_sum(weights * outputs)
        gradients = tape.gradient(total, [images, layer.gamma.value, layer.beta.value])
        layer.trainable = False
        seen.append([outputs, *gradients, *layer.get_weights(), layer(images, training=True), layer(images, training=False)])
    for theirs, ours in zip(*seen, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(seen[1][6:8], seen[0][6:8])  # frozen: what it was, and no statistics moved


def test_of_one_cell_the_variance_is_none():
    layer = FusedBatchNorm(momentum=0.0)
    layer.build((1, 1, 1, 2))
    assert np.isfinite(layer(tf.ones((1, 1, 1, 2)), training=True)).all()
    np.testing.assert_array_equal(layer.get_weights()[3], [0, 0])
