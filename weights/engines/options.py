"""Options for running a model: engine, device, precision and input size."""

from dataclasses import dataclass
from typing import Literal

from detector.engines.support import Device

EngineKind = Literal["auto", "onnxruntime", "openvino", "tensorflow", "tensornets"]
"""The engines of `detector.engines`, and "tensornets", which runs the original graph of tensornets."""
PrecisionChoice = Literal["auto", "float32", "bfloat16", "int8"]


@dataclass(frozen=True)
class EngineOptions:
    """How to run a model's network."""

    engine: EngineKind = "auto"
    """ "auto" is the engine that starts fastest. After `weights.engines.race`, a service uses the winner."""
    device: Device = "auto"
    precision: PrecisionChoice | None = None
    """ "auto" is the fastest precision that loses at most half a point of AP. None is that of the model file."""
    input_size: int | None = None  # Side of the network's input in pixels. None is that of the model file.
