"""Images in JSON: base64 (RFC 4648), decoded strictly."""

import binascii
import re
from base64 import b64decode
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic.config import JsonDict

DATA_URL = "data:"
MAX_FILE_NAME_LENGTH = 300
_FILE_NAME = re.compile(rf"[\w :./\\~-]{{1,{MAX_FILE_NAME_LENGTH - 5}}}\.[A-Za-z]{{2,4}}")

EXAMPLE_IMAGE = "R0lGODdhAQABAIAAAAAAAAAAACwAAAAAAQABAAAIBAABBAQAOw=="
"""A GIF of one black pixel. The examples in the API documentation use it, so that they can be tried."""


def decode_base64(text: Any) -> bytes:
    """Decode base64 or a base64 data URL. Raises ValueError for invalid input: Python would skip invalid characters by default."""
    if not isinstance(text, str):
        raise ValueError(f"must be a string with an image file in base64, got {_describe(text)}")
    text = text.strip()
    if text[: len(DATA_URL)].lower() == DATA_URL:
        prefix, _, text = text.partition(",")
        if not prefix.lower().endswith(";base64"):
            raise ValueError(f"must be a base64 data URL, got one that begins with {prefix[:40]!r}")
        text = text.lstrip()
    if "://" in text[:20]:
        raise ValueError(f"is a URL ({text[:80]}), and the service downloads nothing. Send the image file itself in base64")
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        if "-" in text or "_" in text:
            raise ValueError("is not base64, or uses the URL-safe alphabet with - and _. Use the standard alphabet with + and /") from error
        if text.startswith(("b'", 'b"')):
            raise ValueError("is the text of a Python bytes object, b'...'. Send base64.b64encode(data).decode()") from error
        if _FILE_NAME.fullmatch(text[: MAX_FILE_NAME_LENGTH + 1]):
            raise ValueError(
                f"is a file name ({text[:80]!r}), and the service reads no files. Send the image file itself in base64"
            ) from error
        raise ValueError(f"is not base64 ({error}). Encode the whole file, without line breaks") from error


def _describe(value: Any) -> str:
    """Describe a JSON value that is not a string, for an error message."""
    if isinstance(value, dict):
        return "a Node.js buffer. Send buffer.toString('base64')" if value.get("type") == "Buffer" else "an object"
    kinds = {list: "a list", bool: "a Boolean", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")


BASE64_SCHEMA: JsonDict = {"type": "string", "format": "byte", "description": "An image file in base64 (RFC 4648), or a data URL of it."}

Base64Image = Annotated[bytes, BeforeValidator(decode_base64), WithJsonSchema(BASE64_SCHEMA)]
"""The content of an image file, which is base64 in JSON."""
