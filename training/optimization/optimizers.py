"""Optimizers: one Keras optimizer per part of the network, and gradient clipping over all parts together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from training.config import Config

_CLIPPING = {"none": None, "value": "clipvalue", "norm": "clipnorm", "global-norm": None}
"""Keras's name of each form of clipping. `PartOptimizer` clips by the global norm, which is that of all parts."""


@dataclass(frozen=True, eq=False)
class Part:
    """Variables that share a learning rate and begin to train in the same step."""

    variables: Sequence[Any]
    rate_factor: float = 1.0
    starts_frozen: bool = False  # they warm up on their own once they train


class PartOptimizer:
    """One Keras optimizer per part, each with its own slots and step count.

    Adam corrects the bias of its moments by the number of steps. A layer that is unfrozen late has fresh moments, so it needs a count that
    begins at zero with it; with the count of the whole run its first steps would be several times too long.
    """

    def __init__(self, config: Config, parts: Sequence[Part]) -> None:
        self._config = config
        self._parts = [part for part in parts if part.variables]
        self._optimizers = [make_optimizer(config) for _ in self._parts]
        for part, optimizer in zip(self._parts, self._optimizers, strict=True):
            optimizer.exclude_from_weight_decay([variable for variable in part.variables if variable.name != "kernel"])
            optimizer.build(list(part.variables))

    @property
    def variables(self) -> list[Any]:
        """All state, in a fixed order, for checkpoints."""
        return [variable for optimizer in self._optimizers for variable in optimizer.variables]

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next step; each part takes it times its factor."""
        for part, optimizer in zip(self._parts, self._optimizers, strict=True):
            optimizer.learning_rate.assign(rate * part.rate_factor * self._warm_up(part, int(optimizer.iterations.numpy())))

    def _warm_up(self, part: Part, steps: int) -> float:
        """The rise from 0 of a part that was frozen. The schedule itself warms up what trains from the first step."""
        warm = self._config.warmup_steps if part.starts_frozen else 0
        return (steps + 1) / (warm + 1) if steps < warm else 1.0

    def apply(self, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        """Clip the gradients, and move the variables, which are those of some or all parts."""
        if self._config.clip == "global-norm":
            gradients, _ = tf.clip_by_global_norm(gradients, self._config.clip_at)
        by_path = {variable.path: (gradient, variable) for gradient, variable in zip(gradients, variables, strict=True)}
        for part, optimizer in zip(self._parts, self._optimizers, strict=True):
            if moved := [by_path[variable.path] for variable in part.variables if variable.path in by_path]:
                optimizer.apply(*map(list, zip(*moved, strict=True)))


def make_optimizer(config: Config) -> Any:
    """Return the Keras optimizer that the config names. `PartOptimizer` sets its learning rate before each step."""
    clipping = _CLIPPING[config.clip]
    options: dict[str, Any] = {"learning_rate": config.learning_rate, **({clipping: config.clip_at} if clipping else {})}
    if config.weight_decay:
        options["weight_decay"] = config.weight_decay
    elif config.optimizer == "adamw":
        options["weight_decay"] = 0.0  # Keras's AdamW has a default of its own
    return _CLASSES[config.optimizer](config, options)


_CLASSES: dict[str, Callable[[Config, dict[str, Any]], Any]] = {
    "sgd": lambda _, options: keras.optimizers.SGD(**options),
    "momentum": lambda config, options: keras.optimizers.SGD(momentum=config.momentum, **options),
    "nesterov": lambda config, options: keras.optimizers.SGD(momentum=config.momentum, nesterov=True, **options),
    "adagrad": lambda _, options: keras.optimizers.Adagrad(**options),
    "rmsprop": lambda _, options: keras.optimizers.RMSprop(**options),
    "adam": lambda _, options: keras.optimizers.Adam(**options),
    "adamw": lambda _, options: keras.optimizers.AdamW(**options),
}
