"""Convert `ModelSpec` and `Quantization` to JSON and back.

The JSON has every field. Reading refuses missing and unknown fields, and checks each type.
"""

import json
import reprlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, get_args

from detector.errors import ModelFileError
from detector.network.layers import ACTIVATIONS, Conv, Layer, MaxPool, Reorg, ReorgOrder, Route, Shortcut, Upsample
from detector.network.quantization import Quantization
from detector.network.spec import Edges, Fit, ModelSpec, Resample
from weights.formats.bounded_io import MAX_INTEGER, MAX_LAYERS

FieldCheck = Callable[[object, str], Any]
"""(value, its path in the document) -> the value in the field's type. Raises ModelFileError, which names the path."""

_TYPES: dict[str, type[Layer]] = {
    "conv": Conv,
    "maxpool": MaxPool,
    "reorg": Reorg,
    "route": Route,
    "shortcut": Shortcut,
    "upsample": Upsample,
}
_NAMES = {kind: name for name, kind in _TYPES.items()}


def spec_to_json(spec: ModelSpec) -> str:
    """Return the spec as one line of JSON. Each layer is an object with its fields and a "type"."""
    layers = [{"type": _NAMES[type(layer)], **asdict(layer)} for layer in spec.network]
    anchors = [[float(width), float(height)] for width, height in spec.anchors]
    return json.dumps(asdict(spec) | {"network": layers, "anchors": anchors}, allow_nan=False)


def spec_from_json(text: str) -> ModelSpec:
    """Parse the output of `spec_to_json`. Raises ModelFileError, which names the field, and NetworkError if the layers do not fit."""
    return ModelSpec(**_fields(parse_strict_json(text, "spec"), _SPEC, "spec"))


def quantization_to_json(quantization: Quantization) -> str:
    """Return the quantization as one line of JSON: its layers, and the range of each tensor."""
    ranges = {name: [float(low), float(high)] for name, (low, high) in quantization.ranges.items()}
    return json.dumps({"layers": quantization.layers, "ranges": ranges}, allow_nan=False)


def quantization_from_json(text: str) -> Quantization:
    """Parse the output of `quantization_to_json`. Raises ModelFileError, which names the field, or ModelError if a range is invalid."""
    return Quantization(**_fields(parse_strict_json(text, "quantization"), _QUANTIZATION, "quantization"))


def parse_strict_json(text: str, where: str) -> object:
    """Parse JSON. Refuse NaN, infinity and duplicate keys, which Python's parser accepts, and nesting that is too deep."""
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_duplicate_keys)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{where} is not valid JSON: {error}.") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _no_duplicate_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    data = dict(pairs)
    if len(data) < len(pairs):
        raise ValueError("an object has a duplicate key")
    return data


def _fields(data: object, checks: Mapping[str, FieldCheck], where: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise _wrong_type(where, "an object", data)
    for problem, names in (("lacks the field", checks.keys() - data.keys()), ("has the unknown field", data.keys() - checks.keys())):
        if names:
            raise ModelFileError(f"{where} {problem} {min(names)!r}.")
    return {name: check(data[name], f"{where}.{name}") for name, check in checks.items()}


def _wrong_type(where: str, expected: str, actual: object) -> ModelFileError:
    return ModelFileError(f"{where} must be {expected}, got {reprlib.repr(actual)}.")


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _wrong_type(where, "a string", value)
    return value


def _integer(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_INTEGER:
        raise _wrong_type(where, f"a whole number from 0 to {MAX_INTEGER}", value)
    return value


def _number(value: object, where: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= sys.float_info.max:
        raise _wrong_type(where, "a number", value)
    return float(value)


def _epsilon(value: object, where: str) -> float:
    number = _number(value, where)
    if number < 0:
        raise _wrong_type(where, "at least 0", value)
    return number


def _boolean(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong_type(where, "true or false", value)
    return value


def _one_of(choices: tuple[str, ...]) -> FieldCheck:
    def check(value: object, where: str) -> str:
        if not isinstance(value, str) or value not in choices:
            raise _wrong_type(where, f"one of {', '.join(choices)}", value)
        return value

    return check


def _tuple_of(item: FieldCheck, length: int | None = None) -> FieldCheck:
    def check(value: object, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list) or (length is not None and len(value) != length):
            raise _wrong_type(where, "a list" if length is None else f"a list of {length}", value)
        return tuple(item(part, f"{where}[{index}]") for index, part in enumerate(value))

    return check


def _optional(check: FieldCheck) -> FieldCheck:
    return lambda value, where: None if value is None else check(value, where)


def _ranges(value: object, where: str) -> dict[str, tuple[float, float]]:
    if not isinstance(value, dict) or len(value) > MAX_TENSORS:
        raise _wrong_type(where, f"an object of at most {MAX_TENSORS} ranges", value)
    return {name: _tuple_of(_number, 2)(part, f"{where}.{name[:80]}") for name, part in value.items()}


def _network(value: object, where: str) -> tuple[Layer, ...]:
    if not isinstance(value, list) or len(value) > MAX_LAYERS:
        raise _wrong_type(where, f"a list of at most {MAX_LAYERS} layers", value)
    return tuple(_layer(part, f"{where}[{index}]") for index, part in enumerate(value))


def _layer(value: object, where: str) -> Layer:
    if not isinstance(value, dict):
        raise _wrong_type(where, "an object", value)
    kind = _one_of(tuple(_TYPES))(value.get("type"), f"{where}.type")
    return _TYPES[kind](**_fields({key: part for key, part in value.items() if key != "type"}, _LAYERS[kind], where))


_NAME_AND_SIZES = {"name": _text, "size": _integer, "stride": _integer}
_LAYERS: dict[str, dict[str, FieldCheck]] = {
    "conv": {
        **_NAME_AND_SIZES,
        "filters": _integer,
        "groups": _integer,
        "normalize": _boolean,
        "activation": _one_of(ACTIVATIONS),
        "epsilon": _epsilon,
        "padding": _optional(_tuple_of(_integer, 2)),
    },
    "maxpool": {**_NAME_AND_SIZES, "padding": _optional(_integer)},
    "reorg": {"name": _text, "stride": _integer, "order": _one_of(get_args(ReorgOrder))},
    "route": {"name": _text, "layers": _tuple_of(_text)},
    "shortcut": {"name": _text, "source": _text, "activation": _one_of(ACTIVATIONS)},
    "upsample": {"name": _text, "stride": _integer},
}
MAX_TENSORS = 4 * MAX_LAYERS  # each layer has its output and the tensors before its activation
_QUANTIZATION: dict[str, FieldCheck] = {"layers": _tuple_of(_text), "ranges": _ranges}
_SPEC: dict[str, FieldCheck] = {
    "labels": _tuple_of(_text),
    "anchors": _tuple_of(_tuple_of(_number, 2)),
    "network": _network,
    "input_size": _integer,
    "fit": _one_of(get_args(Fit)),
    "resample": _one_of(get_args(Resample)),
    "pixel_scale": _number,
    "pixel_offset": _number,
    "edges": _one_of(get_args(Edges)),
}
