"""What the service refuses of a request, whatever photo is in it.

BoxwrightError
└── RequestError
    ├── BodyTooLarge        more bytes than the service reads
    ├── BadForm             a multipart form that cannot be read, or without a photo
    ├── BadJson             JSON that cannot be read, or is not of the shape wanted
    ├── UnsupportedBody     a body of a kind that holds no photo
    ├── BadHeader           a header whose value makes no sense
    ├── KeyWanted           no key, or one that is not known
    ├── SlowBody            a body that takes too long to arrive
    ├── DeadlineMissed      no answer within the time there was
    └── Unavailable         not now, but later
        ├── Overloaded      as many photos wait as may
        ├── NoModel         there is nothing to answer with yet
        └── ShuttingDown    the service is about to end
"""

from detector.errors import BoxwrightError


class RequestError(BoxwrightError):
    """The request cannot be read, or not be answered in its time."""


class BodyTooLarge(RequestError):
    """The body has more bytes than the service reads."""


class BadForm(RequestError):
    """The multipart form is damaged, too long, or holds no photo."""


class BadJson(RequestError):
    """The JSON is damaged, too large, or not of the shape that the endpoint wants; so is binary data that goes with it."""


class UnsupportedBody(RequestError):
    """The body's content type is one that holds no photo."""


class BadHeader(RequestError):
    """A header's value is not one that it may have."""


class KeyWanted(RequestError):
    """There is no key, or one that the service does not know. `challenge` is the header WWW-Authenticate."""

    def __init__(self, sentence: str, challenge: str) -> None:
        super().__init__(sentence)
        self.challenge = challenge


class SlowBody(RequestError):
    """The body did not arrive in the time that it may take."""


class DeadlineMissed(RequestError):
    """The time that the request had is over; what was not begun of it is left undone."""


class Unavailable(RequestError):
    """Not now; the same request may be answered in `retry_after` seconds."""

    def __init__(self, sentence: str, retry_after: int) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class Overloaded(Unavailable):
    """As many photos wait as may."""


class NoModel(Unavailable):
    """The model that would answer is not there yet."""


class ShuttingDown(Unavailable):
    """The service is about to end; another one may answer."""
