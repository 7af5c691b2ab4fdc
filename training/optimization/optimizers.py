"""Optimizers: one Keras optimizer per parameter group, and gradient clipping across all groups."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from training.config.options import Config

_CLIPPING = {"none": None, "value": "clipvalue", "norm": "clipnorm", "global-norm": None}
"""Keras's name of each form of clipping. `GroupedOptimizer` itself clips by the global norm, which spans all groups."""


@dataclass(frozen=True, eq=False)
class ParameterGroup:
    """Variables that share a learning rate and start training at the same step."""

    variables: Sequence[Any]
    rate_factor: float = 1.0
    starts_frozen: bool = False  # if True, the group has its own warm-up when it starts training


class GroupedOptimizer:
    """One Keras optimizer per parameter group, each with its own slots and step count.

    Adam's bias correction depends on the number of steps. A layer that is unfrozen later has new moments, so its count must start at zero.
    With the count of the whole run, its first updates would be several times too large.
    """

    def __init__(self, config: Config, groups: Sequence[ParameterGroup]) -> None:
        self._config = config
        self._groups = [group for group in groups if group.variables]
        self._optimizers = [make_optimizer(config) for _ in self._groups]
        for group, optimizer in zip(self._groups, self._optimizers, strict=True):
            optimizer.exclude_from_weight_decay([variable for variable in group.variables if variable.name != "kernel"])
            optimizer.build(list(group.variables))

    @property
    def variables(self) -> list[Any]:
        """The complete state in a fixed order, for checkpoints."""
        return [variable for optimizer in self._optimizers for variable in optimizer.variables]

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate of the next step. Each group multiplies it by its factor."""
        for group, optimizer in zip(self._groups, self._optimizers, strict=True):
            optimizer.learning_rate.assign(rate * group.rate_factor * self._warmup_factor(group, int(optimizer.iterations.numpy())))

    def _warmup_factor(self, group: ParameterGroup, steps: int) -> float:
        """Return the warm-up factor of a group that was frozen at first. The schedule includes the warm-up of the other groups."""
        warmup = self._config.warmup_steps if group.starts_frozen else 0
        return (steps + 1) / (warmup + 1) if steps < warmup else 1.0

    def apply(self, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        """Clip the gradients and update the variables, which may belong to some of the groups only."""
        if self._config.clip == "global-norm":
            gradients, _ = tf.clip_by_global_norm(gradients, self._config.clip_at)
        by_path = {variable.path: (gradient, variable) for gradient, variable in zip(gradients, variables, strict=True)}
        for group, optimizer in zip(self._groups, self._optimizers, strict=True):
            if updates := [by_path[variable.path] for variable in group.variables if variable.path in by_path]:
                optimizer.apply(*map(list, zip(*updates, strict=True)))


def make_optimizer(config: Config) -> Any:
    """Return the Keras optimizer that the config names. `GroupedOptimizer` sets its learning rate before each step."""
    clipping = _CLIPPING[config.clip]
    options: dict[str, Any] = {"learning_rate": config.learning_rate, **({clipping: config.clip_at} if clipping else {})}
    if config.weight_decay:
        options["weight_decay"] = config.weight_decay
    elif config.optimizer == "adamw":
        options["weight_decay"] = 0.0  # Keras's AdamW decays weights by default
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
