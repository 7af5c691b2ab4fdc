"""A model that is ready to detect, and the memory that it takes."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Self

import numpy as np
from numpy.typing import NDArray

from detector.detector import Detector
from detector.engines import ConcurrentEngine, Engine
from detector.engines.cores import usable_cores
from detector.engines.support import MAX_SECOND_SESSION_BYTES
from detector.network.quantization import Quantization
from detector.network.shapes import array_shapes, output_shapes, parameters
from detector.network.spec import ModelDescription, ModelSpec
from weights.formats.provenance import class_confidence

FIRST_VERSION = "1"  # Version of a model that does not come from a model folder.


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
    cores: int = 1  # threads of a call that runs alone
    max_concurrency: int = 1  # parallel calls of the engine
    thread_pool: ThreadPoolExecutor = field(default_factory=lambda: _network_threads(1), repr=False)  # calls the engine

    @cached_property
    def suggested_confidence(self) -> NDArray[np.float32]:
        """The confidence threshold of each class (C,): the recorded one, or else the default. Raises ModelFileError."""
        return class_confidence(self.provenance, self.detector.spec.labels)

    @classmethod
    def of(
        cls,
        model: ModelDescription,
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
            max_concurrency: Largest number of parallel calls. None: one per core. 1 for engines without parallel calls.
        """
        cores = usable_cores()
        concurrency = max_concurrency or cores if isinstance(engine, ConcurrentEngine) else 1
        spec = model.spec
        loaded = cls(
            name or model.name,
            Detector(spec, engine),
            parameters(spec.network),
            dict(model.provenance),
            version,
            estimate_memory(spec, model.quantization, concurrency),
            file,
            cores,
            concurrency,
            _network_threads(concurrency),
        )
        blank = np.zeros((spec.input_size, spec.input_size, 3), np.uint8)
        loaded.thread_pool.submit(loaded.detector.detect, blank, max_detections=1).result()
        return loaded

    @property
    def engine(self) -> str:
        """Name of the engine, such as "onnxruntime"."""
        return self.detector.engine.name

    @property
    def precision(self) -> str:
        """Precision of the network, such as "int8"."""
        return self.detector.engine.precision


def estimate_memory(spec: ModelSpec, quantization: Quantization | None, calls: int | None = None) -> int:
    """Estimate the bytes of a loaded model.

    Each call takes twice the largest activations of two consecutive layers. With parallel calls, the weights of a model of up to
    MAX_SECOND_SESSION_BYTES count twice, because it has a second session. For one call, the estimates of everyday, everyday-int8
    and YOLOv2 are 44, 29 and 246 MiB. A process that already had a model grew by 50, 20 and 239 MiB.

    Args:
        spec: Spec of the model.
        quantization: Which layers have 8-bit weights.
        calls: Number of parallel calls. None: one per core.
    """
    calls = calls or usable_cores()
    in_8_bits = {f"{name}/kernel" for name in quantization.layers} if quantization else set()
    weights = sum(prod(shape) * (1 if name in in_8_bits else 4) for name, shape in array_shapes(spec.network).items())
    outputs = [shape.side**2 * shape.channels * 4 for shape in output_shapes(spec.network, spec.input_size).values()]
    activations = 2 * max(this + following for this, following in zip(outputs, [*outputs[1:], 0], strict=True))
    return weights * (2 if calls > 1 and weights <= MAX_SECOND_SESSION_BYTES else 1) + activations * calls


def _network_threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="network")
