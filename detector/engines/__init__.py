"""Engines run a model's network: one call, whatever computes it.

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
    """Pixels in, logits out."""

    @property
    def name(self) -> str:
        """What computes: "onnxruntime", "tensorflow"."""

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, S, S, 3) float32, 0..255 -> (N, G, G, A, 5 + C) float32 logits."""


@runtime_checkable
class ParallelEngine(Engine, Protocol):
    """An engine that may be called by several threads at a time."""

    def beside(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """The same to the bit, for calls beside one another: by one thread each they get more done than one by one with all of them."""


def load_engine(model: Model, name: EngineName = "auto", *, threads: int | None = None, lanes: bool = False) -> Engine:
    """The engine of that name, holding that model; "auto" is onnxruntime.

    threads: of one call of onnxruntime, all processors for None; TensorFlow goes by its own variables (TF_NUM_INTRAOP_THREADS).
    lanes: calls beside one another are to be expected, for which onnxruntime may take memory.
    Raises SettingError for an unknown name, MissingExtra where its packages are not installed.
    """
    if name not in get_args(EngineName):
        raise SettingError(f"there is no engine {name!r}; choose one of {', '.join(get_args(EngineName))}.")
    chosen = "onnxruntime" if name == "auto" else name
    try:
        module = importlib.import_module(f"detector.engines.{chosen}")
    except ModuleNotFoundError as error:
        raise MissingExtra(f"engine {chosen!r} needs {error.name}, which is not installed: pip install 'boxwright[train]'.") from error
    engine: Engine = module.load(model, threads=threads, lanes=lanes) if chosen == "onnxruntime" else module.load(model)
    return engine


def split_anchors(logits: NDArray[np.float32], anchors: int) -> NDArray[np.float32]:
    """(N, G, G, A * (5 + C)) -> (N, G, G, A, 5 + C); a stem's output, with no anchors, stays as it is."""
    return logits.reshape(*logits.shape[:3], anchors, -1) if anchors else logits
