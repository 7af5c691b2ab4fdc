"""The Keras networks of one model: for each input size, and with images or the outputs of frozen layers as input."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from detector.network.keras_model import LayerTypes, assign_arrays, build_untrained_keras
from detector.network.layers import Conv, Network
from detector.network.spec import Model, ModelSpec
from training.config.options import Config
from training.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from training.modeling.layers.batch_norm import FusedBatchNorm, SynchronizedBatchNorm
from training.modeling.layers.folded_conv import FoldingConv2D, FoldingDepthwiseConv2D, LeakyReLU, fold_batch_norms

InputKind = tuple[int, tuple[str, ...]]
"""Input of a network: the input size, and the names of the layers whose outputs are given instead of images, if any."""


class SharedNetworks:
    """Networks that share the weights of a model."""

    def __init__(
        self, model: Model, config: Config, group: ProcessGroup = SINGLE_PROCESS, extra_layers: Mapping[str, Any] | None = None
    ) -> None:
        """Build the complete network.

        Args:
            model: Source of the weights.
            config: Options, of which only `precision` is used.
            group: The processes over which batch norms are synchronised.
            extra_layers: Keras layers to add, by the name of the layer before them.
        """
        self.spec, self._precision, self._group, self._extra_layers = model.spec, config.precision, group, dict(extra_layers or {})
        self.complete = self._build(self.spec)
        fold_batch_norms(self.complete, self.spec.network)
        assign_arrays(self.complete, model)
        self.rebuild()

    def rebuild(self) -> None:
        """Build the other networks again when they are needed, because another set of layers is trained."""
        self._networks: dict[InputKind, Any] = {(self.spec.input_size, ()): self.complete}

    def of(self, size: int, given: tuple[str, ...] = ()) -> Any:
        """Return the network for an input size, or its part after the `given` layers."""
        if (size, given) not in self._networks:
            spec = replace(self.spec, input_size=size)
            self._networks[size, given] = self._build(spec, share_weights_with=self.complete, feature_inputs=given)
        return self._networks[size, given]

    def logits(self, network: Any, inputs: Any, *, training: bool) -> Any:
        """Return the logits (N, G, G, A, 5 + C), in float32, of one of the networks."""
        logits = tf.cast(network(inputs, training=training), tf.float32)
        return tf.reshape(logits, (-1, *logits.shape[1:3], len(self.spec.anchors), 5 + len(self.spec.labels)))

    def _build(self, spec: ModelSpec, **options: Any) -> Any:
        batch_norm = FusedBatchNorm if self._group.count == 1 else partial(SynchronizedBatchNorm, group=self._group)
        with _dtype_policy(self._precision):
            layer_types = LayerTypes(FoldingConv2D, FoldingDepthwiseConv2D, batch_norm, LeakyReLU)
            network = build_untrained_keras(spec, extra_layers=self._extra_layers, layer_types=layer_types, **options)
        present = {layer.name for layer in network.layers}  # the part after cached features lacks the frozen layers
        for name in _float32_layers(spec.network):
            if name in present:
                network.get_layer(name).dtype_policy = "float32"
        return network


def _float32_layers(network: Network) -> list[str]:
    """Return the Keras layers that compute in float32 at every precision.

    The last layer does so for exact logits. The depthwise convolutions with their batch norms and activations do so because oneDNN takes
    two to twelve times as long for them in bfloat16.
    """
    names = [network[-1].name]
    for layer in network:
        if isinstance(layer, Conv) and layer.groups > 1:
            names += [layer.name, *([f"{layer.name}_bn"] if layer.normalize else []), f"{layer.name}_{layer.activation}"]
    return names


@contextmanager
def _dtype_policy(precision: str) -> Iterator[None]:
    """Inside the context, new Keras layers compute with this precision. Their weights are float32."""
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)
