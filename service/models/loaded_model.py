"""A model that is ready to detect, and the memory that it takes."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import prod
from typing import Self

import numpy as np

from detector.detector import Detector
from detector.engines import Engine, ParallelEngine
from detector.engines.cores import usable_cores
from detector.engines.onnxruntime import LANES_UP_TO
from detector.quantization import Quantization
from detector.shapes import array_shapes, parameters, trace
from detector.spec import ModelFacts, ModelSpec

FIRST_VERSION = "1"
"""Version of a model that does not come from a model folder."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A detector with its metadata. The engine alone holds the weights.

    A request keeps its model from start to end. A model that has been replaced is freed when its last request ends.
    """

    name: str
    detector: Detector
    parameters: int  # number of weights
    provenance: Mapping[str, str]
    version: str = FIRST_VERSION
    memory: int = 0  # bytes, estimated
    file: str | None = None  # path in the model folder
    max_concurrency: int = 1  # parallel calls of the engine
    thread_pool: ThreadPoolExecutor = field(default_factory=lambda: _network_threads(1), repr=False)  # the engine is called here only

    @classmethod
    def of(
        cls,
        model: ModelFacts,
        engine: Engine,
        *,
        name: str | None = None,
        version: str = FIRST_VERSION,
        file: str | None = None,
        max_concurrency: int | None = None,
    ) -> Self:
        """Wrap an engine and warm it up with one image, so that the first request is not slower.

        Args:
            model: Spec and metadata of the model in the engine.
            engine: The loaded engine.
            name: Name to serve the model by; the model's own if None.
            version: Version to serve the model by.
            file: Path in the model folder.
            max_concurrency: Parallel calls of the engine. None: one per core if the engine supports it, else one.
        """
        concurrency = max_concurrency or (usable_cores() if isinstance(engine, ParallelEngine) else 1)
        spec = model.spec
        loaded = cls(
            name or model.name,
            Detector(spec, engine),
            parameters(spec.network),
            dict(model.provenance),
            version,
            estimate_memory(spec, model.quantization),
            file,
            concurrency,
            _network_threads(concurrency),
        )
        loaded.thread_pool.submit(loaded.detector.detect, np.zeros((spec.input_size, spec.input_size, 3), np.uint8)).result()
        return loaded

    @property
    def engine(self) -> str:
        """Name of the engine, such as "onnxruntime"."""
        return self.detector.engine.name


def estimate_memory(spec: ModelSpec, quantization: Quantization | None) -> int:
    """Estimate the bytes of a loaded model: its weights, and twice the largest activations of two consecutive layers.

    A model of up to LANES_UP_TO bytes counts twice, for its second session. Without that factor the estimate compares with the measured
    growth of the process as follows (MiB): everyday 48 and 43, everyday-int8 26 and 26, YOLOv2 246 and 239.
    """
    in_8_bits = {f"{name}/kernel" for name in quantization.layers} if quantization else set()
    weights = sum(prod(shape) * (1 if name in in_8_bits else 4) for name, shape in array_shapes(spec.network).items())
    activations = [shape.side**2 * shape.channels * 4 for shape in trace(spec.network, spec.input_size).values()]
    once = weights + 2 * max(this + following for this, following in zip(activations, [*activations[1:], 0], strict=True))
    return 2 * once if weights <= LANES_UP_TO else once


def _network_threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="network")
