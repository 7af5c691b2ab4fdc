"""Responses of GET /models and of the health checks."""

from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, Field


class ModelVersion(BaseModel):
    """State of one version of a model."""

    version: str = Field(examples=["1"])
    state: str = Field(description="AVAILABLE: loaded. LOADING: being loaded. END: rejected.", examples=["AVAILABLE"])


class ModelInfo(BaseModel):
    """One served model, described by its newest version."""

    name: str = Field(examples=["everyday"])
    version: str = Field(default="1", examples=["1"], description="The version that is used if a request names none.")
    labels: list[str] = Field(examples=[["cat", "dog"]])
    input_size: int = Field(examples=[320], description="Width and height of the network's input in pixels.")
    parameters: int = Field(examples=[5_338_294], description="Number of parameters of the network.")
    engine: str = Field(examples=["onnxruntime"])
    precision: str = Field(default="float32", examples=["int8"], description="Precision in which the network computes.")
    default: bool = Field(examples=[True], description="Whether this model is used if a request names none.")
    ap: str | None = Field(
        default=None, description="Average precision, and the data it was measured on.", examples=["0.3981 on 418 images (everyday, val)"]
    )
    memory_bytes: int = Field(default=0, examples=[91_900_000], description="Approximate memory use in bytes.")
    file: str | None = Field(default=None, description="Path within the model folder.", examples=["mine/3/model.safetensors"])
    versions: list[ModelVersion] = Field(default=[], description="Versions that are loaded, being loaded or rejected, newest first.")
    provenance: Mapping[str, str] = Field(examples=[{"source": "trained by ..."}], description="Origin of the weights.")


class RejectedModel(BaseModel):
    """A file or version in the model folder that cannot be served."""

    name: str = Field(examples=["everyday"])
    version: str | None = Field(examples=["3"], description="null if no version of this model can be read.")
    why: str = Field(examples=["everyday/3/model.safetensors: damaged or truncated."])
    since: datetime = Field(examples=["2026-11-26T12:00:00Z"])


class ModelList(BaseModel):
    """The served models, the default first."""

    models: list[ModelInfo]
    refused: list[RejectedModel] = []


class Health(BaseModel):
    """State of the service."""

    status: str = Field(examples=["ready"])
