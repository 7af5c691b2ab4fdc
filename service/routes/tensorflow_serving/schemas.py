"""JSON of TensorFlow Serving: rows of instances or columns of inputs, and outputs with the names of TensorFlow's detection models.

Source: tensorflow.org/tfx/serving/api_rest.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.json_schema import SkipJsonSchema

from service.inference.types import DetectionTensors
from service.request.base64_image import BASE64_SCHEMA, decode_base64
from service.request.images import MAX_REQUEST_IMAGES
from service.request.json_body import require_one_field

INPUT_NAME = "image_bytes"
SIGNATURE: Literal["serving_default"] = "serving_default"

SIGNATURE_OUTPUTS: dict[str, tuple[str, list[int]]] = {
    "num_detections": ("DT_FLOAT", [-1]),
    "detection_boxes": ("DT_FLOAT", [-1, -1, 4]),
    "detection_scores": ("DT_FLOAT", [-1, -1]),
    "detection_classes": ("DT_FLOAT", [-1, -1]),
    "detection_class_entities": ("DT_STRING", [-1, -1]),
}
"""Output name -> (datatype, shape). Axis 0 is the image. Axis 1 is the box, padded to the largest number of boxes per image."""


def _decode_image(value: Any) -> bytes:
    """{"b64": ...} -> bytes."""
    if not isinstance(value, dict) or value.keys() != {"b64"}:
        raise ValueError('must be an image as {"b64": "<base64>"}')
    return decode_base64(value["b64"])


def _unwrap(value: Any) -> Any:
    """Return the value of {INPUT_NAME: value}, and any other value unchanged."""
    return value[INPUT_NAME] if isinstance(value, dict) and value.keys() == {INPUT_NAME} else value


def _decode_instance(value: Any) -> bytes:
    return _decode_image(_unwrap(value))


_IMAGE = {"type": "object", "required": ["b64"], "properties": {"b64": BASE64_SCHEMA}, "additionalProperties": False}
_NAMED_IMAGE = {"type": "object", "required": [INPUT_NAME], "properties": {INPUT_NAME: _IMAGE}, "additionalProperties": False}
_COLUMN = {"type": "array", "items": _IMAGE, "minItems": 1, "maxItems": MAX_REQUEST_IMAGES}
_NAMED_COLUMN = {"type": "object", "required": [INPUT_NAME], "properties": {INPUT_NAME: _COLUMN}, "additionalProperties": False}

Instance = Annotated[bytes, BeforeValidator(_decode_instance), WithJsonSchema({"anyOf": [_IMAGE, _NAMED_IMAGE]})]
Column = Annotated[
    list[Annotated[bytes, BeforeValidator(_decode_image)]],
    Field(min_length=1, max_length=MAX_REQUEST_IMAGES),
    BeforeValidator(_unwrap),
    WithJsonSchema({"anyOf": [_COLUMN, _NAMED_COLUMN]}),
]


class PredictRequest(BaseModel):
    """Images by row (`instances`) or by column (`inputs`). Other fields, which some clients send, are ignored."""

    model_config = ConfigDict(json_schema_extra=require_one_field("instances", "inputs"))

    signature_name: Literal["serving_default", ""] | None = SIGNATURE
    instances: Annotated[list[Instance], Field(min_length=1, max_length=MAX_REQUEST_IMAGES)] | SkipJsonSchema[None] = None
    inputs: Column | SkipJsonSchema[None] = None

    @model_validator(mode="after")
    def _check_one_field(self) -> Self:
        if (self.instances is None) == (self.inputs is None):
            raise ValueError('must have either "instances" or "inputs"')
        return self

    @property
    def images(self) -> list[bytes]:
        """The image files, in order."""
        return self.instances or self.inputs or []


def output_columns(tensors: DetectionTensors) -> dict[str, list[Any]]:
    """Return output name -> list with one entry per image.

    Boxes are ymin, xmin, ymax, xmax from 0 to 1. Class ids start at 1; 0 marks padding.
    """
    boxes = tensors.boxes / np.tile(tensors.sizes, 2)[:, None, :]  # (N, M, 4) xmin, ymin, xmax, ymax, 0..1
    return {
        "num_detections": tensors.counts.astype(float).tolist(),
        "detection_boxes": boxes[..., [1, 0, 3, 2]].tolist(),
        "detection_scores": tensors.scores.tolist(),
        "detection_classes": (tensors.class_ids + 1).astype(float).tolist(),
        "detection_class_entities": tensors.labels.tolist(),
    }


def tensor_info(name: str, datatype: str, shape: list[int]) -> Mapping[str, Any]:
    """Describe a tensor as TensorFlow's metadata does: 64-bit integers are JSON strings."""
    dimensions = [{"size": str(length), "name": ""} for length in shape]
    return {"dtype": datatype, "name": f"{name}:0", "tensor_shape": {"dim": dimensions, "unknown_rank": False}}
