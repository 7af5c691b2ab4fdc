"""The files of the web page, and the security headers of every response."""

import re
import tomllib
from pathlib import Path

import pytest

from service.middleware.security_headers import HEADERS
from service.routes.page import WEB_FOLDER

ROOT = Path(__file__).resolve().parents[3]
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
FILES = sorted(path for path in WEB_FOLDER.rglob("*") if path.is_file())


def test_every_file_of_the_folder_is_served_unchanged(send_request, tiny_app):
    assert len(FILES) > 15
    for path in FILES:
        response = send_request(tiny_app, "GET", f"/web/{path.relative_to(WEB_FOLDER).as_posix()}")
        assert (response.status_code, response.content) == (200, path.read_bytes()), path
        assert response.headers["content-type"] == MEDIA_TYPES[path.suffix]


def test_the_page_is_at_the_root(send_request, tiny_app):
    response = send_request(tiny_app, "GET", "/")
    assert response.text.startswith("<!doctype html>")
    assert send_request(tiny_app, "HEAD", "/").headers["content-length"] == str(len(response.content))


@pytest.mark.parametrize(
    "path",
    [
        "/web/",
        "/web",
        "/web/app.py",
        "/web/../app.py",
        "/web/%2e%2e/app.py",
        "/web//etc/passwd",
        "/web/samples",
        "/web/correct/",
        "/web/a%00",
    ],
)
def test_no_other_file_is_served(send_request, tiny_app, path):
    response = send_request(tiny_app, "GET", path, follow_redirects=False)
    assert response.status_code == 404, path
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("if_none_match", ["{}", "W/{}", '"other", {}', "*"])
def test_a_browser_with_the_current_file_gets_304(send_request, tiny_app, if_none_match):
    first = send_request(tiny_app, "GET", "/web/main.js")
    assert first.headers["cache-control"] == "no-cache"
    second = send_request(tiny_app, "GET", "/web/main.js", headers={"if-none-match": if_none_match.format(first.headers["etag"])})
    assert (second.status_code, second.content) == (304, b"")
    assert second.headers["etag"] == first.headers["etag"]
    assert send_request(tiny_app, "GET", "/web/styles/base.css", headers={"if-none-match": first.headers["etag"]}).status_code == 200


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("GET", "/models"), ("POST", "/detect"), ("GET", "/missing"), ("GET", "/docs")])
def test_every_response_has_the_security_headers(send_request, tiny_app, method, path):
    headers = send_request(tiny_app, method, path).headers
    assert {name: headers[name] for name in HEADERS} == HEADERS
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert ("unsafe" in policy) == (path == "/docs")


def test_the_page_has_no_inline_code_and_nothing_from_other_origins():
    page = (WEB_FOLDER / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script>", page)
    for path in FILES:
        if path.suffix in (".html", ".css", ".js", ".svg"):
            text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "").replace("http://…", "")
            assert not re.search(r"https?://|innerHTML|eval\(", text), path


def test_the_wheel_contains_every_file():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["service"]
    packed = {path for pattern in patterns for path in (ROOT / "service").glob(pattern) if path.is_file()}
    assert packed == set(FILES)


def test_the_sample_images_are_those_of_the_documentation():
    for name in ("cat.jpg", "astronaut.jpg"):
        assert (WEB_FOLDER / "samples" / name).read_bytes() == (ROOT / "docs" / "photos" / name).read_bytes()
