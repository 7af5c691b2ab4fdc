"""Photos in JSON: base64 (RFC 4648), checked to the letter."""

import binascii
from base64 import b64decode
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic.config import JsonDict

DATA_URL = "data:"

EXAMPLE = "R0lGODdhAQABAIAAAAAAAAAAACwAAAAAAQABAAAIBAABBAQAOw=="
"""A GIF of one black pixel, for documents whose examples can be tried."""


def decode_base64(text: Any) -> bytes:
    """The bytes that `text` stands for; a data URL's head, as a browser's canvas writes it, is left out.

    Raises ValueError where it is no base64: Python by itself would leave out what does not belong and go on.
    """
    if not isinstance(text, str):
        raise ValueError(f"wants a photo's file in base64, a string, got {type(text).__name__}")
    if text.startswith(DATA_URL):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            raise ValueError(f"wants a data URL in base64, got one that begins {head[:40]!r}")
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"is not base64 ({error}); encode the whole file, without line breaks") from error


SCHEMA: JsonDict = {
    "type": "string",
    "format": "byte",
    "description": "A photo's file in base64 (RFC 4648), or a data URL of it.",
}

Photo64 = Annotated[bytes, BeforeValidator(decode_base64), WithJsonSchema(SCHEMA)]
"""A photo's file; base64 in JSON."""
