"""A client of the service in Python.

with Client("http://localhost:8000") as client:
    answer = client.detect(Path("dog.jpg").read_bytes(), confidence=0.5)
    for found in answer.detections:
        print(found.label, found.score, found.box.xmin)
"""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Literal, Self, TypeVar
from urllib.parse import urlsplit

import requests
from pydantic import BaseModel, ValidationError

from detector.errors import SettingError
from service.auth.api_keys import HEADER
from service.client.errors import NotTheService, Refused, StillBusy, Unreachable
from service.client.retry_after import seconds_of
from service.schemas.detections import DetectResponse
from service.schemas.models import ModelDescription, ModelList
from service.schemas.problem import Problem
from weights.hub.mirrors import without_password

CONNECT_SECONDS = 10
MAX_ANSWER_BYTES = 256 * 2**20
"""A PNG of the largest photo, in base64, is shorter."""

Shape = TypeVar("Shape", bound=BaseModel)


class Client:
    """Asks one service, over one connection at a time; not for several threads at once.

    api_key: where the service wants one. timeout: seconds without a byte of the answer. patience: seconds to wait in all, for one
    request, where the service is busy (503) and says when to come again. Raises SettingError where `url` is no http address, or the key
    cannot be sent.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = 60,
        patience: float = 60,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self.shown = without_password(self.url)
        if not _is_address(self.url):
            raise SettingError(f"the service's address is http://host:port or https://host, got {self.shown!r}.")
        self._timeout = timeout
        self._patience = patience
        self._wait = wait
        self._session = requests.Session()
        if api_key:
            self._session.headers[HEADER] = _sendable(api_key)  # not Authorization, which requests takes from .netrc and from the address

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._session.close()

    def models(self) -> list[ModelDescription]:
        """The models that are being served, the default first. Raises ClientError."""
        return self._shaped(ModelList, self._ask("GET", "models")).models

    def detect(
        self,
        photo: bytes,
        *,
        model: str | None = None,
        confidence: float | None = None,
        iou: float | None = None,
        classes: Sequence[str] = (),
        max_detections: int | None = None,
        answer: Literal["json", "both"] = "json",
    ) -> DetectResponse:
        """What is in the bytes of a photo's file; options that are None are the service's. answer="both": with the annotated photo.

        Raises Refused where the photo or an option cannot be used, and the other ClientErrors.
        """
        given = {"model": model, "confidence": confidence, "iou": iou, "max_detections": max_detections}
        query = [(name, str(value)) for name, value in given.items() if value is not None]
        query += [("classes", label) for label in classes] + [("format", answer)]
        return self._shaped(DetectResponse, self._ask("POST", "detect", query, photo))

    def _shaped(self, shape: type[Shape], body: bytes) -> Shape:
        try:
            return shape.model_validate_json(body)
        except ValidationError as error:
            raise NotTheService(
                f"{self.shown} answers {body[:40]!r}, which is not as Boxwright's service answers. Is it the right address?"
            ) from error

    def _ask(self, method: str, path: str, query: Sequence[tuple[str, str]] = (), photo: bytes | None = None) -> bytes:
        """The body of the answer with status 200, after as many tries as the service asks for and patience allows."""
        waited = 0.0
        while True:
            response, body = self._send(method, path, query, photo)
            if response.status_code == 200:
                return body
            again = seconds_of(response.headers.get("retry-after"))
            if response.status_code != 503 or again is None:
                raise self._refusal(response, body)
            if waited + again > self._patience:
                raise StillBusy(
                    f"{self.shown} is busy: it asks to come again in {again:.0f} s, after {waited:.0f} s of waiting; "
                    f"{self._patience:.0f} s were allowed. Try again later, or send less at a time."
                )
            self._wait(again)
            waited += again

    def _send(self, method: str, path: str, query: Sequence[tuple[str, str]], photo: bytes | None) -> tuple[requests.Response, bytes]:
        headers = {"content-type": "application/octet-stream"} if photo is not None else None
        try:
            with self._session.request(
                method,
                f"{self.url}/{path}",
                params=list(query),
                data=photo,
                headers=headers,
                timeout=(CONNECT_SECONDS, self._timeout),
                allow_redirects=False,  # a POST would become a GET
                stream=True,
            ) as response:
                return response, self._read(response)
        except requests.RequestException as error:
            raise Unreachable(
                f"{self.shown} does not answer: {_reason(error)}. Is the service running, and is this its address?"
            ) from error

    def _read(self, response: requests.Response) -> bytes:
        body = bytearray()
        for chunk in response.iter_content(2**16):
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise NotTheService(f"{self.shown} answers more than {MAX_ANSWER_BYTES:,} bytes, which the service never does.")
        return bytes(body)

    def _refusal(self, response: requests.Response, body: bytes) -> NotTheService | Refused:
        status = response.status_code
        if response.is_redirect:
            target = without_password(response.headers["location"])[:200]
            return NotTheService(f"{self.shown} sends elsewhere ({status}), to {target!r}. Give that server's address.")
        try:
            problem = Problem.model_validate_json(body)
        except ValidationError:
            return NotTheService(f"{self.shown} answers {status} {response.reason!r} and no reason. Is it Boxwright's service?")
        return Refused(f"{problem.title}: {problem.detail}", status, problem.type)


def _sendable(api_key: str) -> str:
    if not (api_key.isascii() and api_key.isprintable() and api_key.strip() == api_key):
        raise SettingError("the key has spaces, line ends or other characters that no key has. Copy it again.")  # it is not repeated
    return api_key


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # is computed here, and refused here
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment


def _reason(error: requests.RequestException) -> str:
    """The innermost cause, in which the address with its password is not repeated."""
    if isinstance(error, requests.Timeout):
        return "it was silent for too long"
    cause: object = error
    while isinstance(cause, BaseException):
        inner = getattr(cause, "reason", None) or cause.__cause__ or cause.__context__ or next(iter(cause.args), None)
        if not isinstance(inner, BaseException):
            break
        cause = inner
    text = getattr(cause, "strerror", None) or str(cause)
    return without_password(str(text).rstrip("."))
