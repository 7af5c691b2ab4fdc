"""Python client of the service.

Example:
    with ServiceClient("http://localhost:8000") as client:
        result = client.detect(Path("dog.jpg").read_bytes(), confidence=0.5)
        for detection in result.detections:
            print(detection.label, detection.score, detection.box.xmin)
"""

import math
import time
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Literal, Self, TypeVar
from urllib.parse import urlsplit

import requests
from pydantic import BaseModel

from detector.errors import SettingError
from service.auth.api_keys import KEY_HEADER
from service.client.errors import RequestRejected, ServiceBusy, ServiceUnreachable, UnexpectedResponse
from service.schemas.detections import DetectResponse
from service.schemas.models import ModelInfo, ModelList
from service.schemas.problem import Problem
from weights.hub.mirrors import redact_password

CONNECT_SECONDS = 10

MAX_RESPONSE_BYTES = 256 * 2**20  # Well above the response of a service with default limits: 64 MiB of annotated images in base64.
MAX_VALUES, MAX_CONTAINERS = 2_000_000, 200_000
"""JSON values, and lists and objects, of one response. Parsing 250 MB of detections would take gigabytes of memory and a minute. The
response to a request has at most 1,000 detections, and GET /models lists up to 100,000 labels of a model."""

MIN_RETRY_SECONDS = 1.0
"""Shortest wait while the service is busy. With "Retry-After: 0", a service could otherwise keep the client busy forever."""

Schema = TypeVar("Schema", bound=BaseModel)


class ServiceClient:
    """HTTP client for one service. It keeps one connection open and must not be shared between threads."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = 60,
        max_wait: float = 60,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Create a client.

        Args:
            url: Address of the service, such as "http://localhost:8000".
            api_key: Key, if the service requires one.
            timeout: Seconds without a byte of the response after which the request fails.
            max_wait: Seconds to wait per request while the service is busy (503 with Retry-After).
            sleep: Called with the seconds to wait.

        Raises:
            SettingError: The URL or the key is not valid.
        """
        self.url = url.rstrip("/")
        self.display_url = redact_password(self.url)
        if not _is_http_url(self.url):
            raise SettingError(f"the address of the service must be http://host:port or https://host, got {self.display_url!r}.")
        self._timeout = timeout
        self._max_wait = max_wait
        self._sleep = sleep
        self._session = requests.Session()
        if api_key:
            # Not Authorization: requests would overwrite it with a password from .netrc or the URL.
            self._session.headers[KEY_HEADER] = _check_key(api_key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._session.close()

    def models(self) -> list[ModelInfo]:
        """Return the models that the service has, the default first. Raises ClientError."""
        return self._parse(ModelList, self._request("GET", "models")).models

    def detect(
        self,
        image_bytes: bytes,
        *,
        model: str | None = None,
        confidence: float | Literal["auto"] | None = None,
        iou: float | None = None,
        classes: Sequence[str] = (),
        max_detections: int | None = None,
        include_annotated: bool = False,
    ) -> DetectResponse:
        """Detect objects in one image. None selects the default of the service.

        Args:
            image_bytes: Content of an image file.
            model: Name of the model.
            confidence: Drop boxes with this score or a lower one. "auto" is the score that the model suggests for each class.
            iou: Overlap above which the worse of two boxes of one class is dropped.
            classes: Labels to detect; all if empty.
            max_detections: Largest number of detections.
            include_annotated: Also return the image with the boxes drawn on it.

        Raises:
            RequestRejected: The image or an option is not valid.
            ClientError: There was no valid response.
        """
        given = {"model": model, "confidence": confidence, "iou": iou, "max_detections": max_detections}
        query = [(name, str(value)) for name, value in given.items() if value is not None]
        query += [("classes", label) for label in classes] + [("format", "both" if include_annotated else "json")]
        body = self._request("POST", "detect", query, image_bytes)
        response = self._parse(DetectResponse, body)
        if not _is_usable(response):
            raise self._unexpected(body)
        return response

    def _parse(self, schema: type[Schema], body: bytes) -> Schema:
        try:
            return _parse_bounded(schema, body)
        except ValueError as error:
            raise self._unexpected(body) from error

    def _unexpected(self, body: bytes) -> UnexpectedResponse:
        return UnexpectedResponse(
            f"{self.display_url} answered {body[:40]!r}, which is not a response of Boxwright's service. Check the address."
        )

    def _request(self, method: str, path: str, query: Sequence[tuple[str, str]] = (), body: bytes | None = None) -> bytes:
        """Return the body of a 200 response. Repeat the request while the service is busy and `max_wait` allows it."""
        waited = 0.0
        while True:
            response, content = self._send(method, path, query, body)
            if response.status_code == 200:
                return content
            delay = parse_retry_after(response.headers.get("retry-after"))
            if response.status_code != 503 or delay is None:
                raise self._error(response, content)
            delay = max(delay, MIN_RETRY_SECONDS)
            if waited + delay > self._max_wait:
                raise ServiceBusy(
                    f"{self.display_url} is busy for another {delay:.0f} s. The client has waited {waited:.0f} s of at most "
                    f"{self._max_wait:.0f} s. Try again later, or send fewer requests at a time."
                )
            self._sleep(delay)
            waited += delay

    def _send(self, method: str, path: str, query: Sequence[tuple[str, str]], body: bytes | None) -> tuple[requests.Response, bytes]:
        headers = {"content-type": "application/octet-stream"} if body is not None else None
        try:
            with self._session.request(
                method,
                f"{self.url}/{path}",
                params=list(query),
                data=body,
                headers=headers,
                timeout=(CONNECT_SECONDS, self._timeout),
                allow_redirects=False,  # requests turns a redirected POST into a GET
                stream=True,
            ) as response:
                return response, self._read(response)
        except requests.RequestException as error:
            raise ServiceUnreachable(
                f"{self.display_url} does not answer: {_reason(error)}. Check that the service is running at this address."
            ) from error

    def _read(self, response: requests.Response) -> bytes:
        content = bytearray()
        for chunk in response.iter_content(2**16):
            content += chunk
            if len(content) > MAX_RESPONSE_BYTES:
                raise UnexpectedResponse(f"{self.display_url} sent more than {MAX_RESPONSE_BYTES:,} bytes, the limit of this client.")
        return bytes(content)

    def _error(self, response: requests.Response, content: bytes) -> UnexpectedResponse | RequestRejected:
        status = response.status_code
        if response.is_redirect:
            target = redact_password(response.headers["location"])[:200]
            return UnexpectedResponse(f"{self.display_url} redirects ({status}) to {target!r}. Use the address of that server.")
        try:
            problem = _parse_bounded(Problem, content)
        except ValueError:
            return UnexpectedResponse(
                f"{self.display_url} answered {status} {response.reason!r} without a problem detail. Check that it is Boxwright's service."
            )
        return RequestRejected(_message_of(problem), status, problem.type)


def _parse_bounded(schema: type[Schema], body: bytes) -> Schema:
    """Parse a response. Raises ValueError if it has another structure or too many values."""
    containers = body.count(b"[") + body.count(b"{")
    if containers > MAX_CONTAINERS or containers + body.count(b",") > MAX_VALUES:
        raise ValueError("the response has too many values")
    return schema.model_validate_json(body)


def _is_usable(response: DetectResponse) -> bool:
    """Return whether all numbers are finite and the annotated image is valid base64. The service ensures both, but JSON does not."""
    if response.annotated:
        try:
            response.annotated.decoded()
        except ValueError:
            return False
    return all(math.isfinite(number) for found in response.detections for number in (found.score, *found.box.model_dump().values()))


def _message_of(problem: Problem) -> str:
    """Return title and detail. The title is omitted if the detail begins with the same words."""
    return problem.detail if problem.detail.startswith(problem.title) else f"{problem.title}: {problem.detail}"


def parse_retry_after(header: str | None) -> float | None:
    """Return the seconds to wait according to a Retry-After header (RFC 9110, section 10.2.3), or None if it is absent or invalid."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) < 10 else math.inf
    try:
        until = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):  # not a date, or a date before year 1
        return None
    return max(0.0, until - time.time())


def _check_key(api_key: str) -> str:
    if not (api_key.isascii() and api_key.isprintable() and api_key.strip() == api_key):
        raise SettingError("the API key has spaces, line breaks or non-ASCII characters. Copy it again.")  # never print the key
    return api_key


def _is_http_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError if it is not a number
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment


def _reason(error: requests.RequestException) -> str:
    """Return the innermost cause, because the outer messages repeat the URL with its password."""
    if isinstance(error, requests.Timeout):
        return "the request timed out"
    cause: object = error
    while isinstance(cause, BaseException):
        inner = getattr(cause, "reason", None) or cause.__cause__ or cause.__context__ or next(iter(cause.args), None)
        if not isinstance(inner, BaseException):
            break
        cause = inner
    text = getattr(cause, "strerror", None) or str(cause)
    return redact_password(str(text).rstrip("."))
