"""The protocol's JSON: requests, and what the service says of itself and its models.

Source: the Open Inference Protocol's inference_rest.md, and Triton's extension_binary_data.md.
"""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from service.selection import Selection
from service.several import MAX_PHOTOS

STRICT = ConfigDict(extra="forbid", strict=True)

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

    binary_data_size: int | None = Field(default=None, ge=0, le=MOST, description="Bytes of it after the JSON.")
    content_type: str | None = Field(default=None, description='"base64": the elements after the JSON are base64 too.')


class InferInput(BaseModel):
    """One tensor: `image` BYTES [N], a photo's file in each element, or `pixels` UINT8 [N, H, W, 3], RGB."""

    model_config = STRICT

    name: str
    shape: list[Annotated[int, Field(ge=0, le=MOST)]] = Field(max_length=4)
    datatype: str
    parameters: InputParameters = InputParameters()
    data: Any = Field(
        default=None, description="Of `image` base64 strings, of `pixels` numbers, flat or nested, or one base64 string of the bytes."
    )


class OutputParameters(BaseModel):
    """How an output is wanted."""

    model_config = STRICT

    binary_data: bool | None = None


class RequestedOutput(BaseModel):
    """One output that is wanted."""

    model_config = STRICT

    name: str
    parameters: OutputParameters = OutputParameters()


class InferParameters(Selection):
    """Which boxes stay, and how outputs are wanted. What belongs to queues and sequences is taken and has no effect."""

    model_config = STRICT

    binary_data_output: bool = Field(default=False, description="All outputs after the JSON, but those that say otherwise.")
    sequence_id: int | str | None = None
    sequence_start: bool = False
    sequence_end: bool = False
    priority: int | None = None
    timeout: int | None = None


_EXAMPLE: JsonDict = {
    "id": "42",
    "inputs": [{"name": PHOTOS, "shape": [1], "datatype": "BYTES", "data": ["/9j/4AAQ..."]}],
    "outputs": [{"name": "boxes"}, {"name": "scores"}, {"name": "labels"}],
    "parameters": {"confidence": 0.5},
}


class InferRequest(BaseModel):
    """The JSON part of an inference."""

    model_config = STRICT | ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str | None = Field(default=None, max_length=256)
    parameters: InferParameters = InferParameters()
    inputs: Annotated[list[InferInput], Field(min_length=1, max_length=1)]
    outputs: list[RequestedOutput] = Field(default=[], max_length=len(OUTPUTS), description="All, if empty.")

    @model_validator(mode="after")
    def _outputs_are_there(self) -> Self:
        names = [output.name for output in self.outputs]
        if not set(names) <= OUTPUTS.keys() or len(set(names)) < len(names):
            raise ValueError(f"outputs must be among {', '.join(OUTPUTS)}, each once")
        return self


class TensorMetadata(BaseModel):
    """A tensor's name, datatype and shape; -1 is any length."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata] = Field(description=f"A request has one of them; at most {MAX_PHOTOS} photos.")
    outputs: list[TensorMetadata]


class ServerMetadata(BaseModel):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    """That the process is there."""

    live: bool


class Ready(BaseModel):
    """That it can detect."""

    ready: bool


class ModelReady(BaseModel):
    """That the model can detect."""

    name: str
    ready: bool
