"""Errors of the HTTP service.

BoxwrightError
└── RequestError                 the request is refused
    ├── BodyTooLarge             the body exceeds the byte limit
    ├── BodyTimeout              the body does not arrive in time
    ├── BadForm                  the multipart form is damaged or has no image
    ├── BadJson                  the JSON is damaged or does not match the schema
    ├── UnsupportedMediaType     the content type or content coding is not supported
    ├── BadHeader                a header has an invalid value
    ├── InvalidApiKey            the API key is missing or unknown
    ├── ForbiddenOrigin          the host name or the origin of the request is not allowed
    ├── ResponseTooLarge         the response would exceed the byte limit
    ├── DeadlineMissed           the deadline of the request passed
    └── Unavailable              try again later
        ├── Overloaded           the queue or the memory budget is full
        ├── NoModel              the default model is not loaded yet
        └── ShuttingDown         the service is shutting down

`service.schemas.problem_kinds` maps each error to an HTTP status. Errors about images, models and labels are in `detector.errors`.
"""

from detector.errors import BoxwrightError, DamagedImage, EmptyImage, ImageTooLarge, NotAnImage


class RequestError(BoxwrightError):
    """The request is refused."""


class BodyTooLarge(RequestError):
    """The body exceeds the byte limit."""


class BodyTimeout(RequestError):
    """The body does not arrive in time."""


class BadForm(RequestError):
    """The multipart form is damaged, has too many parts, or has no image."""


class BadJson(RequestError):
    """The JSON is damaged, too large, or does not match the schema. Also raised for binary tensors after the JSON."""


class UnsupportedMediaType(RequestError):
    """The content type or the content coding of the body is not supported."""


class BadHeader(RequestError):
    """A header has an invalid value."""


class InvalidApiKey(RequestError):
    """The API key is missing or unknown. `challenge` is the value of the WWW-Authenticate header."""

    def __init__(self, message: str, challenge: str) -> None:
        super().__init__(message)
        self.challenge = challenge


class ForbiddenOrigin(RequestError):
    """The host name is not allowed, or the request comes from a web page of another origin."""


class ResponseTooLarge(RequestError):
    """The response would exceed the byte limit."""


class DeadlineMissed(RequestError):
    """The deadline of the request passed. Stages that had not started are skipped."""


class Unavailable(RequestError):
    """The service cannot answer now. The client may try again after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Overloaded(Unavailable):
    """The queue or the memory budget is full."""


class NoModel(Unavailable):
    """The default model is not loaded yet."""


class ShuttingDown(Unavailable):
    """The service is shutting down. Another instance may answer."""


BODY_ERRORS: tuple[type[Exception], ...] = (BadHeader, ForbiddenOrigin, BodyTimeout, BodyTooLarge, Overloaded)
"""Errors of every endpoint that reads a body."""

IMAGE_ERRORS = (*BODY_ERRORS, EmptyImage, ImageTooLarge, NotAnImage, DamagedImage, DeadlineMissed)
"""Errors of every endpoint that reads images."""
