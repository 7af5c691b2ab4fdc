"""What the service refuses of a request before any photo is looked at.

BoxwrightError
└── RequestError
    ├── BodyTooLarge        more bytes than the service reads
    ├── BadForm             a multipart form that cannot be read, or without a photo
    ├── BadJson             JSON that cannot be read, or is not of the shape wanted
    └── UnsupportedBody     a body of a kind that holds no photo
"""

from detector.errors import BoxwrightError


class RequestError(BoxwrightError):
    """The request cannot be read."""


class BodyTooLarge(RequestError):
    """The body has more bytes than the service reads."""


class BadForm(RequestError):
    """The multipart form is damaged, too long, or holds no photo."""


class BadJson(RequestError):
    """The JSON is damaged, too large, or not of the shape that the endpoint wants; so is binary data that goes with it."""


class UnsupportedBody(RequestError):
    """The body's content type is one that holds no photo."""
