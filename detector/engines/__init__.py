"""Inference engines: one call runs a model's network.

engine(images (N, S, S, 3) float32, 0..255) -> logits (N, G, G, A, 5 + C) float32
"""

import importlib
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from detector.errors import MissingExtra, SettingError
from detector.spec import Model

EngineName = Literal["auto", "onnxruntime", "tensorflow"]


class Engine(Protocol):
    """Runs a model's network: pixels in, logits out."""

    @property
    def name(self) -> str:
        """The library that computes: "onnxruntime" or "tensorflow"."""

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, S, S, 3) float32, 0..255 -> (N, G, G, A, 5 + C) float32 logits."""


@runtime_checkable
class ConcurrentEngine(Engine, Protocol):
    """An engine that several threads may call at the same time."""

    def run_concurrently(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the same logits, bit for bit, with one thread per call.

        Several single-threaded calls in parallel give more throughput than sequential multi-threaded calls.
        """


def load_engine(model: Model, name: EngineName = "auto", *, threads: int | None = None, concurrent_sessions: bool = False) -> Engine:
    """Build the engine of that name for a model.

    Args:
        model: The model to run.
        name: Engine name. "auto" is onnxruntime.
        threads: Threads of one onnxruntime call. None uses all processors. TensorFlow reads TF_NUM_INTRAOP_THREADS instead.
        concurrent_sessions: Expect parallel calls. onnxruntime may then use memory for a second, single-threaded session.

    Raises:
        SettingError: The name is unknown.
        MissingExtra: The engine's packages are not installed.
    """
    if name not in get_args(EngineName):
        raise SettingError(f"unknown engine {name!r}; choose one of {', '.join(get_args(EngineName))}.")
    chosen = "onnxruntime" if name == "auto" else name
    try:
        module = importlib.import_module(f"detector.engines.{chosen}")
    except ModuleNotFoundError as error:
        raise MissingExtra(f"engine {chosen!r} needs {error.name}, which is not installed. Install the extra 'train'.") from error
    if chosen == "tensorflow":
        engine: Engine = module.TensorflowEngine.of(model)
    else:
        engine = module.OnnxEngine.of(model, threads=threads, concurrent_sessions=concurrent_sessions)
    return engine


def split_anchors(logits: NDArray[np.float32], anchors: int) -> NDArray[np.float32]:
    """(N, G, G, A * (5 + C)) -> (N, G, G, A, 5 + C). The output of a backbone, which has no anchors, is returned unchanged."""
    return logits.reshape(*logits.shape[:3], anchors, -1) if anchors else logits
