import keras
import numpy as np
import tensorflow as tf

from training.modeling.layers.batch_norm import FusedBatchNorm


def test_outputs_statistics_and_gradients_equal_those_of_keras():
    rng = np.random.default_rng(0)
    values = [rng.uniform(0.5, 1.5, 3).astype(np.float32) for _ in range(4)]
    images, weights = (tf.constant(rng.standard_normal((2, 3, 4, 3)), tf.float32) for _ in range(2))
    results = []
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
        results.append([outputs, *gradients, *layer.get_weights(), layer(images, training=True), layer(images, training=False)])
    for expected, actual in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(results[1][6:8], results[0][6:8])  # a frozen layer keeps its statistics


def test_the_variance_of_a_single_value_is_zero():
    layer = FusedBatchNorm(momentum=0.0)
    layer.build((1, 1, 1, 2))
    assert np.isfinite(layer(tf.ones((1, 1, 1, 2)), training=True)).all()
    np.testing.assert_array_equal(layer.get_weights()[3], [0, 0])
