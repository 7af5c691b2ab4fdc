"""From what is asked and the photos to what a run starts with: the labels it learns and the model that knows them."""

from collections.abc import Sequence
from dataclasses import replace

from detector.network import Conv
from detector.spec import Model
from training.config import Config
from training.data.voc_reader import Sample
from training.errors import ConfigError, DatasetError
from training.modeling.anchors import box_sizes, cluster_anchors
from training.modeling.new_heads import head_stride, untrained_backbone, with_head, without_head
from training.modeling.transfer import Start, transfer


def labels_to_learn(config: Config, train: Sequence[Sample]) -> tuple[str, ...]:
    """Those asked for, or the training set's, sorted. Raises ConfigError where one of them has no box, DatasetError where nothing has."""
    wanted = tuple(label.strip() for label in config.labels.split(",") if label.strip())
    found = {label for sample in train for label in sample.labels}
    if not found:
        raise DatasetError("the training set has no boxes: there is nothing to learn.")
    if missing := [label for label in wanted if label not in found]:
        raise ConfigError(f"labels: there is no box of {missing[0]!r} in the training set; there are {', '.join(sorted(found))}.")
    return wanted or tuple(sorted(found))


def model_to_start_with(model: Model, labels: tuple[str, ...], train: Sequence[Sample], config: Config) -> Start:
    """The model that training begins with, for the last of the run's input sizes. Raises ConfigError, NetworkError."""
    if config.network != "model":
        model = untrained_backbone(config)
    sizes = [size for _, size in config.size_plan()]
    if wrong := [size for size in sizes if size % model.spec.size_multiple]:
        raise ConfigError(f"sizes: {wrong[0]} is not a multiple of {model.spec.size_multiple}, as the network's input size must be.")
    model = replace(model, spec=replace(model.spec, input_size=sizes[-1]))
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
