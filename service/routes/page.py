"""GET /: a web page for trying the service, and its files."""

import mimetypes
import os
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope

WEB_FOLDER = Path(__file__).resolve().parents[1] / "web"

mimetypes.add_type("text/javascript", ".js")  # some systems map it to text/plain, and browsers refuse such modules


class PageFiles(StaticFiles):
    """Static files that browsers revalidate on each use (RFC 9111, no-cache), so that they never show an outdated page."""

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Add the Cache-Control header to a file, or to the response 304."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["cache-control"] = "no-cache"
        return response


page_files = PageFiles(directory=WEB_FOLDER)
router = APIRouter(include_in_schema=False)


@router.get("/")
async def page(request: Request) -> Response:
    """Return the web page."""
    return await page_files.get_response("index.html", request.scope)
