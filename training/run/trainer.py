"""The training step: one implementation for every configuration, input size and number of workers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from detector.keras_model import LayerTypes, assign_arrays, build_untrained_keras, read_keras_arrays
from detector.network import Conv, Network
from detector.spec import Model, ModelSpec
from training.config import Config
from training.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from training.errors import CheckpointError
from training.modeling.layers.batch_norm import FusedBatchNorm, SynchronizedBatchNorm
from training.modeling.layers.dropout import SpatialAlphaDropout, shard_dropout
from training.modeling.layers.folded_conv import FoldingConv2D, FoldingDepthwiseConv2D, LeakyReLU, fold_batch_norms
from training.modeling.transfer import InitialModel, backbone_layers, hidden_head_layers
from training.optimization.loss import Loss
from training.optimization.optimizers import GroupedOptimizer, ParameterGroup

_InputKind = tuple[int, tuple[str, ...]]
"""Input of a network: images of an input size, or the outputs of these layers for such images."""


@dataclass(frozen=True, eq=False)
class StepResult:
    """Measurements of one training step."""

    terms: dict[str, float]  # of the loss, weighted and normalised
    gradients: dict[str, float]  # norm of each trained kernel's gradient before clipping, by layer
    weights: dict[str, float]  # norm of each trained kernel before the step, by layer

    @property
    def loss(self) -> float:
        """The minimised value."""
        return sum(self.terms.values())


class Trainer:
    """A network in training: its variables, their moving averages, the optimizer, and the training step."""

    def __init__(self, start: InitialModel, config: Config, frozen: frozenset[str], group: ProcessGroup = SINGLE_PROCESS) -> None:
        self.start, self.config, self.group = start, config, group
        self.spec = start.model.spec
        self.loss = Loss(self.spec, config)
        self._backbone = frozenset(backbone_layers(self.spec.network))
        self._dropouts = _dropout_layers(start.model, config, group)
        self.network = self._build_network(self.spec)
        fold_batch_norms(self.network, self.spec.network)
        assign_arrays(self.network, start.model)
        self.freeze(frozenset())
        self.optimizer = GroupedOptimizer(config, self._parameter_groups(frozen))
        self._averages = {variable.path: tf.Variable(variable) for variable in self._averaged_variables} if config.ema else {}
        self.freeze(frozen)

    def freeze(self, names: frozenset[str]) -> None:
        """Train all layers except these. A frozen batch norm uses its moving statistics and does not update them."""
        self.frozen = names
        for layer in self.spec.network:
            if isinstance(layer, Conv):
                self.network.get_layer(layer.name).trainable = layer.name not in names
                if layer.normalize:
                    trains = layer.name not in names and self._trains_batch_norm(layer.name)
                    self.network.get_layer(f"{layer.name}_bn").trainable = trains
        self._trained = list(self.network.trainable_variables)
        self._kernels = [
            layer.name for layer in self.spec.network if isinstance(layer, Conv) and self.network.get_layer(layer.name).trainable
        ]
        self._networks: dict[_InputKind, Any] = {(self.spec.input_size, ()): self.network}
        self._compiled: dict[_InputKind, Any] = {}
        # the update is compiled separately: it is half of the step's graph and the same for every input size
        self._compiled_update = tf.function(self._update, autograph=False)

    def _trains_batch_norm(self, layer: str) -> bool:
        trains = {"train": True, "head": layer not in self._backbone, "frozen": False, "off": False}
        return layer in self.start.reinitialised or trains[self.config.batch_norm]

    def _parameter_groups(self, frozen: frozenset[str]) -> list[ParameterGroup]:
        """The trained variables, grouped by learning rate and by whether they are frozen at first."""
        factors = {"new": 1.0, "head": self.config.head_rate, "backbone": self.config.backbone_rate}
        groups: dict[tuple[str, bool], list[Any]] = {(part, late): [] for part in factors for late in (False, True)}
        for layer in self.spec.network:
            if isinstance(layer, Conv):
                part = "new" if layer.name in self.start.reinitialised else "backbone" if layer.name in self._backbone else "head"
                groups[part, layer.name in frozen] += self._trainable_variables_of(layer)
        return [ParameterGroup(variables, factors[part], starts_frozen=late) for (part, late), variables in groups.items()]

    def _trainable_variables_of(self, layer: Conv) -> list[Any]:
        names = [layer.name, f"{layer.name}_bn"] if layer.normalize else [layer.name]
        return [variable for name in names for variable in self.network.get_layer(name).trainable_variables]

    def step(self, inputs: Any, targets: Mapping[str, Any], *, number: int, learning_rate: float) -> StepResult:
        """Update the weights once.

        Args:
            inputs: Images (B, S, S, 3) in 0..255, or the outputs of frozen layers by name. With several workers: this worker's shard.
            targets: The targets of these images.
            number: Number of the step, from 0.
            learning_rate: Learning rate, before the factors of the parameter groups.
        """
        self.optimizer.set_learning_rate(learning_rate)
        size = int(targets["responsible"].shape[1]) * self.spec.stride
        kind: _InputKind = (size, tuple(inputs) if isinstance(inputs, Mapping) else ())
        if kind not in self._compiled:
            network = self._network_of(*kind)  # created outside of the compiled function
            self._compiled[kind] = tf.function(partial(self._differentiate, network), autograph=False)
        terms, norms, gradients = self._compiled[kind](inputs, dict(targets), tf.constant(number))
        self._compiled_update(gradients, tf.constant(number))
        values = {name: float(term) for name, term in terms.items()}
        gradient_norms, weight_norms = (dict(zip(self._kernels, part.tolist(), strict=True)) for part in norms.numpy())
        return StepResult(values, gradient_norms, weight_norms)

    def loss_on_batch(self, images: Any, targets: Mapping[str, Any]) -> float:
        """Return the loss of a batch with the current weights, without training."""
        total, divisor = self.loss_of_logits(self._logits(self._network_of(int(images.shape[1])), images, training=False), targets)
        return total / divisor

    def loss_of_logits(self, logits: Any, targets: Mapping[str, Any]) -> tuple[float, float]:
        """Return the loss of logits (B, G, G, A, 5 + C), summed over the batch, and its divisor."""
        terms = self.loss(tf.convert_to_tensor(logits), targets, self.config.prior_photos, 1)
        return float(sum(terms.values())), float(self.loss.divisor(len(logits), self.loss.objects(targets)))

    def _network_of(self, size: int, given: tuple[str, ...] = ()) -> Any:
        """The network for an input size, or its part after the `given` layers. All networks share their weights."""
        if (size, given) not in self._networks:
            spec = replace(self.spec, input_size=size)
            self._networks[size, given] = self._build_network(spec, share_weights_with=self.network, feature_inputs=given)
        return self._networks[size, given]

    def _build_network(self, spec: ModelSpec, **options: Any) -> Any:
        batch_norm = FusedBatchNorm if self.group.count == 1 else partial(SynchronizedBatchNorm, group=self.group)
        with _dtype_policy(self.config.precision):
            layer_types = LayerTypes(FoldingConv2D, FoldingDepthwiseConv2D, batch_norm, LeakyReLU)
            network = build_untrained_keras(spec, extra_layers=self._dropouts, layer_types=layer_types, **options)
        for name in _float32_layers(spec.network):
            network.get_layer(name).dtype_policy = "float32"
        return network

    def _logits(self, network: Any, inputs: Any, *, training: bool) -> Any:
        logits = tf.cast(network(inputs, training=training), tf.float32)
        return tf.reshape(logits, (-1, *logits.shape[1:3], len(self.spec.anchors), 5 + len(self.spec.labels)))

    def _differentiate(self, network: Any, inputs: Any, targets: Any, number: Any) -> Any:
        """The loss terms, the norms for a StepResult, and the gradients of all trained variables."""
        batch = self.config.batch_size
        objects = self.loss.objects(targets)
        divisor = self.loss.divisor(batch, *self.group.sum([objects]))
        kernels = [self.network.get_layer(name).kernel for name in self._kernels]
        with tf.GradientTape() as tape:
            logits = self._logits(network, inputs, training=True)
            terms = self.loss(logits, targets, number * batch, divisor)
            if self.config.l2:
                terms["l2"] = self.config.l2 / self.group.count * sum(tf.nn.l2_loss(kernel.value) for kernel in kernels)
            total = tf.add_n(list(terms.values()))
        gradients = tape.gradient(total, [variable.value for variable in self._trained])
        *gradients, summed_terms = self.group.sum([*gradients, tf.stack(list(terms.values()))])  # before clipping
        terms = dict(zip(terms, tf.unstack(summed_terms), strict=True))
        by_path = {variable.path: gradient for variable, gradient in zip(self._trained, gradients, strict=True)}
        norms = tf.stack([[_norm(by_path[kernel.path]) for kernel in kernels], [_norm(kernel.value) for kernel in kernels]])
        return terms, norms, gradients

    def _update(self, gradients: Any, number: Any) -> None:
        self.optimizer.apply(gradients, self._trained)
        self._update_averages(number)

    def _update_averages(self, number: Any) -> None:
        """Apply average += (1 - decay) * (weight - average). Variables that do not change keep their exact average.

        The decay is lower in the first steps.
        """
        age = tf.cast(number, tf.float32)
        decay = tf.minimum(self.config.ema, (1 + age) / (10 + age))
        for variable in self._changing_variables if self._averages else ():
            average = self._averages[variable.path]
            average.assign_add((1 - decay) * (variable.value - average))

    @property
    def _changing_variables(self) -> list[Any]:
        """The averaged variables that a step changes: trained ones, and the statistics of trained batch norms."""
        frozen = {variable.path for layer in self.network.layers if not layer.trainable for variable in layer.variables}
        return [variable for variable in self._averaged_variables if variable.path not in frozen]

    @property
    def _averaged_variables(self) -> list[Any]:
        return [variable for variable in self.network.variables if keras.backend.is_float_dtype(variable.dtype)]

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Inside the context, the network's weights are their moving averages."""
        weights = [(variable, variable.numpy()) for variable in self._averaged_variables]
        for variable, _ in weights:
            if self._averages:
                variable.assign(self._averages[variable.path])
        try:
            yield
        finally:
            for variable, value in weights:
                variable.assign(value)

    def model(self, name: str, provenance: Mapping[str, str]) -> Model:
        """Return the current model. Inside `averaged_weights` it has the averaged weights."""
        return Model(name, self.spec, read_keras_arrays(self.network, self.spec), dict(provenance))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all arrays that determine the further training."""
        return {name: np.asarray(variable) for name, variable in self._variables().items()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restore what `state` returned. Raises CheckpointError if it belongs to another network or optimizer."""
        variables = self._variables()
        for name in variables.keys() | state.keys():
            if name not in state or name not in variables or tuple(state[name].shape) != tuple(variables[name].shape):
                raise CheckpointError(f"the checkpoint belongs to another run: {name!r} does not fit. Start a new run.")
        for name, variable in variables.items():
            variable.assign(state[name])

    def _variables(self) -> dict[str, Any]:
        """All variables by names that, unlike Keras's paths, do not depend on other networks created in this process."""
        named = {f"network/{index}/{variable.name}": variable for index, variable in enumerate(self.network.variables)}
        named |= {f"optimizer/{index}/{variable.name}": variable for index, variable in enumerate(self.optimizer.variables)}
        return named | {f"average/{path}": variable for path, variable in self._averages.items()}


def _float32_layers(network: Network) -> list[str]:
    """Keras layers that compute in float32 at every precision.

    These are the last layer, for exact logits, and the depthwise convolutions with their batch norms and activations: in bfloat16, oneDNN
    takes two to twelve times as long for them.
    """
    names = [network[-1].name]
    for layer in network:
        if isinstance(layer, Conv) and layer.groups > 1:
            names += [layer.name, *([f"{layer.name}_bn"] if layer.normalize else []), f"{layer.name}_{layer.activation}"]
    return names


def _norm(array: Any) -> Any:
    """Euclidean norm in one pass; tf.norm stores all squares first."""
    return tf.sqrt(2 * tf.nn.l2_loss(array))


@contextmanager
def _dtype_policy(precision: str) -> Iterator[None]:
    """Inside the context, new Keras layers compute with this precision. Their weights are float32."""
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)


def _dropout_layers(model: Model, config: Config, group: ProcessGroup) -> dict[str, Any]:
    """Dropout after each hidden convolution of the head, by layer.

    Complete channels are dropped, because neighbours in a channel are similar (arXiv 1411.4280). After SELU, alpha dropout keeps mean and
    variance (arXiv 1706.02515).
    """
    if not config.dropout:
        return {}
    return {layer.name: _dropout(layer, config, index, group) for index, layer in enumerate(hidden_head_layers(model.spec.network))}


def _dropout(layer: Conv, config: Config, index: int, group: ProcessGroup) -> Any:
    kind = SpatialAlphaDropout if layer.activation == "selu" else keras.layers.SpatialDropout2D
    if group.count > 1:
        kind = shard_dropout(kind, group.shard, config.batch_size)
    return kind(config.dropout, seed=config.seed + index, name=f"{layer.name}_dropout")
