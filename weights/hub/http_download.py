"""One file from one address into a partial file, taking up a broken download where it stopped.

No address is asked for ever: each further request must bring bytes, or is the one that starts again from the first byte.

Bytes that are already there are asked for no second time if the server can tell that the file is still the same (If-Range with its ETag
or Last-Modified), or a published hash will tell. A server that ignores the range sends everything, and everything is written anew.
"""

from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import urljoin

import requests
from requests.exceptions import ChunkedEncodingError
from urllib3.exceptions import HTTPError

from weights.errors import FetchError
from weights.hub.cache import looks_like_html
from weights.hub.catalogue import Entry
from weights.hub.mirrors import without_password
from weights.hub.partial_file import CHUNK, Partial, Progress


def _user_agent() -> str:
    try:
        installed = version("boxwright")
    except PackageNotFoundError:  # the code runs from a folder that nobody installed
        installed = "0+uninstalled"
    return f"boxwright/{installed} (object detection; fetches pretrained weights)"


USER_AGENT = _user_agent()  # Darknet's site answers 403 to Python's own
TIMEOUT = (10, 60)  # seconds to connect, and without a byte


def download(entry: Entry, address: str, partial: Partial, progress: Progress | None = None) -> None:
    """Bring the file at `address` into `partial`, taking it up again as long as that gets further.

    Its length is checked, its hash is not. Raises FetchError with a phrase that says what went wrong at this address; bytes that a
    later run can use then stay in `partial`. Raises DiskError, with nothing left, where they cannot be written.
    """
    restarted = False
    while partial.size not in entry.sizes:
        before = partial.size
        try:
            if _transfer(entry, address, partial, progress):
                return
        except (requests.RequestException, HTTPError, ValueError) as error:  # the last two: of addresses that cannot be
            if partial.size <= before:
                raise FetchError(_reason(error, partial)) from error
        else:
            if restarted:
                raise FetchError("twice it did not go on where the file had stopped")
            restarted = True


def _transfer(entry: Entry, address: str, partial: Partial, progress: Progress | None) -> bool:
    """One request. Returns False if its answer does not go on where the file stopped, so that all must be asked for anew."""
    offset = _usable(entry, address, partial)
    headers, hooks = _headers(offset, partial), {"response": _stay_secure}
    with requests.get(address, headers=headers, hooks=hooks, stream=True, timeout=TIMEOUT) as response:
        if offset and response.status_code == HTTPStatus.OK:
            offset = 0
        elif offset and not _goes_on(response, offset):
            partial.discard()
            return False
        total = _announced(entry, response, offset)
        partial.check_space((total or max(entry.sizes, default=0)) - offset)
        if not offset:
            partial.begin(address, _validator(response))
        _write(entry, response, partial, total=total, progress=progress)
    if entry.sizes and partial.size not in entry.sizes:
        raise FetchError(f"it sent {partial.size:,} bytes instead of {entry.sizes_text}")
    return True


def _stay_secure(response: requests.Response, **_: Any) -> None:
    """Raise FetchError for a redirection to http from https, before it is followed."""
    target = urljoin(response.url, response.headers.get("Location", ""))
    if response.is_redirect and response.url.startswith("https:") and not target.startswith("https:"):
        response.close()
        raise FetchError("it leads from https to http, where anybody may change the file on its way")


def _usable(entry: Entry, address: str, partial: Partial) -> int:
    """How many of the bytes there already are can be kept."""
    same = partial.is_from(address) and ("validator" in partial.note or bool(entry.hashes))
    return partial.size if same and partial.size < entry.largest else 0


def _headers(offset: int, partial: Partial) -> dict[str, str]:
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if validator := partial.note.get("validator"):
            headers["If-Range"] = validator
    return headers


def _validator(response: requests.Response) -> str | None:
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")  # If-Range wants a strong one


def _goes_on(response: requests.Response, offset: int) -> bool:
    """False for another part than asked for, or for none; an error says nothing about the bytes we have."""
    if response.status_code == HTTPStatus.PARTIAL_CONTENT:
        return response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
    return response.status_code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE


def _announced(entry: Entry, response: requests.Response, offset: int) -> int | None:
    """The length of the whole file by the server's word, or by ours. Raises FetchError for an answer that cannot be the file."""
    if response.status_code != (HTTPStatus.PARTIAL_CONTENT if offset else HTTPStatus.OK):
        raise FetchError(f"it answered {response.status_code} {response.reason}")
    if response.headers.get("Content-Type", "").startswith(("text/html", "application/xhtml")):
        raise FetchError("it answered with an HTML page instead of the file")
    packed = response.headers.get("Content-Encoding", "identity")
    if packed.lower() != "identity":  # a small answer could be an endless file
        raise FetchError(f"it packed the file with {packed}, which it was not asked for")
    length = response.headers.get("Content-Length", "")
    if not length.isdecimal():
        return entry.sizes[0] if len(entry.sizes) == 1 else None
    total = offset + int(length)
    if total > entry.largest or (entry.sizes and total not in entry.sizes):
        raise FetchError(f"it offers {total:,} bytes instead of {entry.sizes_text}")
    return total


def _write(entry: Entry, response: requests.Response, partial: Partial, *, total: int | None, progress: Progress | None) -> None:
    with partial.path.open("ab", buffering=0) as file:
        done = file.tell()
        for chunk in response.iter_content(CHUNK):
            if not done and looks_like_html(chunk):
                partial.discard()
                raise FetchError("it sent an HTML page instead of the file")
            done += len(chunk)
            if done > entry.largest:
                partial.discard()
                raise FetchError(f"it sent more than {entry.largest:,} bytes, and was cut off")
            partial.append(file, chunk)
            if progress:
                progress(done, total)


def _reason(error: Exception, partial: Partial) -> str:
    if isinstance(error, requests.Timeout):
        return f"it does not answer (waited {TIMEOUT[0]} s to connect, {TIMEOUT[1]} s for a byte)"
    if isinstance(error, ChunkedEncodingError):
        return f"it broke off after {partial.size:,} bytes"
    cause = error.args[0] if error.args else type(error).__name__
    return without_password(str(getattr(cause, "reason", cause)).rsplit(": ", 1)[-1].rstrip("."))
