"""Choose the labels that a run learns and build the model that it starts with."""

from collections.abc import Sequence
from dataclasses import replace

from detector.network.layers import Conv
from detector.network.spec import Model
from training.config.options import Config
from training.config.sizes import check_size_multiple
from training.data.voc_reader import Sample
from training.errors import ConfigError, DatasetError
from training.modeling.anchors import box_sizes, cluster_anchors
from training.modeling.new_heads import head_stride, untrained_backbone, with_head, without_head
from training.modeling.transfer import InitialModel, transfer


def labels_to_learn(config: Config, train: Sequence[Sample]) -> tuple[str, ...]:
    """Return the labels of the config, or else those of the training set, sorted.

    Raises ConfigError if the training set has no box with one of the config's labels, and DatasetError if the training set has no boxes.
    """
    chosen = tuple(label.strip() for label in config.labels.split(",") if label.strip())
    present = {label for sample in train for label in sample.labels}
    if not present:
        raise DatasetError("the training set has no boxes: there is nothing to learn.")
    if missing := [label for label in chosen if label not in present]:
        raise ConfigError(f"labels: the training set has no box of {missing[0]!r}. It has {', '.join(sorted(present))}.")
    return chosen or tuple(sorted(present))


def build_initial_model(
    model: Model, labels: tuple[str, ...], train: Sequence[Sample], config: Config, *, min_input_size: int = 0
) -> InitialModel:
    """Return the model that training starts with, for the last input size of the run.

    Args:
        model: A detector or a backbone; ignored if the config names an untrained network.
        labels: Labels to learn.
        train: Training set, for clustering anchors.
        config: Options.
        min_input_size: Minimum input size of the result. Kept classes need the input size of their model to keep their accuracy.

    Raises:
        ConfigError: The options do not fit the model.
        NetworkError: Backbone and head do not fit together.
    """
    if config.network != "model":
        model = untrained_backbone(config)
    check_size_multiple(config, model.spec.size_multiple)
    _, last_size = config.size_plan()[-1]
    model = replace(model, spec=replace(model.spec, input_size=max(last_size, min_input_size)))
    if model.spec.is_detector and config.head != "keep":
        model = without_head(model)
    anchors, reinitialised = model.spec.anchors, frozenset[str]()
    if config.anchors == "kmeans" or not anchors:
        stride = model.spec.stride if model.spec.is_detector else head_stride(model, config)
        anchors = cluster_anchors(box_sizes(train, model.spec, stride), len(anchors) or config.anchor_count, config.seed)
    if not model.spec.is_detector:
        model, reinitialised = with_head(model, labels, anchors, config)
    if config.network != "model":
        reinitialised = frozenset(layer.name for layer in model.spec.network if isinstance(layer, Conv))
    return transfer(model, labels, anchors, config, reinitialised)
