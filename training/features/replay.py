"""Add images, labelled or not, to the memory before a run (option --replay)."""

from pathlib import Path

import numpy as np

from detector.network.spec import Model
from training.data.unlabelled_images import unlabelled_images
from training.data.voc_layout import ALL, all_annotations
from training.data.voc_lists import image_sets
from training.data.voc_reader import Sample, read_set
from training.features.memory import Memory
from training.features.remember import MEMORY_SIZE, make_memory, remember


def with_replay(memory: Memory | None, model: Model, folder: Path) -> Memory:
    """Return the memory with the images of a folder, or a new memory of them.

    Args:
        memory: The model's memory, or None.
        model: The model.
        folder: VOC-style data, or a folder of images without labels. The set "train" is used if there is one.

    Raises:
        DatasetError: The folder has no images, or its annotations cannot be read.
        ConfigError: The network cannot have a memory.
    """
    samples = replay_samples(folder)
    labels = sorted({label for sample in samples for label in sample.labels})
    if memory is None:
        return make_memory(model, samples, len(samples), labels=labels)
    return memory.with_images([*memory.images, *remember(memory, model, samples, labels, MEMORY_SIZE)])


def replay_samples(folder: Path) -> list[Sample]:
    """Return the samples of a folder. In a folder without annotations, no label is exhaustive. Raises DatasetError."""
    if all_annotations(folder):
        return read_set(folder, "train" if "train" in image_sets(folder) else ALL)
    nothing = np.zeros(0, np.bool_)
    images = unlabelled_images(folder, "Give a folder of images or a VOC-style data set.")
    return [Sample(path.stem, path, np.zeros((0, 4), np.float32), (), nothing, nothing, frozenset()) for path in images]
