"""The protocol's JSON: requests, and what the service says of itself and its models.

Source: the Open Inference Protocol's inference_rest.md, and Triton's extension_binary_data.md.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from service.inference.types import MAX_DETECTIONS, MAX_REQUEST_IMAGES
from service.request.base64_image import EXAMPLE, SCHEMA
from service.schemas.selection import Selection

STRICT = ConfigDict(extra="forbid", strict=True)

WHOLE = BeforeValidator(lambda value: int(value) if isinstance(value, float) and value.is_integer() else value)
"""Takes 2.0 for 2: JSON knows no difference."""

MOST = 2**31
"""Of any length stated."""

PHOTOS, PIXELS = "image", "pixels"
"""The two inputs, of which a request has one: files, or pictures of one size."""

OUTPUTS: dict[str, tuple[str, list[int]]] = {
    "boxes": ("FP32", [-1, -1, 4]),
    "scores": ("FP32", [-1, -1]),
    "classes": ("INT32", [-1, -1]),
    "labels": ("BYTES", [-1, -1]),
    "num_detections": ("INT32", [-1]),
}
"""Name -> datatype and shape: photos, then boxes of the photo that has most of them."""


class InputParameters(BaseModel):
    """How an input's data comes."""

    model_config = STRICT

    binary_data_size: Annotated[int, Field(ge=0, le=MOST), WHOLE] | None = Field(default=None, description="Bytes of it after the JSON.")
    content_type: Literal["base64"] | None = Field(default=None, description="The elements after the JSON are base64 too.")


def _input(name: str, datatype: str, sides: int, **data: Any) -> JsonDict:
    length: JsonDict = {"type": "integer", "minimum": 1, "maximum": MOST}
    return {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"const": name},
            "shape": {"type": "array", "items": length, "minItems": sides, "maxItems": sides},
            "datatype": {"const": datatype},
            "data": data,
        },
        "additionalProperties": False,
    }


_NUMBERS: JsonDict = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}, "minItems": 3}
_INPUT_IN_JSON: JsonDict = {
    "anyOf": [
        _input(PHOTOS, "BYTES", 1, type="array", items=SCHEMA, minItems=1, maxItems=MAX_REQUEST_IMAGES, description="A photo's file in each."),
        _input(PIXELS, "UINT8", 4, anyOf=[_NUMBERS, SCHEMA], description="N, H, W, 3: pictures of one size, RGB, rows from the top."),
    ]
}


def _as_json_says(schema: JsonDict) -> None:
    """What a body of nothing but JSON may have; `binary_data_size` goes with bytes after it."""
    schema.clear()
    schema.update(_INPUT_IN_JSON)


class InferInput(BaseModel):
    """One tensor: `image` BYTES [N], a photo's file in each element, or `pixels` UINT8 [N, H, W, 3], RGB."""

    model_config = STRICT | ConfigDict(json_schema_extra=_as_json_says)

    name: str
    shape: list[Annotated[int, Field(ge=0, le=MOST), WHOLE]] = Field(max_length=4)
    datatype: str
    parameters: InputParameters = InputParameters()
    data: Any = None


class OutputParameters(BaseModel):
    """How an output is wanted."""

    model_config = STRICT

    binary_data: bool | None = None


class RequestedOutput(BaseModel):
    """One output that is wanted."""

    model_config = STRICT

    name: Literal["boxes", "scores", "classes", "labels", "num_detections"]
    parameters: OutputParameters = OutputParameters()


class InferParameters(Selection):
    """Which boxes stay, and how outputs are wanted. What belongs to queues and sequences is taken and has no effect."""

    model_config = STRICT

    binary_data_output: bool = Field(default=False, description="All outputs after the JSON, but those that say otherwise.")
    max_detections: Annotated[int, Field(ge=1, le=1000), WHOLE] = MAX_DETECTIONS
    sequence_id: Any = None
    sequence_start: Any = None
    sequence_end: Any = None
    priority: Any = None
    timeout: Any = None


_EXAMPLE: JsonDict = {
    "id": "42",
    "inputs": [{"name": PHOTOS, "shape": [1], "datatype": "BYTES", "data": [EXAMPLE]}],
    "outputs": [{"name": "boxes"}, {"name": "scores"}, {"name": "labels"}],
    "parameters": {"confidence": 0.5},
}


class InferRequest(BaseModel):
    """The JSON part of an inference."""

    model_config = STRICT | ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str | None = Field(default=None, max_length=256)
    parameters: InferParameters = InferParameters()
    inputs: Annotated[list[InferInput], Field(min_length=1, max_length=1)]
    outputs: list[RequestedOutput] = Field(default=[], max_length=len(OUTPUTS), description="Each once; all, if empty.")

    @model_validator(mode="after")
    def _each_output_once(self) -> Self:
        if len({output.name for output in self.outputs}) < len(self.outputs):
            raise ValueError("each of the outputs may be asked for once")
        return self


class TensorMetadata(BaseModel):
    """A tensor's name, datatype and shape; -1 is any length."""

    name: str = Field(examples=[PHOTOS])
    datatype: str = Field(examples=["BYTES"])
    shape: list[int] = Field(examples=[[-1]])


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    name: str = Field(examples=["everyday"])
    versions: list[str] = Field(examples=[["1"]])
    platform: str = Field(examples=["onnxruntime"])
    inputs: list[TensorMetadata] = Field(description=f"A request has one of them; at most {MAX_REQUEST_IMAGES} photos.")
    outputs: list[TensorMetadata]


class ServerMetadata(BaseModel):
    """What the server is."""

    name: str = Field(examples=["boxwright"])
    version: str = Field(examples=["0.1.0"])
    extensions: list[str] = Field(examples=[["binary_tensor_data"]])


class Live(BaseModel):
    """That the process is there."""

    live: bool = Field(examples=[True])


class Ready(BaseModel):
    """That it can detect."""

    ready: bool = Field(examples=[True])


class ModelReady(BaseModel):
    """That the model can detect."""

    name: str = Field(examples=["everyday"])
    ready: bool = Field(examples=[True])
