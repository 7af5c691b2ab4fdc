"""Convolutions and activations for training, faster than Keras's own, with the same variables and the same results up to rounding.

A frozen batch norm multiplies each filter's output by a constant and adds a bias. Multiplying the small kernel instead of the outputs and
their gradients saves a quarter of the time of a training step.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from detector.network.layers import Conv, Network

KernelScale = Callable[[], Any]  # () -> factor (filters,), or None if the kernel is not scaled.


class FoldingConv2D(keras.layers.Conv2D):  # type: ignore[misc]
    """Convolution with a kernel that is multiplied by the scale of a frozen batch norm."""

    kernel_scale: KernelScale | None = None

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Convolve (N, H, W, C) with (h, w, C, filters)."""
        return super().convolution_op(inputs, _scaled(kernel, self.kernel_scale))


class FoldingDepthwiseConv2D(keras.layers.DepthwiseConv2D):  # type: ignore[misc]
    """Depthwise convolution with a scaled kernel (h, w, C, 1) and the faster one of TensorFlow's two gradient implementations."""

    kernel_scale: KernelScale | None = None

    def call(self, inputs: Any) -> Any:
        """Convolve (N, H, W, C)."""
        if self.use_bias:
            return super().call(inputs)
        kernel = _scaled(self.kernel[..., 0], self.kernel_scale)[..., None]
        return depthwise(inputs, kernel, self.strides[0], self.padding)


class LeakyReLU(keras.layers.LeakyReLU):  # type: ignore[misc]
    """Leaky ReLU with a gradient that reads the outputs, which have the same signs as the inputs.

    Therefore the inputs are not stored, and TensorFlow's graph optimiser can fuse convolution, bias and activation. If the gradient reads
    the inputs, the fusion fails and the optimiser leaves the complete step unchanged.
    """

    def call(self, inputs: Any) -> Any:
        """Apply the activation to (N, H, W, C)."""
        slope = self.negative_slope

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def leaky(inputs: Any) -> Any:
            outputs = tf.nn.leaky_relu(inputs, slope)
            return outputs, lambda upstream: tf.raw_ops.LeakyReluGrad(gradients=upstream, features=outputs, alpha=slope)

        return leaky(inputs)


def depthwise(images: Any, kernel: Any, stride: int, padding: str) -> Any:
    """Convolve each channel with its own kernel, with a fast gradient.

    oneDNN is two to five times faster than TensorFlow's own code. But it is two to four times slower for the gradient of a kernel that is
    5x5 or has a stride. TensorFlow does not pass an operation with explicit padding to oneDNN (mkl_layout_pass.cc).

    Args:
        images: (N, H, W, C).
        kernel: (h, w, C, 1).
        stride: Stride in both directions.
        padding: "valid", or "same" with stride 1.
    """
    size = int(kernel.shape[0])
    before, after = ((size - 1) // 2, size // 2) if padding == "same" else (0, 0)
    explicit_padding = [[0, 0], [before, after], [before, after], [0, 0]]
    strides, padding_name = [1, stride, stride, 1], padding.upper()

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def convolve(images: Any, kernel: Any) -> Any:
        def gradient(upstream: Any) -> tuple[Any, Any]:
            image_gradient = tf.nn.depthwise_conv2d_backprop_input(tf.shape(images), kernel, upstream, strides, padding_name)
            kernel_padding = padding_name if size == 3 and stride == 1 else explicit_padding
            return image_gradient, tf.nn.depthwise_conv2d_backprop_filter(images, kernel.shape, upstream, strides, kernel_padding)

        return tf.nn.depthwise_conv2d(images, kernel, strides, padding_name), gradient

    return convolve(images, kernel)


def fold_batch_norms(keras_network: Any, network: Network) -> None:
    """Connect each convolution to the scale of its batch norm.

    A bound method is stored instead of the layer, which Keras would track as a part of the convolution.
    """
    for layer in network:
        if isinstance(layer, Conv) and layer.normalize:
            norm = keras_network.get_layer(f"{layer.name}_bn")
            norm.folded = True
            keras_network.get_layer(layer.name).kernel_scale = norm.kernel_scale


def _scaled(kernel: Any, scale: KernelScale | None) -> Any:
    factor = None if scale is None else scale()
    return kernel if factor is None else kernel * tf.cast(factor, kernel.dtype)
