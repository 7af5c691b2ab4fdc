"""What a client of the service may meet.

BoxwrightError
└── ClientError
    ├── Unreachable     no connection, or no answer
    ├── NotTheService   an answer that is none of Boxwright's
    ├── StillBusy       503 for as long as the client was to be patient
    └── Refused         the service says why it does not answer this request
"""

from detector.errors import BoxwrightError


class ClientError(BoxwrightError):
    """There is no answer to a request."""


class Unreachable(ClientError):
    """The service cannot be connected to, or hung up, or was silent for too long."""


class NotTheService(ClientError):
    """Something else answered, or a proxy in between."""


class StillBusy(ClientError):
    """The service asks for more patience than there is."""


class Refused(ClientError):
    """The service's own words are the message. `status` is that of HTTP, `kind` the problem's type."""

    def __init__(self, sentence: str, status: int, kind: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.kind = kind
