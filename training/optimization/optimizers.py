"""The lecture's optimisers, each Keras's own class, with its own clipping and decoupled weight decay."""

from collections.abc import Callable
from typing import Any

import keras

from training.config import Config

_CLIPPING = {"none": None, "value": "clipvalue", "norm": "clipnorm", "global-norm": "global_clipnorm"}
"""Keras's words for ours: each number; each array's norm; the norm of all arrays together."""


def make_optimizer(config: Config) -> Any:
    """The optimiser that the config names. Its learning rate is a variable, set before each step (see `schedules`)."""
    clipping = _CLIPPING[config.clip]
    options: dict[str, Any] = {"learning_rate": config.learning_rate, **({clipping: config.clip_at} if clipping else {})}
    if config.weight_decay:
        options["weight_decay"] = config.weight_decay
    elif config.optimizer == "adamw":
        options["weight_decay"] = 0.0  # Keras's AdamW has one of its own otherwise
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
