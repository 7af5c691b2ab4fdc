"""The image files of a request to POST /detect, however they are sent."""

from dataclasses import dataclass
from typing import Annotated, Any, Self

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from service.errors import BadForm, UnsupportedMediaType
from service.request.base64_image import Base64Image
from service.request.body_hints import check_form_file, check_json_body, check_plain_body
from service.request.json_body import parse_json, require_one_field, run_in_json_thread
from service.request.multipart import parse_form

IMAGE_FIELD = "image"

MAX_REQUEST_IMAGES = 16  # Limit of images per request, in every protocol.


@dataclass(frozen=True)
class UploadedImages:
    """Image files in the order in which they were sent. The response to a batch is a list, even if the batch has one image."""

    files: list[bytes]
    is_batch: bool


class ImagesInJson(BaseModel):
    """One image or several, in base64."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=require_one_field("image", "images"))

    image: Base64Image | SkipJsonSchema[None] = Field(default=None, description="One image file in base64.")
    images: Annotated[list[Base64Image], Field(min_length=1, max_length=MAX_REQUEST_IMAGES)] | SkipJsonSchema[None] = Field(
        default=None, description='Several image files. The response is {"results": [...]}, in the same order.'
    )

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, value: Any) -> Any:
        unknown = next((key for key in value if key not in cls.model_fields), None) if isinstance(value, dict) else None
        if unknown is not None:
            raise ValueError(
                f'unknown key {unknown[:80]!r}. The keys are "image", an image in base64, and "images", a list of them. '
                "Options belong in the query, such as ?confidence=0.5"
            )
        return value

    @model_validator(mode="after")
    def _check_one_field(self) -> Self:
        if len(self.model_fields_set) != 1 or (self.image is None and self.images is None):
            raise ValueError('must have either "image", an image in base64, or "images", a list of them. Options belong in the query')
        return self


def check_content_coding(request: Request) -> None:
    """Raise UnsupportedMediaType if the body is compressed."""
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", ""):
        raise UnsupportedMediaType(
            f"The body is compressed ({coding[:20]}). Send the image file as it is: its format is compressed already."
        )


async def read_images(request: Request) -> UploadedImages:
    """Read the image files from a plain body, from the form fields `image`, or from JSON.

    A body of any other content type is read as an image, because `curl --data-binary` sends application/x-www-form-urlencoded by
    default. Only multipart types other than multipart/form-data are refused.

    Raises:
        BadForm: The multipart form cannot be used.
        BadJson: The JSON cannot be used.
        NotAnImage, DamagedImage: The plain body shows a common mistake, see `body_hints`.
        UnsupportedMediaType: The body is compressed, is an image declared as JSON, or has another multipart type.
    """
    check_content_coding(request)
    content_type = request.headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type.startswith("multipart/") and media_type != "multipart/form-data":
        raise UnsupportedMediaType(
            f"{media_type[:80]} is not supported. Send the image file as the body or as the field {IMAGE_FIELD!r} of multipart/form-data."
        )
    body = await request.body()
    if media_type == "multipart/form-data":
        return _images_in_form(content_type, body)
    if media_type == "application/json" or media_type.endswith("+json"):
        check_json_body(body)
        images = await run_in_json_thread(parse_json, body, ImagesInJson)
        return UploadedImages(images.images or [], True) if images.image is None else UploadedImages([images.image], False)
    check_plain_body(body)
    return UploadedImages([body], is_batch=False)


def _images_in_form(content_type: str, body: bytes) -> UploadedImages:
    fields = parse_form(content_type, body)
    unknown = next((field.name for field in fields if field.name != IMAGE_FIELD), None)
    if unknown is not None:
        raise BadForm(
            f"Unknown form field {unknown[:80]!r}. Send each image as {IMAGE_FIELD!r} and options in the query, such as ?confidence=0.5."
        )
    if not fields:
        raise BadForm(f"The form has no field {IMAGE_FIELD!r}. Send each image as a field of this name.")
    for field in fields:
        check_form_file(field.name, field.data)
    return UploadedImages([field.data for field in fields], is_batch=len(fields) > 1)
