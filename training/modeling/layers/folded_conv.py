"""Convolutions of training, quicker than Keras's own: same variables, same numbers up to rounding.

A batch norm that does not train is a number for each filter, and a bias. The number goes into the kernel, which is small: to multiply all
outputs by it, and on the way back all their gradients, was a fifth of a step."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from detector.network import Conv, Network

Scale = Callable[[], Any]
"""() -> (filters,), or None where the kernel is to stay as it is."""


class FoldingConv2D(keras.layers.Conv2D):  # type: ignore[misc]
    """Keras's layer, by a kernel that has the scale of the batch norm after it."""

    scale: Scale | None = None

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """(N, H, W, C), (h, w, C, filters) -> (N, H', W', filters)."""
        return super().convolution_op(inputs, _scaled(kernel, self.scale))


class FoldingDepthwiseConv2D(keras.layers.DepthwiseConv2D):  # type: ignore[misc]
    """The same for a kernel (h, w, C, 1), whose gradient comes by the quicker of TensorFlow's two kernels."""

    scale: Scale | None = None

    def call(self, inputs: Any) -> Any:
        """(N, H, W, C) -> (N, H', W', C)."""
        if self.use_bias:
            return super().call(inputs)
        kernel = _scaled(self.kernel[..., 0], self.scale)[..., None]
        return depthwise(inputs, kernel, self.strides[0], self.padding)


class LeakyReLU(keras.layers.LeakyReLU):  # type: ignore[misc]
    """Keras's layer, whose gradient reads its outputs, which have the signs of its inputs.

    The inputs need not be kept then, and TensorFlow makes convolution, bias and activation one operation; where the gradient reads the
    inputs its optimiser fails at that, and leaves the whole step as it is.
    """

    def call(self, inputs: Any) -> Any:
        """(N, H, W, C) -> the same."""
        slope = self.negative_slope

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def leaky(inputs: Any) -> Any:
            outputs = tf.nn.leaky_relu(inputs, slope)
            return outputs, lambda upstream: tf.raw_ops.LeakyReluGrad(gradients=upstream, features=outputs, alpha=slope)

        return leaky(inputs)


def depthwise(images: Any, kernel: Any, stride: int, padding: str) -> Any:
    """Images (N, H, W, C), each channel by its kernel (h, w, C, 1); padding: "same", at stride 1 only, or "valid".

    Of the gradient of such a kernel oneDNN takes two to four times as long as TensorFlow's own code, and of everything else a half to a
    fifth. With padding that is written out, TensorFlow does not pass the operation on to oneDNN (mkl_layout_pass.cc).
    """
    size = int(kernel.shape[0])
    before, after = ((size - 1) // 2, size // 2) if padding == "same" else (0, 0)
    written_out = [[0, 0], [before, after], [before, after], [0, 0]]
    strides, named = [1, stride, stride, 1], padding.upper()

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def convolution(images: Any, kernel: Any) -> Any:
        def gradient(upstream: Any) -> tuple[Any, Any]:
            of_images = tf.nn.depthwise_conv2d_backprop_input(tf.shape(images), kernel, upstream, strides, named)
            return of_images, tf.nn.depthwise_conv2d_backprop_filter(images, kernel.shape, upstream, strides, written_out)

        return tf.nn.depthwise_conv2d(images, kernel, strides, named), gradient

    return convolution(images, kernel)


def fold_norms(keras_network: Any, network: Network) -> None:
    """Let convolutions know of the batch norms after them. Bound methods, as Keras would take a layer for a part of the other."""
    for layer in network:
        if isinstance(layer, Conv) and layer.normalize:
            norm = keras_network.get_layer(f"{layer.name}_bn")
            norm.folded = True
            keras_network.get_layer(layer.name).scale = norm.scale_of_kernel


def _scaled(kernel: Any, scale: Scale | None) -> Any:
    factor = None if scale is None else scale()
    return kernel if factor is None else kernel * tf.cast(factor, kernel.dtype)
