"""Download one file from one address into a partial file, and resume a broken download.

Bytes from an earlier attempt are reused if the server confirms that the file is unchanged (If-Range with its ETag or Last-Modified), or if
a published hash can verify the result. If the server ignores the requested range, the whole file is downloaded again.

The number of requests is limited: a request that brings no new bytes ends the download, except for one restart from the first byte.
"""

import socket
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.exceptions import ChunkedEncodingError
from urllib3.exceptions import HTTPError

from detector.version import installed_version
from weights.errors import FetchError
from weights.hub.cache import looks_like_html
from weights.hub.catalogue import Entry
from weights.hub.mirrors import redact_password
from weights.hub.partial_file import CHUNK_BYTES, PartialFile, ProgressCallback

# Darknet's site answers 403 to the default user agents of Python libraries.
USER_AGENT = f"boxwright/{installed_version()} (object detection; fetches pretrained weights)"
TIMEOUT = (10, 60)  # seconds to connect, and between two chunks


def download(entry: Entry, address: str, partial: PartialFile, on_progress: ProgressCallback | None = None) -> None:
    """Download the file at `address` into `partial`. Resume after an interruption while each request brings new bytes.

    The length is checked, the hash is not.

    Args:
        entry: The catalogue entry, for its sizes and hashes.
        address: The URL of the file.
        partial: Where the bytes go. After a FetchError it keeps those that a later run can use.
        on_progress: Called after each chunk.

    Raises:
        FetchError: This address does not send the file. The caller puts the address before the message.
        DiskError: The bytes cannot be written. `partial` is then discarded.
    """
    restarted = False
    while partial.size not in entry.sizes:
        size_before = partial.size
        try:
            if _transfer(entry, address, partial, on_progress):
                return
        except (requests.RequestException, HTTPError, ValueError) as error:  # malformed addresses cause the last two
            if partial.size <= size_before:
                raise FetchError(_reason(error, partial)) from error
        else:
            if restarted:
                raise FetchError("it sent the wrong part of the file twice")
            restarted = True


def _transfer(entry: Entry, address: str, partial: PartialFile, on_progress: ProgressCallback | None) -> bool:
    """Make one request. Return False if the response does not continue at the end of `partial`, so the download must start again."""
    offset = _reusable_bytes(entry, address, partial)
    headers, hooks = _headers(offset, partial), {"response": _check_redirect}
    with requests.get(address, headers=headers, hooks=hooks, stream=True, timeout=TIMEOUT) as response:
        if offset and response.status_code == HTTPStatus.OK:
            offset = 0
        elif offset and not _continues_at(response, offset):
            partial.discard()
            return False
        total = _announced_size(entry, response, offset)
        partial.check_space((total or max(entry.sizes, default=0)) - offset)
        if not offset:
            partial.start(address, _validator(response))
        _receive(entry, response, partial, total=total, on_progress=on_progress)
    if entry.sizes and partial.size not in entry.sizes:
        raise FetchError(f"it sent {partial.size:,} bytes instead of {entry.sizes_text}")
    return True


def _check_redirect(response: requests.Response, **_: Any) -> None:
    """Raise FetchError for a redirect that weakens the connection or enters the internal network, before it is followed."""
    location = requests.Session().get_redirect_target(response)
    if location is None:
        return
    response.close()  # `requests` would read the body of the redirect into memory
    # urlsplit and requests find different hosts in some malformed addresses, so the address is corrected as requests does it.
    target = str(requests.Request("GET", urljoin(response.url, location)).prepare().url)
    problem = ""
    if response.url.startswith("https:") and not target.startswith("https:"):
        problem = "it redirects from https to http, where others can change the file in transit"
    elif _is_internal(target) and not _is_internal(response.url):
        problem = "it redirects from the internet to an address of the internal network"
    if problem:
        raise FetchError(problem)


def _is_internal(address: str) -> bool:
    """True if the host has an address that is not on the public internet: private, loopback, link-local and the like.

    A host that cannot be resolved is not internal: a proxy may resolve it.
    """
    try:
        found = socket.getaddrinfo(urlsplit(address).hostname, None, type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return False
    return any(not ip_address(str(address[0]).partition("%")[0]).is_global for *_, address in found)


def _reusable_bytes(entry: Entry, address: str, partial: PartialFile) -> int:
    same_origin = partial.is_from(address) and ("validator" in partial.note or bool(entry.hashes))
    return partial.size if same_origin and partial.size < entry.max_bytes else 0


def _headers(offset: int, partial: PartialFile) -> dict[str, str]:
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if validator := partial.note.get("validator"):
            headers["If-Range"] = validator
    return headers


def _validator(response: requests.Response) -> str | None:
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")  # If-Range requires a strong ETag


def _continues_at(response: requests.Response, offset: int) -> bool:
    """Return whether the existing bytes are usable. Only a different or missing range makes them unusable, other errors do not."""
    if response.status_code == HTTPStatus.PARTIAL_CONTENT:
        return response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
    return response.status_code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE


def _announced_size(entry: Entry, response: requests.Response, offset: int) -> int | None:
    """Return the size of the whole file, if known. Raises FetchError for a response that cannot be the file."""
    if response.status_code != (HTTPStatus.PARTIAL_CONTENT if offset else HTTPStatus.OK):
        raise FetchError(f"it answered {response.status_code} {response.reason}")
    if response.headers.get("Content-Type", "").startswith(("text/html", "application/xhtml")):
        raise FetchError("it answered with an HTML page instead of the file")
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":  # a small compressed response could expand to a file of any size
        raise FetchError(f"it compressed the file with {encoding}, although the request forbids compression")
    length = response.headers.get("Content-Length", "")
    if not length.isdecimal():
        return entry.sizes[0] if len(entry.sizes) == 1 else None
    total = offset + int(length)
    if total > entry.max_bytes or (entry.sizes and total not in entry.sizes):
        raise FetchError(f"it offers {total:,} bytes instead of {entry.sizes_text}")
    return total


def _receive(
    entry: Entry, response: requests.Response, partial: PartialFile, *, total: int | None, on_progress: ProgressCallback | None
) -> None:
    with partial.path.open("ab", buffering=0) as file:
        done = file.tell()
        for chunk in response.iter_content(CHUNK_BYTES):
            if not done and looks_like_html(chunk):
                partial.discard()
                raise FetchError("it sent an HTML page instead of the file")
            done += len(chunk)
            if done > entry.max_bytes:
                partial.discard()
                raise FetchError(f"it sent more than {entry.max_bytes:,} bytes")
            partial.append(file, chunk)
            if on_progress:
                on_progress(done, total)


def _reason(error: Exception, partial: PartialFile) -> str:
    if isinstance(error, requests.Timeout):
        return f"it does not answer (timeout: {TIMEOUT[0]} s to connect, {TIMEOUT[1]} s between two chunks)"
    if isinstance(error, ChunkedEncodingError):
        return f"the connection broke off after {partial.size:,} bytes"
    cause = error.args[0] if error.args else type(error).__name__
    return redact_password(str(getattr(cause, "reason", cause)).rsplit(": ", 1)[-1].rstrip("."))
