"""Options for running a model: engine, device, precision and input size."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from detector.engines.support import Device
from detector.errors import SettingError
from detector.messages import did_you_mean

EngineKind = Literal["auto", "onnxruntime", "openvino", "tensorflow", "tensornets"]
"""The engines of `detector.engines`, and "tensornets", which runs the original graph of tensornets."""
PrecisionChoice = Literal["auto", "float32", "bfloat16", "int8"]


@dataclass(frozen=True)
class EngineOptions:
    """How to run a model's network. Raises SettingError if a name is unknown, because callers from Python are not type-checked."""

    engine: EngineKind = "auto"
    """ "auto" is the engine that starts fastest. After `weights.engines.race`, a service uses the winner."""
    device: Device = "auto"
    precision: PrecisionChoice | None = None
    """ "auto" is the fastest precision that loses at most half a point of AP50. None is that of the model file."""
    input_size: int | None = None  # Side of the network's input in pixels. None is that of the model file.

    def __post_init__(self) -> None:
        _check_name("engine", self.engine, EngineKind)
        _check_name("device", self.device, Device)
        if self.precision is not None:
            _check_name("precision", self.precision, PrecisionChoice)


def _check_name(option: str, value: object, choices: Any) -> None:
    names = get_args(choices)
    if value not in names:
        raise SettingError(f"unknown {option} {value!r}.{did_you_mean(str(value), names)} Choose one of {', '.join(names)}.")
