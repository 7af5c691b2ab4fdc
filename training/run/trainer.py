"""The training step: one implementation for every configuration, input size and number of workers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from detector.network.keras_model import assign_arrays, read_keras_arrays
from detector.network.layers import Conv
from detector.network.spec import Model
from training.config.options import Config
from training.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from training.errors import CheckpointError
from training.modeling.layers.dropout import dropout_layers
from training.modeling.networks import InputKind, SharedNetworks
from training.modeling.transfer import InitialModel, backbone_layers, hidden_head_layers
from training.optimization.distillation import distillation_loss, outside_of_objects
from training.optimization.loss import Loss
from training.optimization.optimizers import GroupedOptimizer, ParameterGroup

RememberedBatch = tuple[Mapping[str, Any], Mapping[str, Any]]
"""Features by layer and targets, see `training.features.memory_batches`."""


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

    def __init__(
        self, start: InitialModel, config: Config, frozen: frozenset[str], group: ProcessGroup = SINGLE_PROCESS, *, kept_classes: int = 0
    ) -> None:
        """Prepare the training of a model.

        Args:
            start: The initial model.
            config: Options.
            frozen: Layers that are not trained at first.
            group: The processes that train together.
            kept_classes: Number of classes, the first ones, whose initial outputs are preserved; see `training.optimization.distillation`.
        """
        self.start, self.config, self.group = start, config, group
        self.spec = start.model.spec
        self.loss = Loss(self.spec, config, start.rare_labels)
        self._backbone = frozenset(backbone_layers(self.spec.network))
        dropouts = dropout_layers(hidden_head_layers(self.spec.network), config, group)
        self.networks = SharedNetworks(start.model, config, group, dropouts)
        self.network = self.networks.complete
        self._kept_classes = kept_classes
        self._initial_networks = SharedNetworks(start.model, config) if kept_classes else None
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
        self.networks.rebuild()
        self._compiled: dict[tuple[InputKind, ...], Any] = {}
        # the update is compiled separately, because it is half of the step's graph and equal for all input sizes
        self._compiled_update = tf.function(self._update, autograph=False)

    def _trains_batch_norm(self, layer: str) -> bool:
        trains = {"train": True, "head": layer not in self._backbone, "frozen": False, "off": False}
        return layer in self.start.reinitialised or trains[self.config.batch_norm]

    def _parameter_groups(self, frozen: frozenset[str]) -> list[ParameterGroup]:
        """Return the trained variables, grouped by learning rate and by whether they are frozen at first."""
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

    def step(
        self, inputs: Any, targets: Mapping[str, Any], *, number: int, learning_rate: float, remembered: RememberedBatch | None = None
    ) -> StepResult:
        """Update the weights once.

        Args:
            inputs: Images (B, S, S, 3) in 0..255, or the outputs of frozen layers by name. With several workers: this worker's shard.
            targets: The targets of these images.
            number: Number of the step, from 0.
            learning_rate: Learning rate, before the factors of the parameter groups.
            remembered: Features and targets of remembered images, which extend the batch. Their input size may differ.
        """
        self.optimizer.set_learning_rate(learning_rate)
        parts = [(inputs, dict(targets)), *([(remembered[0], dict(remembered[1]))] if remembered else [])]
        kinds = tuple(self._input_kind(*part) for part in parts)
        if kinds not in self._compiled:
            networks = [self.networks.of(*kind) for kind in kinds]  # created outside of the compiled function
            initial = [self._initial_networks.of(*kind) for kind in kinds] if self._initial_networks else []
            self._compiled[kinds] = tf.function(partial(self._differentiate, networks, initial), autograph=False)
        terms, norms, gradients = self._compiled[kinds](parts, tf.constant(number))
        self._compiled_update(gradients, tf.constant(number))
        values = {name: float(term) for name, term in terms.items()}
        gradient_norms, weight_norms = (dict(zip(self._kernels, part.tolist(), strict=True)) for part in norms.numpy())
        return StepResult(values, gradient_norms, weight_norms)

    def _input_kind(self, inputs: Any, targets: Mapping[str, Any]) -> InputKind:
        size = int(targets["responsible"].shape[1]) * self.spec.stride
        return size, tuple(inputs) if isinstance(inputs, Mapping) else ()

    def logits_of_features(self, features: Mapping[str, Any], size: int) -> NDArray[np.float32]:
        """Return the logits (N, G, G, A, 5 + C) of features, which frozen layers computed from images of `size` pixels."""
        logits: NDArray[np.float32] = self.networks.logits(self.networks.of(size, tuple(features)), features, training=False).numpy()
        return logits

    def loss_on_batch(self, images: Any, targets: Mapping[str, Any]) -> float:
        """Return the loss of a batch with the current weights, without training."""
        logits = self.networks.logits(self.networks.of(int(images.shape[1])), images, training=False)
        total, divisor = self.loss_of_logits(logits, targets)
        return total / divisor

    def loss_of_logits(self, logits: Any, targets: Mapping[str, Any]) -> tuple[float, float]:
        """Return the loss of logits (B, G, G, A, 5 + C), summed over the batch, and its divisor."""
        terms = self.loss(tf.convert_to_tensor(logits), targets, self.config.prior_photos, 1)
        return float(sum(terms.values())), float(self.loss.divisor(len(logits), self.loss.objects(targets)))

    def _differentiate(self, networks: Sequence[Any], initial: Sequence[Any], parts: Sequence[tuple[Any, Any]], number: Any) -> Any:
        """Return the loss terms, the norms for a StepResult, and the gradients of all trained variables.

        A part of the batch is a pair of inputs and targets: the images, and possibly the remembered images. Each part has its network.
        If the outputs of the initial model are preserved, each part also has a network with the initial weights.
        """
        batch, remembered = self.config.batch_size, self.config.memory_batch_size
        objects = self.group.sum([self.loss.objects(targets) for _, targets in parts])
        divisor = self.loss.divisor(batch + (remembered if len(parts) > 1 else 0), tf.add_n(objects))
        kernels = [self.network.get_layer(name).kernel for name in self._kernels]
        with tf.GradientTape() as tape:
            logits = [self.networks.logits(network, part[0], training=True) for network, part in zip(networks, parts, strict=True)]
            by_part = [self.loss(each, part[1], number * batch, divisor) for each, part in zip(logits, parts, strict=True)]
            terms = {name: tf.add_n([each[name] for each in by_part]) for name in by_part[0]}
            if initial:  # has another divisor, so that its weight does not depend on the number of objects in the new images
                distilled = self._distillation(initial, parts, logits)
                terms["distillation"] = self.config.distillation * distilled / self.loss.divisor(remembered, objects[-1])
            if self.config.l2:
                terms["l2"] = self.config.l2 / self.group.count * sum(tf.nn.l2_loss(kernel.value) for kernel in kernels)
            total = tf.add_n(list(terms.values()))
        gradients = tape.gradient(total, [variable.value for variable in self._trained])
        *gradients, summed_terms = self.group.sum([*gradients, tf.stack(list(terms.values()))])  # before clipping
        terms = dict(zip(terms, tf.unstack(summed_terms), strict=True))
        by_path = {variable.path: gradient for variable, gradient in zip(self._trained, gradients, strict=True)}
        norms = tf.stack([[_norm(by_path[kernel.path]) for kernel in kernels], [_norm(kernel.value) for kernel in kernels]])
        return terms, norms, gradients

    def _distillation(self, networks: Sequence[Any], parts: Sequence[tuple[Any, Any]], logits: Sequence[Any]) -> Any:
        """Return the sum of `distillation_loss` over the images, outside of their objects, and over the remembered images."""
        assert self._initial_networks
        total = 0.0
        for position, (network, (inputs, targets), actual) in enumerate(zip(networks, parts, logits, strict=True)):
            initial = self._initial_networks.logits(network, inputs, training=False)[..., : 5 + self._kept_classes]
            where = outside_of_objects(initial, targets["truth"], self.spec) if position == 0 else 1.0
            total += distillation_loss(actual, initial, where)
        return total

    def _update(self, gradients: Any, number: Any) -> None:
        self.optimizer.apply(gradients, self._trained)
        self._update_averages(number)

    def _update_averages(self, number: Any) -> None:
        """Apply average += (1 - decay) * (weight - average), with a lower decay in the first steps.

        Variables that do not change keep their exact average.
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
        with self._restored_weights():
            for variable in self._averaged_variables if self._averages else ():
                variable.assign(self._averages[variable.path])
            yield

    @contextmanager
    def weights_of(self, model: Model) -> Iterator[None]:
        """Inside the context, the network has the weights of a model with the same layers."""
        with self._restored_weights():
            assign_arrays(self.network, model)
            yield

    @contextmanager
    def _restored_weights(self) -> Iterator[None]:
        """At the end of the context, the network gets the weights that it had before."""
        weights = [(variable, variable.numpy()) for variable in self.network.variables]
        try:
            yield
        finally:
            for variable, value in weights:
                variable.assign(value)

    def model(self, name: str, provenance: Mapping[str, str]) -> Model:
        """Return the current model. Inside `averaged_weights` it has the averaged weights."""
        return Model(name, self.spec, read_keras_arrays(self.network, self.spec), dict(provenance))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all arrays that the rest of the training depends on."""
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
        """Return all variables by name. Unlike Keras's paths, the names do not depend on other networks in this process."""
        named = {f"network/{index}/{variable.name}": variable for index, variable in enumerate(self.network.variables)}
        named |= {f"optimizer/{index}/{variable.name}": variable for index, variable in enumerate(self.optimizer.variables)}
        return named | {f"average/{path}": variable for path, variable in self._averages.items()}


def _norm(array: Any) -> Any:
    """Return the Euclidean norm, computed in one pass. tf.norm would store all squares first."""
    return tf.sqrt(2 * tf.nn.l2_loss(array))
