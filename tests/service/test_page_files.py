"""The files of the page, and what browsers are told about every answer."""

import re
from pathlib import Path

import pytest

from service.middleware.security_headers import HEADERS
from service.routes.page import FOLDER, MEDIA_TYPES

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file())


def test_every_file_of_the_folder_is_served_as_it_is(ask, tiny_app):
    assert len(FILES) > 15
    for path in FILES:
        answer = ask(tiny_app, "GET", f"/web/{path.relative_to(FOLDER).as_posix()}")
        assert (answer.status_code, answer.content) == (200, path.read_bytes()), path
        assert answer.headers["content-type"] == MEDIA_TYPES[path.suffix]


def test_the_page_is_at_the_root(ask, tiny_app):
    answer = ask(tiny_app, "GET", "/")
    assert answer.text.startswith("<!doctype html>")
    assert ask(tiny_app, "HEAD", "/").headers["content-length"] == str(len(answer.content))


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
        "/web/page.js/",
        "/web/a%00",
    ],
)
def test_nothing_else_is_served(ask, tiny_app, path):
    answer = ask(tiny_app, "GET", path, follow_redirects=False)
    assert answer.status_code in (404, 307), path
    if answer.status_code == 404:
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("said", ["{}", "W/{}", '"other", {}', "*"])
def test_a_browser_that_has_it_already_gets_304(ask, tiny_app, said):
    first = ask(tiny_app, "GET", "/web/page.js")
    assert first.headers["cache-control"] == "no-cache"
    again = ask(tiny_app, "GET", "/web/page.js", headers={"if-none-match": said.format(first.headers["etag"])})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert ask(tiny_app, "GET", "/web/style.css", headers={"if-none-match": first.headers["etag"]}).status_code == 200


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("GET", "/models"), ("POST", "/detect"), ("GET", "/missing"), ("GET", "/docs")])
def test_every_answer_tells_browsers_to_be_careful(ask, tiny_app, method, path):
    headers = ask(tiny_app, method, path).headers
    assert {name: headers[name] for name in HEADERS} == HEADERS
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert ("unsafe" in policy) == (path == "/docs")


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere():
    page = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script>", page)
    for path in FILES:
        if path.suffix in (".html", ".css", ".js", ".svg"):
            text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "").replace("http://…", "")
            assert not re.search(r"https?://|innerHTML|eval\(", text), path


def test_the_wheel_takes_every_file_along():
    import tomllib

    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["service"]
    packed = {path for pattern in patterns for path in (ROOT / "service").glob(pattern) if path.is_file()}
    assert packed == set(FILES)


def test_the_samples_are_the_photos_of_the_documentation():
    for name in ("cat.jpg", "astronaut.jpg"):
        assert (FOLDER / "samples" / name).read_bytes() == (ROOT / "docs" / "photos" / name).read_bytes()
