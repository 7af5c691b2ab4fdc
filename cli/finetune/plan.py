"""Checks of a training run that need no TensorFlow, so that a typo is reported at once."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from cli.checks import match_labels
from cli.output.progress import load_named_model
from cli.output.terminal import print_error
from detector.errors import UnknownLabel
from detector.messages import count_of, did_you_mean
from training.config.options import Config
from training.config.sizes import check_size_multiple
from training.data.voc_reader import Sample, read_set
from training.errors import ConfigError, DatasetError
from training.evaluation.new_classes import ENOUGH_STEPS
from training.recipes import find_recipe
from weights.hub.resolve import check_model

FREEZE_KEYWORDS = ("none", "backbone", "all-but-head")
USUAL_SIZE_MULTIPLE = 32  # Pixels. Every network of the catalogue accepts multiples of this.
SMALL_VALIDATION_SET = 20  # Images. With fewer images, average precision is not a reliable estimate for new images.


@dataclass(frozen=True)
class TrainingPlan:
    """A checked configuration, and the samples of each image set."""

    config: Config
    samples: Mapping[str, Sequence[Sample]]


def read_config(name_or_file: str | None, options: Mapping[str, Any]) -> Config:
    """Read a recipe or TOML file. Options that are not None override it. Raises ConfigError, OSError."""
    given = {name: value for name, value in options.items() if value is not None}
    return Config.read(find_recipe(name_or_file), given) if name_or_file else Config.of(given)


def read_plan(dataset: Path, image_sets: Sequence[str], model: str | None, config: Config) -> TrainingPlan:
    """Check data set, labels, model and frozen layer.

    Args:
        dataset: The folder of the data set.
        image_sets: Names of image sets; the first is the training set.
        model: Name or path of the initial model.
        config: Its labels are matched regardless of case. The plan has the spelling of the data set.

    Raises:
        DatasetError: An image set is missing or has no boxes.
        UnknownModel: There is no such model.
        ConfigError: The training set has no box of a label, the network has no layer with the name in `freeze`, or `sizes` do not fit it.
    """
    check_model(model)
    samples = {name: read_set(dataset, name) for name in image_sets}
    config = _with_known_labels(config, samples[image_sets[0]], dataset)
    if config.network == "model":
        check_freeze(config.freeze, model)
        check_sizes(config, model)
    return TrainingPlan(config, samples)


def _with_known_labels(config: Config, train: Sequence[Sample], dataset: Path) -> Config:
    annotated = sorted({label for sample in train for label in sample.labels})
    if not annotated:
        raise DatasetError(f"{dataset}: the training set has no boxes. 'boxwright data check {dataset}' lists its contents.")
    try:
        labels = match_labels([config.labels], annotated, "the training set")
    except UnknownLabel as error:
        raise ConfigError(f"--labels: {error}") from error
    return Config.of(config.model_dump() | {"labels": ",".join(labels)}) if labels else config


def check_freeze(freeze: str, model: str | None) -> None:
    """Check that `freeze` is a keyword or a layer of the model. Raises ConfigError."""
    if freeze in FREEZE_KEYWORDS:
        return
    layers = [layer.name for layer in load_named_model(model).spec.network]
    if freeze not in layers:
        hint = did_you_mean(freeze, (*FREEZE_KEYWORDS, *layers))
        raise ConfigError(
            f"--freeze: the network has no layer {freeze!r}.{hint} Give {', '.join(FREEZE_KEYWORDS)}, "
            f"or a layer that 'boxwright weights info {model or 'everyday'} --layers' lists."
        )


def check_sizes(config: Config, model: str | None) -> None:
    """Check that the network accepts the input sizes. A model is read only if a size is unusual. Raises ConfigError."""
    if any(size % USUAL_SIZE_MULTIPLE for _, size in config.size_plan()):
        check_size_multiple(config, load_named_model(model).spec.size_multiple)


def with_enough_steps(config: Config, images: int, given: Collection[str]) -> Config:
    """Return the configuration, with more epochs if the run would have fewer than ENOUGH_STEPS steps.

    A class that resembles no known class is not learned in fewer steps. Validations become rarer by the same factor. Options in `given`
    do not change. A configuration with `overfit` does not change at all.
    """
    epochs = ceil(ENOUGH_STEPS / ceil(images / config.batch_size))
    if config.overfit or "epochs" in given or epochs <= config.epochs:
        return config
    longer = {"epochs": epochs, "check_every": config.check_every * epochs // config.epochs}
    return Config.of(config.model_dump() | {name: value for name, value in longer.items() if name not in given})


def warn_about_small_validation_set(samples: Sequence[Sample], image_set: str) -> None:
    """Print a warning if the validation set is too small for a reliable average precision."""
    if len(samples) < SMALL_VALIDATION_SET:
        print_error(
            f"the validation set {image_set!r} has only {count_of(len(samples), 'image')}. "
            "Its AP50 is not a reliable estimate for new images.",
            warning=True,
        )
