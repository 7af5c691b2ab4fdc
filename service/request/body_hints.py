"""Common mistakes in requests, each recognised before the image is decoded and answered with a correction."""

import re

from detector.errors import DamagedImage, NotAnImage
from service.errors import BadForm, UnsupportedMediaType

_IMAGE_START = re.compile(rb"\xff\xd8\xff|\x89PNG|GIF8[79]a|RIFF.{1,4}WEBP|II\*|MM\*", re.DOTALL)
"""Also matches files without their NUL bytes and line breaks."""
_MAX_NAME_BYTES = 300


def starts_like_image(body: bytes) -> bool:
    """Return True if the body has the signature of an image file."""
    return _IMAGE_START.match(body) is not None


def check_plain_body(body: bytes) -> None:
    """Check a body that should be an image file.

    Raises:
        DamagedImage: `curl -d @FILE` removed bytes. Every image of a supported format has a NUL byte in its header.
        NotAnImage: The body is JSON or a URL-encoded form.
    """
    if starts_like_image(body) and b"\0" not in body:
        raise DamagedImage("the image lacks its line breaks and NUL bytes: 'curl -d' removes them. Use --data-binary instead of -d.")
    start = body[:_MAX_NAME_BYTES].lstrip()
    if start.startswith((b"{", b"[")):
        raise NotAnImage("the body is JSON, but its content type is not. Add the header 'Content-Type: application/json'.")
    if re.match(rb"\w{1,40}=", start):
        raise NotAnImage(
            "the body is a URL-encoded form. Send the image file itself; with curl: --data-binary @FILE, or --form image=@FILE."
        )


def check_json_body(body: bytes) -> None:
    """Raise UnsupportedMediaType if a body that should be JSON is an image file."""
    if starts_like_image(body):
        raise UnsupportedMediaType(
            "The body is an image file, but its content type is JSON. Send image/jpeg or application/octet-stream as the content type."
        )


def check_form_file(name: str, data: bytes) -> None:
    """Raise BadForm if a field has the name of a file instead of its content."""
    if len(data) <= _MAX_NAME_BYTES and re.fullmatch(rb"[\w ./~-]+\.\w{2,5}", data):
        path = data.decode()
        raise BadForm(
            f"The field {name!r} is the text {path[:80]!r}, not a file. With curl, write '@' before the name: {name}=@{path[:80]}"
        )
