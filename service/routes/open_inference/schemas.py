"""JSON schemas of the Open Inference Protocol.

Source: inference_rest.md of the Open Inference Protocol, and extension_binary_data.md of Triton.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from detector.messages import did_you_mean
from service.inference.types import MAX_DETECTIONS
from service.request.base64_image import BASE64_SCHEMA, EXAMPLE_IMAGE
from service.request.images import MAX_REQUEST_IMAGES
from service.schemas.parameters import DetectionParameters

INTEGRAL = BeforeValidator(lambda value: int(value) if isinstance(value, float) and value.is_integer() else value)
"""Accepts 2.0 as 2: JSON does not distinguish them."""

IGNORED = AfterValidator(lambda _: None)
"""Drops a value of any type, which may be large."""

MAX_LENGTH = 2**31
"""Upper bound of each length in a request."""

FILES_INPUT, PIXELS_INPUT = "image", "pixels"
"""Names of the two inputs: image files, or pixels of images of one size. A request has one of them."""

OUTPUT_TENSORS: dict[str, tuple[str, list[int]]] = {
    "boxes": ("FP32", [-1, -1, 4]),
    "scores": ("FP32", [-1, -1]),
    "classes": ("INT32", [-1, -1]),
    "labels": ("BYTES", [-1, -1]),
    "num_detections": ("INT32", [-1]),
}
"""Output name -> (datatype, shape). Axis 0 is the image. Axis 1 is the box, padded to the largest number of boxes per image."""


def _allow_null(schema: dict[str, Any]) -> None:
    """Document that optional fields may be null."""
    for name, field in schema["properties"].items():
        if name not in schema.get("required", []):
            default = {"default": field.pop("default")} if "default" in field else {}
            schema["properties"][name] = {"anyOf": [field, {"type": "null"}]} | default


class RequestPart(BaseModel):
    """A part of a request. Optional fields may be null, which means that they are absent."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=_allow_null)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        unknown = next((name for name in value if name not in cls.model_fields), None)
        if unknown is not None:
            raise ValueError(f"unknown key {unknown[:80]!r}.{did_you_mean(unknown[:80], cls.model_fields)}")
        return {name: field for name, field in value.items() if field is not None}


class InputParameters(RequestPart):
    """Encoding of the data of an input."""

    binary_data_size: Annotated[int, Field(ge=0, le=MAX_LENGTH), INTEGRAL] | None = Field(
        default=None, description="Bytes of this tensor after the JSON."
    )
    content_type: Literal["base64", "np"] | None = Field(
        default=None,
        description="base64: the elements after the JSON are base64. np, which MLServer's client adds to arrays, has no effect.",
    )


def _input_schema(name: str, datatype: str, rank: int, **data: Any) -> JsonDict:
    length: JsonDict = {"type": "integer", "minimum": 1, "maximum": MAX_LENGTH}
    return {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"const": name},
            "shape": {"type": "array", "items": length, "minItems": rank, "maxItems": rank},
            "datatype": {"const": datatype},
            "data": data,
        },
        "additionalProperties": False,
    }


_NUMBERS: JsonDict = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}, "minItems": 3}
_FILES: dict[str, Any] = {
    "type": "array",
    "items": BASE64_SCHEMA,
    "minItems": 1,
    "maxItems": MAX_REQUEST_IMAGES,
    "description": "Image files.",
}
_JSON_INPUT_SCHEMA: JsonDict = {
    "anyOf": [
        _input_schema(FILES_INPUT, "BYTES", 1, **_FILES),
        _input_schema(
            PIXELS_INPUT, "UINT8", 4, anyOf=[_NUMBERS, BASE64_SCHEMA], description="N, H, W, 3: RGB images of one size, top row first."
        ),
    ]
}


def _use_json_schema(schema: JsonDict) -> None:
    """Document the inputs of a body that is only JSON. `binary_data_size` needs bytes after it."""
    schema.clear()
    schema.update(_JSON_INPUT_SCHEMA)


class InferInput(RequestPart):
    """One tensor: `image` BYTES [N], an image file in each element, or `pixels` UINT8 [N, H, W, 3], RGB."""

    model_config = ConfigDict(json_schema_extra=_use_json_schema)

    name: str
    shape: list[Annotated[int, Field(ge=0, le=MAX_LENGTH), INTEGRAL]] = Field(max_length=4)
    datatype: str
    parameters: InputParameters = InputParameters()
    data: Any = None


class OutputParameters(RequestPart):
    """Requested encoding of one output."""

    binary_data: bool | None = None


class RequestedOutput(RequestPart):
    """One requested output."""

    name: Literal["boxes", "scores", "classes", "labels", "num_detections"]
    parameters: OutputParameters = OutputParameters()


class InferParameters(RequestPart, DetectionParameters):
    """Thresholds, and the encoding of the outputs. Parameters about queues and sequences, and MLServer's `content_type`, are ignored."""

    binary_data_output: bool = Field(default=False, description="Send each output as binary data, unless its own `binary_data` is false.")
    max_detections: Annotated[int, Field(ge=1, le=1000), INTEGRAL] = MAX_DETECTIONS
    sequence_id: Annotated[Any, IGNORED] = None
    sequence_start: Annotated[Any, IGNORED] = None
    sequence_end: Annotated[Any, IGNORED] = None
    priority: Annotated[Any, IGNORED] = None
    timeout: Annotated[Any, IGNORED] = None
    content_type: Annotated[Any, IGNORED] = None


_EXAMPLE: JsonDict = {
    "id": "42",
    "inputs": [{"name": FILES_INPUT, "shape": [1], "datatype": "BYTES", "data": [EXAMPLE_IMAGE]}],
    "outputs": [{"name": "boxes"}, {"name": "scores"}, {"name": "labels"}],
    "parameters": {"confidence": 0.5},
}


def _document_request(schema: dict[str, Any]) -> None:
    _allow_null(schema)
    schema["examples"] = [_EXAMPLE]


class InferRequest(RequestPart):
    """The JSON part of an inference request. KServe's Python client adds the name of the model, which the path contains already."""

    model_config = ConfigDict(json_schema_extra=_document_request)

    id: str | None = Field(default=None, max_length=256)
    model_name: Annotated[Any, IGNORED] = None
    model_version: Annotated[Any, IGNORED] = None
    parameters: InferParameters = InferParameters()
    inputs: Annotated[list[InferInput], Field(min_length=1, max_length=1)]
    outputs: list[RequestedOutput] = Field(default=[], max_length=len(OUTPUT_TENSORS), description="Each output once. Default: all.")

    @model_validator(mode="after")
    def _check_unique_outputs(self) -> Self:
        if len({output.name for output in self.outputs}) < len(self.outputs):
            raise ValueError("each output may be requested once")
        return self


class TensorMetadata(BaseModel):
    """Name, datatype and shape of a tensor. -1 stands for any length."""

    name: str = Field(examples=[FILES_INPUT])
    datatype: str = Field(examples=["BYTES"])
    shape: list[int] = Field(examples=[[-1]])


class ModelMetadata(BaseModel):
    """Inputs and outputs of a model."""

    name: str = Field(examples=["everyday"])
    versions: list[str] = Field(examples=[["1"]])
    platform: str = Field(examples=["onnxruntime"])
    inputs: list[TensorMetadata] = Field(description=f"A request has one of them, with at most {MAX_REQUEST_IMAGES} images.")
    outputs: list[TensorMetadata]


class ServerMetadata(BaseModel):
    """Name and extensions of the server."""

    name: str = Field(examples=["boxwright"])
    version: str = Field(examples=["0.1.0"])
    extensions: list[str] = Field(examples=[["binary_tensor_data"]])


class ServerLive(BaseModel):
    """Whether the process is alive."""

    live: bool = Field(examples=[True])


class ServerReady(BaseModel):
    """Whether the service can detect."""

    ready: bool = Field(examples=[True])


class ModelReady(BaseModel):
    """Whether a model can detect."""

    name: str = Field(examples=["everyday"])
    ready: bool = Field(examples=[True])
