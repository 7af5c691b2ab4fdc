"""Pulling weights: files that are accepted and refused, and working without a connection."""

import hashlib
import json
import re
import urllib.request
from dataclasses import replace
from pathlib import Path
from urllib.error import HTTPError

import pytest

from detector.errors import ModelFileError
from detector.version import installed_version
from weights.hub import cache
from weights.hub.catalogue import Entry, entry_of
from weights.hub.fetch import fetch_entry, pull
from weights.hub.partial_file import CHUNK_BYTES
from weights.hub.pulled import list_pulled, remove_pulled, verify_pulled

HTML = b"<!DOCTYPE html>\n<html><title>Survival Strategies</title></html>".ljust(300_000)


def test_a_download_is_complete_and_its_progress_is_reported(small_entry: Entry, home, web_server, body: bytes):
    reports: list[tuple[int, int | None]] = []
    path = fetch_entry(small_entry, on_progress=lambda done, total: reports.append((done, total)))
    assert path.read_bytes() == body
    assert home.files() == {"small.weights"}
    assert [total for _, total in reports] == [len(body)] * len(reports)
    assert [done for done, _ in reports] == [*range(CHUNK_BYTES, len(body), CHUNK_BYTES), len(body)]
    fetch_entry(small_entry)
    assert len(web_server.requests) == 1  # the second call uses the cache


def test_the_request_has_our_own_user_agent(small_entry: Entry, web_server):
    with pytest.raises(HTTPError, match="403"):
        urllib.request.urlopen(small_entry.addresses[0])
    fetch_entry(small_entry)
    assert [request.status for request in web_server.requests] == [403, 200]
    assert web_server.requests[1].headers["User-Agent"].startswith("boxwright/")
    assert f"boxwright/{installed_version()} (" in web_server.requests[1].headers["User-Agent"]


def test_without_a_published_size_and_sha256_the_md5_is_checked_and_the_sha256_recorded(small_entry: Entry, home, page, body: bytes):
    page.length = False
    entry = replace(small_entry, sizes=(), hashes={"md5": hashlib.md5(body).hexdigest()})
    assert fetch_entry(entry).read_bytes() == body
    assert json.loads((home.folder / cache.HASHES_FILE).read_text()) == {"small": hashlib.sha256(body).hexdigest()}


def test_a_file_with_a_wrong_hash_is_refused_and_deleted(small_entry: Entry, home, page, other_body: bytes):
    page.body = other_body
    home.assert_refused(
        small_entry, f"its hash is {hashlib.sha256(other_body).hexdigest()} instead of {small_entry.hashes['sha256']}, the published sha256"
    )
    assert home.files() == set()


def test_after_a_wrong_hash_the_next_address_is_tried(small_entry: Entry, web_server, body: bytes, other_body: bytes):
    web_server.pages["/damaged"] = web_server.page(other_body)
    assert fetch_entry(replace(small_entry, addresses=(f"{web_server.base}/damaged", *small_entry.addresses))).read_bytes() == body
    assert [request.path for request in web_server.requests] == ["/damaged", "/small.weights"]


@pytest.mark.parametrize(("data", "content_type"), [(HTML, "text/html; charset=utf-8"), (HTML, None), (b"?" * 300_000, "text/html")])
def test_a_web_page_instead_of_the_file_is_recognised(small_entry: Entry, home, page, data: bytes, content_type: str | None):
    page.body, page.content_type = data, content_type
    home.assert_refused(small_entry, "an HTML page instead of the file")
    assert home.files() == set()


def test_a_wrong_content_length_is_refused_before_the_body(small_entry: Entry, home, page, body: bytes):
    page.body = body + b"!"
    home.assert_refused(small_entry, "it offers 300,001 bytes instead of 300,000")


def test_a_body_that_exceeds_the_size_is_aborted(small_entry: Entry, home, web_server, page, body: bytes):
    page.body, page.length = body * 200, False
    home.assert_refused(small_entry, "it sent more than 300,000 bytes")
    assert web_server.requests[0].sent < len(page.body) // 2  # no more than the socket buffers hold
    assert home.files() == set()


def test_when_all_addresses_fail_the_message_has_a_reason_for_each(
    small_entry: Entry, home, web_server, unreachable: str, other_body: bytes
):
    missing, busy, wrong = (f"{web_server.base}/{name}" for name in ("missing", "busy", "wrong"))
    web_server.pages |= {"/busy": web_server.page(b"", status=503), "/wrong": web_server.page(other_body)}
    error = str(
        home.assert_refused(replace(small_entry, addresses=(f"{unreachable}/small.weights", missing, busy, wrong)), "could not be fetched")
    )
    reasons = [
        rf"{unreachable}/small.weights: .*refused",
        f"{missing}: it answered 404",
        f"{busy}: it answered 503",
        f"{wrong}: its hash is",
    ]
    assert [bool(re.search(reason, line)) for reason, line in zip(reasons, error.split("\n")[1:5], strict=True)] == [True] * 4
    assert "boxwright weights pull small --from small.weights" in error


def test_an_error_status_keeps_the_bytes_received_earlier(small_entry: Entry, home, page, body: bytes):
    page.cut_after = [150_000, 10]
    home.assert_refused(small_entry, "broke off")
    page.status = 503
    home.assert_refused(small_entry, "503")
    assert (home.folder / "small.weights.partial").read_bytes() == body[: 2 * CHUNK_BYTES]


def test_a_local_file_passes_the_same_checks(
    small_entry: Entry, home, tmp_path: Path, web_server, monkeypatch: pytest.MonkeyPatch, body: bytes
):
    monkeypatch.setenv("BOXWRIGHT_OFFLINE", "1")
    source = tmp_path / "local copy"
    source.write_bytes(body)
    reports: list[tuple[int, int | None]] = []
    assert fetch_entry(small_entry, source=source, on_progress=lambda *report: reports.append(report)).read_bytes() == body
    assert (home.files(), web_server.requests, reports) == ({"small.weights"}, [], [(len(body), len(body))])


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"\0" * 300_000, "its hash is .* the published sha256"),
        (b"\0" * 299_999, "it has 299,999 bytes instead of 300,000"),
        (b"\0" * 300_001, "it has 300,001 bytes instead of 300,000"),
        (b"", "it has 0 bytes instead of 300,000"),
        (HTML, "it is an HTML page"),
    ],
)
def test_a_wrong_local_file_is_refused_and_the_cached_file_stays(
    small_entry: Entry, home, tmp_path: Path, data: bytes, match: str, body: bytes
):
    fetch_entry(small_entry)
    source = tmp_path / "local copy"
    source.write_bytes(data)
    with pytest.raises(ModelFileError, match=rf"local copy is not small\.weights: {match}"):
        fetch_entry(small_entry, source=source)
    assert (home.folder / "small.weights").read_bytes() == body
    assert home.files() == {"small.weights"}


def test_a_missing_local_file_is_named(small_entry: Entry, tmp_path: Path):
    with pytest.raises(ModelFileError, match="nowhere cannot be read: No such file"):
        fetch_entry(small_entry, source=tmp_path / "nowhere")


def test_yolov2_is_pulled_with_an_interruption_then_listed_verified_and_removed(
    web_server, home, make_weights, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("BOXWRIGHT_MIRROR", web_server.base)
    entry = entry_of("yolov2-voc")
    body = make_weights(entry)
    web_server.pages["/yolov2-voc.weights"] = web_server.page(body, cut_after=[100_000_000])
    assert list_pulled() == {}
    path = pull("yolov2-voc")
    assert sum(request.sent for request in web_server.requests) < len(body) + CHUNK_BYTES
    assert list_pulled() == {"yolov2-voc": path}
    verified = verify_pulled(entry)
    assert (verified.size, verified.sha256) == (202_704_264, hashlib.sha256(body).hexdigest())
    assert verified.checked_against == ("recorded sha256",)
    with path.open("r+b") as file:
        file.seek(123_456_789)
        file.write(b"\xff")
    with pytest.raises(ModelFileError, match=r"yolov2-voc\.weights: its hash .* recorded .* boxwright weights remove yolov2-voc"):
        verify_pulled(entry)
    assert remove_pulled(entry)
    assert not remove_pulled(entry)
    assert home.files() == {"hashes.json"}


def test_a_file_of_the_right_size_and_wrong_content_is_refused(home, make_weights, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("BOXWRIGHT_OFFLINE", "1")
    source = tmp_path / "yolov2-tiny.weights"
    source.write_bytes(make_weights(entry_of("tiny-yolov2-coco")))
    with pytest.raises(ModelFileError, match="instead of 16f4e870f1aed83f0089cb69bfda6b53cb7b2a4a01721be56eaf5c899dfac45f"):
        pull("tiny-yolov2-coco", source=source)
    assert home.files() == set()
    source.unlink()
