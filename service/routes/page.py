"""GET /: a page to try the service with, and the files that it is made of."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).resolve().parents[1] / "web"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
"""Not asked of the system, which may know other ones: a browser runs no module that is called text/plain."""


@dataclass(frozen=True)
class PageFile:
    """One file of the page, in memory."""

    data: bytes
    media_type: str
    etag: str  # from its bytes, so that all replicas say the same


@cache
def page_files() -> dict[str, PageFile]:
    """Every file of the page by its path in the folder: whatever is not in here is never served."""
    files = {path.relative_to(FOLDER).as_posix(): path for path in sorted(FOLDER.rglob("*")) if path.suffix in MEDIA_TYPES}
    return {name: _read(path) for name, path in files.items()}


def _read(path: Path) -> PageFile:
    data = path.read_bytes()
    return PageFile(data, MEDIA_TYPES[path.suffix], f'"{hashlib.sha256(data).hexdigest()[:32]}"')


@router.get("/")
async def page(request: Request) -> Response:
    """The page."""
    return _answer("index.html", request)


@router.get("/web/{name:path}")
async def page_file(name: str, request: Request) -> Response:
    """A file that the page loads."""
    return _answer(name, request)


def _answer(name: str, request: Request) -> Response:
    """The file, or 304 to a browser that has it already; it asks each time (RFC 9111, no-cache), so it never shows an old page."""
    file = page_files().get(name)
    if file is None:
        raise HTTPException(404)
    headers = {"etag": file.etag, "cache-control": "no-cache"}
    if _has(request.headers.get("if-none-match", ""), file.etag):
        return Response(status_code=304, headers=headers)
    return Response(file.data, media_type=file.media_type, headers=headers)


def _has(if_none_match: str, etag: str) -> bool:
    """RFC 9110, section 13.1.2: a list of tags, compared weakly, or any."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags
