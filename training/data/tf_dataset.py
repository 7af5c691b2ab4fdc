"""Batches as a tf.data pipeline that prepares them ahead of time in several threads."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from detector.engines.cores import usable_cores
from training.data.batches import Batches
from training.data.targets import Targets


def stream_batches(batches: Batches, first: int, end: int, *, threads: int | None = None) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield the batches first, first + 1, ..., end - 1 as tensors, in order.

    Args:
        batches: Source of the batches.
        first: First step.
        end: Step after the last one.
        threads: Number of threads that prepare batches. None: one per core.

    Raises:
        DatasetError, ImageError, OSError: As raised by `Batches.batch`, not wrapped in TensorFlow's errors.
    """
    failures: list[Exception] = []
    lock = threading.Lock()
    names = list(Targets.__annotations__)
    types = (tf.float32, *(tf.int32 if name.endswith("class_ids") else tf.float32 for name in names))

    def make(step: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        try:
            images, targets = batches.batch(int(step))
        except Exception as error:
            with lock:
                failures.append(error)
            raise
        return images, *(targets[name] for name in names)  # type: ignore[literal-required]

    def from_step(step: Any) -> Any:
        return tf.numpy_function(make, [step], types, stateful=False)  # only stateless functions run in parallel with determinism

    data = tf.data.Dataset.range(first, end).map(from_step, num_parallel_calls=threads or usable_cores(), deterministic=True).prefetch(2)
    try:
        for images, *targets in data:
            yield images, dict(zip(names, targets, strict=True))
    except tf.errors.OpError as error:
        if failures:
            raise failures[0] from error
        raise
