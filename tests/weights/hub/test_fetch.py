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


def test_a_download_is_complete_and_its_progress_is_reported(small: Entry, home, internet, body: bytes):
    reports: list[tuple[int, int | None]] = []
    path = fetch_entry(small, on_progress=lambda done, total: reports.append((done, total)))
    assert path.read_bytes() == body
    assert home.files() == {"small.weights"}
    assert [total for _, total in reports] == [len(body)] * len(reports)
    assert [done for done, _ in reports] == [*range(CHUNK_BYTES, len(body), CHUNK_BYTES), len(body)]
    fetch_entry(small)
    assert len(internet.requests) == 1  # the second call uses the cache


def test_the_request_has_our_own_user_agent(small: Entry, internet):
    with pytest.raises(HTTPError, match="403"):
        urllib.request.urlopen(small.addresses[0])
    fetch_entry(small)
    assert [request.status for request in internet.requests] == [403, 200]
    assert internet.requests[1].headers["User-Agent"].startswith("boxwright/")
    assert f"boxwright/{installed_version()} (" in internet.requests[1].headers["User-Agent"]


def test_without_a_published_size_and_sha256_the_md5_is_checked_and_the_sha256_recorded(small: Entry, home, page, body: bytes):
    page.length = False
    entry = replace(small, sizes=(), hashes={"md5": hashlib.md5(body).hexdigest()})
    assert fetch_entry(entry).read_bytes() == body
    assert json.loads((home.folder / cache.HASHES_FILE).read_text()) == {"small": hashlib.sha256(body).hexdigest()}


def test_a_file_with_a_wrong_hash_is_refused_and_deleted(small: Entry, home, page, other: bytes):
    page.body = other
    home.refuses(small, f"its hash is {hashlib.sha256(other).hexdigest()} instead of {small.hashes['sha256']}, the published sha256")
    assert home.files() == set()


def test_after_a_wrong_hash_the_next_address_is_tried(small: Entry, internet, body: bytes, other: bytes):
    internet.pages["/damaged"] = internet.page(other)
    assert fetch_entry(replace(small, addresses=(f"{internet.base}/damaged", *small.addresses))).read_bytes() == body
    assert [request.path for request in internet.requests] == ["/damaged", "/small.weights"]


@pytest.mark.parametrize(("data", "content_type"), [(HTML, "text/html; charset=utf-8"), (HTML, None), (b"?" * 300_000, "text/html")])
def test_a_web_page_instead_of_the_file_is_recognised(small: Entry, home, page, data: bytes, content_type: str | None):
    page.body, page.content_type = data, content_type
    home.refuses(small, "an HTML page instead of the file")
    assert home.files() == set()


def test_a_wrong_content_length_is_refused_before_the_body(small: Entry, home, page, body: bytes):
    page.body = body + b"!"
    home.refuses(small, "it offers 300,001 bytes instead of 300,000")


def test_a_body_that_exceeds_the_size_is_aborted(small: Entry, home, internet, page, body: bytes):
    page.body, page.length = body * 200, False
    home.refuses(small, "it sent more than 300,000 bytes")
    assert internet.requests[0].sent < len(page.body) // 2  # no more than the socket buffers hold
    assert home.files() == set()


def test_when_all_addresses_fail_the_message_has_a_reason_for_each(small: Entry, home, internet, dead: str, other: bytes):
    gone, busy, wrong = (f"{internet.base}/{name}" for name in ("gone", "busy", "wrong"))
    internet.pages |= {"/busy": internet.page(b"", status=503), "/wrong": internet.page(other)}
    error = str(home.refuses(replace(small, addresses=(f"{dead}/small.weights", gone, busy, wrong)), "could not be fetched"))
    reasons = [rf"{dead}/small.weights: .*refused", f"{gone}: it answered 404", f"{busy}: it answered 503", f"{wrong}: its hash is"]
    assert [bool(re.search(reason, line)) for reason, line in zip(reasons, error.split("\n")[1:5], strict=True)] == [True] * 4
    assert "boxwright weights pull small --from small.weights" in error


def test_an_error_status_keeps_the_bytes_received_earlier(small: Entry, home, page, body: bytes):
    page.cuts = [150_000, 10]
    home.refuses(small, "broke off")
    page.status = 503
    home.refuses(small, "503")
    assert (home.folder / "small.weights.partial").read_bytes() == body[: 2 * CHUNK_BYTES]


def test_a_local_file_passes_the_same_checks(small: Entry, home, tmp_path: Path, internet, monkeypatch: pytest.MonkeyPatch, body: bytes):
    monkeypatch.setenv("BOXWRIGHT_OFFLINE", "1")
    source = tmp_path / "local copy"
    source.write_bytes(body)
    reports: list[tuple[int, int | None]] = []
    assert fetch_entry(small, source=source, on_progress=lambda *report: reports.append(report)).read_bytes() == body
    assert (home.files(), internet.requests, reports) == ({"small.weights"}, [], [(len(body), len(body))])


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
def test_a_wrong_local_file_is_refused_and_the_cached_file_stays(small: Entry, home, tmp_path: Path, data: bytes, match: str, body: bytes):
    fetch_entry(small)
    source = tmp_path / "local copy"
    source.write_bytes(data)
    with pytest.raises(ModelFileError, match=rf"local copy is not small\.weights: {match}"):
        fetch_entry(small, source=source)
    assert (home.folder / "small.weights").read_bytes() == body
    assert home.files() == {"small.weights"}


def test_a_missing_local_file_is_named(small: Entry, tmp_path: Path):
    with pytest.raises(ModelFileError, match="nowhere cannot be read: No such file"):
        fetch_entry(small, source=tmp_path / "nowhere")


def test_yolov2_is_pulled_with_an_interruption_then_listed_verified_and_removed(
    internet, home, weights_like, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("BOXWRIGHT_MIRROR", internet.base)
    entry = entry_of("yolov2-voc")
    body = weights_like(entry)
    internet.pages["/yolov2-voc.weights"] = internet.page(body, cuts=[100_000_000])
    assert list_pulled() == {}
    path = pull("yolov2-voc")
    assert sum(request.sent for request in internet.requests) < len(body) + CHUNK_BYTES
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


def test_a_file_of_the_right_size_and_wrong_content_is_refused(home, weights_like, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("BOXWRIGHT_OFFLINE", "1")
    source = tmp_path / "yolov2-tiny.weights"
    source.write_bytes(weights_like(entry_of("tiny-yolov2-coco")))
    with pytest.raises(ModelFileError, match="instead of 16f4e870f1aed83f0089cb69bfda6b53cb7b2a4a01721be56eaf5c899dfac45f"):
        pull("tiny-yolov2-coco", source=source)
    assert home.files() == set()
    source.unlink()
