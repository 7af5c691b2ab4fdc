"""TensorFlow Serving's JSON: rows of instances or columns of inputs, and outputs by the names of TensorFlow's detection models.

Source: tensorflow.org/tfx/serving/api_rest.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.json_schema import SkipJsonSchema

from service.inference.types import MAX_REQUEST_IMAGES, DetectionTensors
from service.request.base64_image import SCHEMA, decode_base64

INPUT = "image_bytes"
SIGNATURE: Literal["serving_default"] = "serving_default"

OUTPUTS: dict[str, tuple[str, list[int]]] = {
    "num_detections": ("DT_FLOAT", [-1]),
    "detection_boxes": ("DT_FLOAT", [-1, -1, 4]),
    "detection_scores": ("DT_FLOAT", [-1, -1]),
    "detection_classes": ("DT_FLOAT", [-1, -1]),
    "detection_class_entities": ("DT_STRING", [-1, -1]),
}
"""Name -> datatype and shape: photos, then boxes of the photo that has most of them."""


def _photo(value: Any) -> bytes:
    """{"b64": ...} -> bytes."""
    if not isinstance(value, dict) or value.keys() != {"b64"}:
        raise ValueError('wants a photo as {"b64": "<base64>"}')
    return decode_base64(value["b64"])


def _instance(value: Any) -> bytes:
    """A photo, or a photo by the input's name."""
    return _photo(value[INPUT] if isinstance(value, dict) and value.keys() == {INPUT} else value)


def _columns(value: Any) -> Any:
    """The input's column, or that by its name."""
    return value[INPUT] if isinstance(value, dict) and value.keys() == {INPUT} else value


_PHOTO = {"type": "object", "required": ["b64"], "properties": {"b64": SCHEMA}, "additionalProperties": False}
_NAMED = {"type": "object", "required": [INPUT], "properties": {INPUT: _PHOTO}, "additionalProperties": False}
_COLUMN = {"type": "array", "items": _PHOTO, "minItems": 1, "maxItems": MAX_REQUEST_IMAGES}
_NAMED_COLUMN = {"type": "object", "required": [INPUT], "properties": {INPUT: _COLUMN}, "additionalProperties": False}

Instance = Annotated[bytes, BeforeValidator(_instance), WithJsonSchema({"anyOf": [_PHOTO, _NAMED]})]
Column = Annotated[
    list[Annotated[bytes, BeforeValidator(_photo)]],
    Field(min_length=1, max_length=MAX_REQUEST_IMAGES),
    BeforeValidator(_columns),
    WithJsonSchema({"anyOf": [_COLUMN, _NAMED_COLUMN]}),
]


def _of_the_two_one(schema: dict[str, Any]) -> None:
    for field in ("instances", "inputs"):
        schema["properties"][field].pop("default")
    schema["oneOf"] = [{"required": ["instances"]}, {"required": ["inputs"]}]


class PredictRequest(BaseModel):
    """Photos by row (`instances`) or by column (`inputs`)."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_of_the_two_one)

    signature_name: Literal["serving_default", ""] = SIGNATURE
    instances: Annotated[list[Instance], Field(min_length=1, max_length=MAX_REQUEST_IMAGES)] | SkipJsonSchema[None] = None
    inputs: Column | SkipJsonSchema[None] = None

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Self:
        if (self.instances is None) == (self.inputs is None) or {"instances", "inputs"} <= self.model_fields_set:
            raise ValueError('wants either "instances" or "inputs"')
        return self

    @property
    def photos(self) -> list[bytes]:
        """The files, in order."""
        return self.instances or self.inputs or []


def columns(padded: DetectionTensors) -> dict[str, list[Any]]:
    """Output name -> one entry for each photo. Boxes are ymin, xmin, ymax, xmax of 0..1; classes count from 1, 0 where there is none."""
    edges = padded.boxes / np.tile(padded.sizes, 2)[:, None, :]  # (N, M, 4) xmin, ymin, xmax, ymax, 0..1
    return {
        "num_detections": padded.counts.astype(float).tolist(),
        "detection_boxes": edges[..., [1, 0, 3, 2]].tolist(),
        "detection_scores": padded.scores.tolist(),
        "detection_classes": (padded.class_ids + 1).astype(float).tolist(),
        "detection_class_entities": padded.labels.tolist(),
    }


def tensor_info(name: str, datatype: str, shape: list[int]) -> Mapping[str, Any]:
    """A tensor as TensorFlow's metadata has it: numbers in JSON strings, as its 64-bit integers are."""
    dimensions = [{"size": str(length), "name": ""} for length in shape]
    return {"dtype": datatype, "name": f"{name}:0", "tensor_shape": {"dim": dimensions, "unknown_rank": False}}
