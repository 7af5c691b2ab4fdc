"""Errors of the Python client.

BoxwrightError
└── ClientError
    ├── ServiceUnreachable   no connection or no response
    ├── UnexpectedResponse   the response is not Boxwright's
    ├── ServiceBusy          503 for longer than the client waits
    └── RequestRejected      the service refused the request and states why
"""

from detector.errors import BoxwrightError


class ClientError(BoxwrightError):
    """A request was not answered."""


class ServiceUnreachable(ClientError):
    """The connection failed, was closed, or timed out."""


class UnexpectedResponse(ClientError):
    """The response comes from another program, such as a proxy."""


class ServiceBusy(ClientError):
    """The service asks to wait longer than the client allows."""


class RequestRejected(ClientError):
    """The service refused the request. The message is the service's own.

    Attributes:
        status: HTTP status.
        kind: Problem type (RFC 9457), such as "urn:boxwright:problem:not-an-image".
    """

    def __init__(self, message: str, status: int, kind: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
