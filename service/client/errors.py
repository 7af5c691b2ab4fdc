"""Errors of the Python client."""

from detector.errors import BoxwrightError


class ClientError(BoxwrightError):
    """A request failed."""


class ServiceUnreachable(ClientError):
    """The connection failed, was closed, or timed out."""


class UnexpectedResponse(ClientError):
    """The response is too long, a redirect, or from another program, such as a proxy."""


class ServiceBusy(ClientError):
    """The service asks to wait longer than the client allows."""


class RequestRejected(ClientError):
    """The service refused the request. The message, the HTTP status and the kind of problem (RFC 9457) are the service's own."""

    def __init__(self, message: str, status: int, kind: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind  # such as "urn:boxwright:problem:not-an-image"
