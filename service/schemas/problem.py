"""Problem details (RFC 9457): the body of an error response."""

from pydantic import BaseModel, Field


class ParameterProblem(BaseModel):
    """What is wrong with one query parameter."""

    parameter: str
    detail: str


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    type: str = Field(description="URI of the kind of problem.")
    title: str = Field(description="Name of the kind of problem.")
    status: int = Field(description="HTTP status.")
    detail: str = Field(description="What is wrong with this request, and how to fix it.")
    errors: list[ParameterProblem] | None = Field(default=None, description="The invalid parameters.")
