"""The photos of a request: their bytes, whichever way they came. What they are is for `detector.imaging.image` to say."""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, Self

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from service.errors import BadForm, UnsupportedBody
from service.inference.types import MAX_REQUEST_IMAGES
from service.request.base64_image import Photo64
from service.request.json_body import read_json
from service.request.multipart import read_form

FIELD = "image"


@dataclass(frozen=True)
class Photos:
    """Files in the order in which they came; of `several` the answer is a list, even of one."""

    files: list[bytes]
    several: bool


def _of_the_two_one(schema: dict[str, Any]) -> None:
    for field in ("image", "images"):
        schema["properties"][field].pop("default")
    schema["oneOf"] = [{"required": ["image"]}, {"required": ["images"]}]


class PhotosInJson(BaseModel):
    """One photo or several, in base64."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_of_the_two_one)

    image: Photo64 | SkipJsonSchema[None] = Field(default=None, description="One photo's file in base64.")
    images: Annotated[list[Photo64], Field(min_length=1, max_length=MAX_REQUEST_IMAGES)] | SkipJsonSchema[None] = Field(
        default=None, description='Several; the answer is {"results": [...]}, in this order.'
    )

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Self:
        if len(self.model_fields_set) != 1 or (self.image is None and self.images is None):
            raise ValueError('wants either "image", a photo in base64, or "images", a list of them; options go into the query')
        return self


def check_coding(request: Request) -> None:
    """Raises UnsupportedBody for a compressed body."""
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", ""):
        raise UnsupportedBody(f"the body is compressed ({coding[:20]}); send the photo as it is, its own format has compressed it already.")


async def read_photos(request: Request) -> Photos:
    """The body itself, the form's fields `image`, or what JSON holds in base64.

    Any content type but JSON and the other multipart kinds is taken for a photo's: `curl --data-binary` says
    application/x-www-form-urlencoded unless told otherwise. Raises BadForm, BadJson and UnsupportedBody.
    """
    check_coding(request)
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _photos_of_form(request, content_type)
    if kind == "application/json" or kind.endswith("+json"):
        given = await asyncio.to_thread(read_json, await request.body(), PhotosInJson)
        return Photos([given.image], several=False) if given.image is not None else Photos(given.images or [], several=True)
    if kind.startswith("multipart/"):
        raise UnsupportedBody(
            f"{kind[:80]} is not read here; send the photo's bytes as the body, or as the field {FIELD!r} of a multipart/form-data."
        )
    return Photos([await request.body()], several=False)


async def _photos_of_form(request: Request, content_type: str) -> Photos:
    photos = []
    for part in await read_form(content_type, request.stream()):
        if part.name != FIELD:
            raise BadForm(
                f"the form's field {part.name[:80]!r} is not read; send each photo as {FIELD!r} and options in the query: ?confidence=0.5."
            )
        photos.append(bytes(part.data))
    if not photos:
        raise BadForm(f"the form has no field {FIELD!r}; send each photo as one.")
    return Photos(photos, several=len(photos) > 1)
