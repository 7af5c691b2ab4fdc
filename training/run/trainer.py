"""One training step: the same function whatever is trained, at whatever input size, by one worker or several."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from detector.keras_model import LayerTypes, assign, empty_keras, read_back
from detector.network import Conv
from detector.spec import Model, ModelSpec
from training.config import Config
from training.distributed.process_group import ALONE, Team
from training.errors import CheckpointError
from training.modeling.layers.batch_norm import FusedBatchNorm, SynchronizedBatchNorm
from training.modeling.layers.dropout import SpatialAlphaDropout, shard_dropout
from training.modeling.layers.folded_conv import FoldingConv2D, FoldingDepthwiseConv2D, LeakyReLU, fold_batch_norms
from training.modeling.transfer import Start, backbone, hidden_of_head
from training.optimization.loss import Loss
from training.optimization.optimizers import Part, PartOptimizer

Reads = tuple[int, tuple[str, ...]]
"""What a network reads: photos of an input size, or the outputs of layers that saw them."""


@dataclass(frozen=True, eq=False)
class StepReport:
    """What one step says of itself."""

    terms: dict[str, float]  # of the loss, weighted and normalised
    gradients: dict[str, float]  # norm of each trained kernel's gradient before clipping, by layer
    weights: dict[str, float]  # norm of each trained kernel before the step, by layer

    @property
    def loss(self) -> float:
        """What was minimised."""
        return sum(self.terms.values())


class Trainer:
    """A network in training: its variables, their moving averages, the optimiser, and the step that moves them."""

    def __init__(self, start: Start, config: Config, frozen: frozenset[str], team: Team = ALONE) -> None:
        self.start, self.config, self.team = start, config, team
        self.spec = start.model.spec
        self.loss = Loss(self.spec, config)
        self._backbone = frozenset(backbone(self.spec.network))
        self._dropouts = _dropouts(start.model, config, team)
        self.network = self._made(self.spec)
        fold_batch_norms(self.network, self.spec.network)
        assign(self.network, start.model)
        self.freeze(frozenset())
        self.optimizer = PartOptimizer(config, self._parts(frozen))
        self._averages = {variable.path: tf.Variable(variable) for variable in self._averaged} if config.ema else {}
        self.freeze(frozen)

    def freeze(self, names: frozenset[str]) -> None:
        """Train all layers but these. A frozen batch norm uses its moving statistics and leaves them as they are."""
        self.frozen = names
        for layer in self.spec.network:
            if isinstance(layer, Conv):
                self.network.get_layer(layer.name).trainable = layer.name not in names
                if layer.normalize:
                    self.network.get_layer(f"{layer.name}_bn").trainable = layer.name not in names and self._batch_norm_trains(layer.name)
        self._trained = list(self.network.trainable_variables)
        self._kernels = [
            layer.name for layer in self.spec.network if isinstance(layer, Conv) and self.network.get_layer(layer.name).trainable
        ]
        self._networks: dict[Reads, Any] = {(self.spec.input_size, ()): self.network}
        self._compiled: dict[Reads, Any] = {}
        self._move = tf.function(self._moved, autograph=False)  # apart, as it is the same at every size: half of what there is to compile

    def _batch_norm_trains(self, layer: str) -> bool:
        trains = {"train": True, "head": layer not in self._backbone, "frozen": False, "off": False}
        return layer in self.start.new or trains[self.config.batch_norm]

    def _parts(self, frozen: frozenset[str]) -> list[Part]:
        """The trained variables by learning rate and by whether they are frozen at first."""
        rates = {"new": 1.0, "head": self.config.head_rate, "backbone": self.config.backbone_rate}
        groups: dict[tuple[str, bool], list[Any]] = {(place, late): [] for place in rates for late in (False, True)}
        for layer in self.spec.network:
            if isinstance(layer, Conv):
                place = "new" if layer.name in self.start.new else "backbone" if layer.name in self._backbone else "head"
                groups[place, layer.name in frozen] += self._variables_of(layer)
        return [Part(variables, rates[place], starts_frozen=late) for (place, late), variables in groups.items()]

    def _variables_of(self, layer: Conv) -> list[Any]:
        names = [layer.name, f"{layer.name}_bn"] if layer.normalize else [layer.name]
        return [variable for name in names for variable in self.network.get_layer(name).trainable_variables]

    def step(self, seen: Any, targets: Mapping[str, Any], *, number: int, rate: float) -> StepReport:
        """Move the weights once. number: of this step, from 0; rate: the learning rate.

        seen: images (B, S, S, 3), 0..255, or our share of a batch's; or what the layers that the rest of the network reads say of
        them, by name, in its order.
        """
        self.optimizer.set_rate(rate)
        size = int(targets["responsible"].shape[1]) * self.spec.stride
        reads: Reads = (size, tuple(seen) if isinstance(seen, Mapping) else ())
        if reads not in self._compiled:
            network = self._network_of(*reads)  # made outside of the compiled function
            self._compiled[reads] = tf.function(partial(self._differentiated, network), autograph=False)
        terms, norms, gradients = self._compiled[reads](seen, dict(targets), tf.constant(number))
        self._move(gradients, tf.constant(number))
        values = {name: float(term) for name, term in terms.items()}
        gradients, weights = (dict(zip(self._kernels, part.tolist(), strict=True)) for part in norms.numpy())
        return StepReport(values, gradients, weights)

    def loss_of(self, images: Any, targets: Mapping[str, Any]) -> float:
        """The loss on a batch without training, with the weights as they are now."""
        total, divisor = self.loss_of_raw(self._raw(self._network_of(int(images.shape[1])), images, training=False), targets)
        return total / divisor

    def loss_of_raw(self, raw: Any, targets: Mapping[str, Any]) -> tuple[float, float]:
        """The loss of logits (B, G, G, A, 5 + C), summed over the batch, and what to divide it by."""
        terms = self.loss(tf.convert_to_tensor(raw), targets, self.config.prior_photos, 1)
        return float(sum(terms.values())), float(self.loss.divisor(len(raw), self.loss.objects(targets)))

    def _network_of(self, size: int, given: tuple[str, ...] = ()) -> Any:
        """The network for an input size, or what of it comes after the layers given; all of them share their weights."""
        if (size, given) not in self._networks:
            spec = replace(self.spec, input_size=size)
            self._networks[size, given] = self._made(spec, shared=self.network, given=given)
        return self._networks[size, given]

    def _made(self, spec: ModelSpec, **options: Any) -> Any:
        batch_norm = FusedBatchNorm if self.team.count == 1 else partial(SynchronizedBatchNorm, team=self.team)
        with _arithmetic(self.config.precision):
            kinds = LayerTypes(FoldingConv2D, FoldingDepthwiseConv2D, batch_norm, LeakyReLU)
            network = empty_keras(spec, after=self._dropouts, kinds=kinds, **options)
        network.get_layer(spec.network[-1].name).dtype_policy = "float32"
        return network

    def _raw(self, network: Any, seen: Any, *, training: bool) -> Any:
        raw = tf.cast(network(seen, training=training), tf.float32)
        return tf.reshape(raw, (-1, *raw.shape[1:3], len(self.spec.anchors), 5 + len(self.spec.labels)))

    def _differentiated(self, network: Any, seen: Any, targets: Any, number: Any) -> Any:
        """The loss's terms, norms as in a StepReport, and the gradients of all that is trained."""
        batch = self.config.batch_size
        objects = self.loss.objects(targets)
        divisor = self.loss.divisor(batch, *self.team.sum([objects]))
        kernels = [self.network.get_layer(name).kernel for name in self._kernels]
        with tf.GradientTape() as tape:
            raw = self._raw(network, seen, training=True)
            terms = self.loss(raw, targets, number * batch, divisor)
            if self.config.l2:
                terms["l2"] = self.config.l2 / self.team.count * sum(tf.nn.l2_loss(kernel.value) for kernel in kernels)
            total = tf.add_n(list(terms.values()))
        gradients = tape.gradient(total, [variable.value for variable in self._trained])
        *gradients, summed = self.team.sum([*gradients, tf.stack(list(terms.values()))])  # before anything is clipped
        terms = dict(zip(terms, tf.unstack(summed), strict=True))
        by_path = {variable.path: gradient for variable, gradient in zip(self._trained, gradients, strict=True)}
        norms = tf.stack([[_norm(by_path[kernel.path]) for kernel in kernels], [_norm(kernel.value) for kernel in kernels]])
        return terms, norms, gradients

    def _moved(self, gradients: Any, number: Any) -> None:
        self.optimizer.apply(gradients, self._trained)
        self._move_averages(number)

    def _move_averages(self, number: Any) -> None:
        """Average += (1 - decay) * (weight - average): what does not move stays as it is to the bit. Young averages forget faster."""
        age = tf.cast(number, tf.float32)
        decay = tf.minimum(self.config.ema, (1 + age) / (10 + age))
        for variable in self._moving if self._averages else ():
            average = self._averages[variable.path]
            average.assign_add((1 - decay) * (variable.value - average))

    @property
    def _moving(self) -> list[Any]:
        """Of the averaged variables those that a step changes: what is trained, and the statistics of a batch norm that trains."""
        still = {variable.path for layer in self.network.layers if not layer.trainable for variable in layer.variables}
        return [variable for variable in self._averaged if variable.path not in still]

    @property
    def _averaged(self) -> list[Any]:
        return [variable for variable in self.network.variables if keras.backend.is_float_dtype(variable.dtype)]

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the network has its moving averages for weights."""
        weights = [(variable, variable.numpy()) for variable in self._averaged]
        for variable, _ in weights:
            if self._averages:
                variable.assign(self._averages[variable.path])
        try:
            yield
        finally:
            for variable, value in weights:
                variable.assign(value)

    def model(self, name: str, provenance: Mapping[str, str]) -> Model:
        """The model as it is now; inside `averaged`, of the moving averages."""
        return Model(name, self.spec, read_back(self.network, self.spec), dict(provenance))

    def state(self) -> dict[str, NDArray[Any]]:
        """All numbers that training goes on from."""
        return {name: np.asarray(variable) for name, variable in self._variables().items()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave. Raises CheckpointError where it belongs to another network or optimiser."""
        variables = self._variables()
        for name in variables.keys() | state.keys():
            if name not in state or name not in variables or tuple(state[name].shape) != tuple(variables[name].shape):
                raise CheckpointError(f"the checkpoint is of another run: {name!r} does not fit. Start a new run.")
        for name, variable in variables.items():
            variable.assign(state[name])

    def _variables(self) -> dict[str, Any]:
        """By names that do not count how many networks and optimisers a process has made, as Keras's paths do."""
        named = {f"network/{index}/{variable.name}": variable for index, variable in enumerate(self.network.variables)}
        named |= {f"optimizer/{index}/{variable.name}": variable for index, variable in enumerate(self.optimizer.variables)}
        return named | {f"average/{path}": variable for path, variable in self._averages.items()}


def _norm(array: Any) -> Any:
    """Euclid's, in one pass, where tf.norm writes all squares first."""
    return tf.sqrt(2 * tf.nn.l2_loss(array))


@contextmanager
def _arithmetic(precision: str) -> Iterator[None]:
    """Inside, Keras layers are made that compute in that type; their weights are float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _dropouts(model: Model, config: Config, team: Team) -> dict[str, Any]:
    """Dropout after each hidden convolution of the head, by layer. Convolutions: neighbours in a channel are alike, so whole
    channels are dropped (arXiv 1411.4280); after selu, by alpha dropout, which keeps mean and variance (arXiv 1706.02515)."""
    if not config.dropout:
        return {}
    return {layer.name: _dropout(layer, config, index, team) for index, layer in enumerate(hidden_of_head(model.spec.network))}


def _dropout(layer: Conv, config: Config, index: int, team: Team) -> Any:
    kind = SpatialAlphaDropout if layer.activation == "selu" else keras.layers.SpatialDropout2D
    if team.count > 1:
        kind = shard_dropout(kind, team.share, config.batch_size)
    return kind(config.dropout, seed=config.seed + index, name=f"{layer.name}_dropout")
