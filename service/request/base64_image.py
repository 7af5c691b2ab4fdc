"""Images in JSON: base64 (RFC 4648), decoded strictly."""

import binascii
from base64 import b64decode
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic.config import JsonDict

DATA_URL = "data:"

EXAMPLE_IMAGE = "R0lGODdhAQABAIAAAAAAAAAAACwAAAAAAQABAAAIBAABBAQAOw=="
"""A GIF of one black pixel. The examples in the API documentation use it, so that they can be tried."""


def decode_base64(text: Any) -> bytes:
    """Decode base64 or a base64 data URL. Raises ValueError for invalid input: Python would skip invalid characters by default."""
    if not isinstance(text, str):
        raise ValueError(f"must be a string with an image file in base64, got {type(text).__name__}")
    if text.startswith(DATA_URL):
        prefix, _, text = text.partition(",")
        if not prefix.endswith(";base64"):
            raise ValueError(f"must be a base64 data URL, got one that begins with {prefix[:40]!r}")
    if "://" in text[:20]:
        raise ValueError(f"is a URL ({text[:80]}), and the service downloads nothing. Send the image file itself in base64")
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"is not base64 ({error}). Encode the whole file, without line breaks") from error


BASE64_SCHEMA: JsonDict = {
    "type": "string",
    "format": "byte",
    "description": "An image file in base64 (RFC 4648), or a data URL of it.",
}

Base64Image = Annotated[bytes, BeforeValidator(decode_base64), WithJsonSchema(BASE64_SCHEMA)]
"""The content of an image file, which is base64 in JSON."""
