"""Interrupted downloads, full disks, and killed or concurrent processes."""

import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weights.errors import DiskError, FetchError
from weights.hub.catalogue import Entry
from weights.hub.fetch import fetch_entry
from weights.hub.partial_file import CHUNK_BYTES

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("validators", [{"etag": '"first"'}, {"etag": None, "modified": "Sat, 24 Mar 2018 00:00:00 GMT"}, {"etag": None}])
def test_an_interrupted_download_resumes_where_it_stopped(small_entry: Entry, web_server, page, validators: dict, body: bytes):
    vars(page).update(validators, cut_after=[150_000])
    assert fetch_entry(small_entry).read_bytes() == body
    first, second = web_server.requests
    assert first.sent == 150_000
    assert second.start == 150_000 // CHUNK_BYTES * CHUNK_BYTES
    assert second.headers.get("If-Range") == (page.etag or page.modified)
    assert (second.status, second.sent) == (206, len(body) - second.start)


def test_a_later_run_resumes_the_download_of_an_earlier_run(small_entry: Entry, home, web_server, page, body: bytes):
    page.cut_after = [150_000, 10]
    error = home.assert_refused(small_entry, r"the connection broke off after 131,072 bytes\n")
    assert "it continues after the 131,072 bytes that have arrived" in str(error)
    assert home.files() == {"small.weights.partial", "small.weights.partial.json"}
    assert fetch_entry(small_entry).read_bytes() == body
    assert web_server.requests[2].start == 2 * CHUNK_BYTES
    assert home.files() == {"small.weights"}


def test_if_the_server_ignores_the_range_the_whole_file_is_written_again(small_entry: Entry, web_server, page, body: bytes):
    page.cut_after, page.ranges = [150_000], False
    assert fetch_entry(small_entry).read_bytes() == body
    assert [(request.status, request.sent) for request in web_server.requests] == [(200, 150_000), (200, len(body))]
    assert web_server.requests[1].start > 0


def test_a_file_that_changed_between_two_requests_is_downloaded_again(entry_without_hash: Entry, home, web_server):
    page = web_server.pages["/unpublished.weights"]
    page.cut_after = [150_000, 10]
    home.assert_refused(entry_without_hash, "broke off")
    page.body, page.etag = page.body[:100] + b"\0\0\0\0" + page.body[104:], '"second"'
    assert fetch_entry(entry_without_hash).read_bytes() == page.body
    assert (web_server.requests[2].headers["If-Range"], web_server.requests[2].status) == ('"first"', 200)


def test_parts_of_different_files_are_discarded_and_downloaded_again(
    small_entry: Entry, home, web_server, page, body: bytes, other_body: bytes
):
    page.etag, page.body, page.cut_after = None, other_body, [150_000, 10]
    home.assert_refused(small_entry, "broke off")
    page.body = body
    assert fetch_entry(small_entry).read_bytes() == body
    assert [request.status for request in web_server.requests] == [200, 206, 206, 200]


def test_without_a_hash_or_a_validator_downloads_are_not_resumed(entry_without_hash: Entry, web_server):
    page = web_server.pages["/unpublished.weights"]
    page.etag, page.cut_after = None, [150_000]
    assert fetch_entry(entry_without_hash).read_bytes() == page.body
    assert [request.start for request in web_server.requests] == [0, 0]


def test_a_weak_etag_is_not_used_for_resuming(small_entry: Entry, web_server, page, body: bytes):
    page.etag, page.modified, page.cut_after = 'W/"weak"', "Sat, 24 Mar 2018 00:00:00 GMT", [150_000]
    assert fetch_entry(small_entry).read_bytes() == body
    assert web_server.requests[1].headers["If-Range"] == page.modified


def test_a_short_file_is_refused_and_the_next_address_is_tried(small_entry: Entry, home, web_server, page, body: bytes):
    page.body, page.length = body[:200_000], False
    home.assert_refused(small_entry, "it sent 200,000 bytes instead of 300,000")
    assert len(web_server.requests) == 1
    web_server.pages["/whole"] = web_server.page(body)
    assert fetch_entry(replace(small_entry, addresses=(*small_entry.addresses, f"{web_server.base}/whole"))).read_bytes() == body
    assert [(request.path, request.status) for request in web_server.requests[1:]] == [
        ("/small.weights", 416),
        ("/small.weights", 200),
        ("/whole", 200),
    ]


def test_a_wrong_range_causes_exactly_one_restart(small_entry: Entry, home, web_server, page, body: bytes):
    page.cut_after, page.range_shift = [150_000], 1
    assert fetch_entry(small_entry).read_bytes() == body
    assert [request.status for request in web_server.requests] == [200, 206, 200]
    (home.folder / small_entry.file).unlink()
    page.cut_after = [150_000, 300_000, 150_000]
    home.assert_refused(small_entry, "it sent the wrong part of the file twice")
    assert [request.status for request in web_server.requests[3:]] == [200, 206, 200, 206]


def test_the_address_that_sent_a_part_is_tried_first(small_entry: Entry, home, web_server, page, body: bytes):
    page.cut_after = [150_000, 10]
    entry = replace(small_entry, addresses=(f"{web_server.base}/first", *small_entry.addresses))
    home.assert_refused(entry, "broke off")
    web_server.pages["/first"] = web_server.page(body)
    assert fetch_entry(entry).read_bytes() == body
    assert [request.path for request in web_server.requests] == ["/first", *["/small.weights"] * 3]


def test_a_compressed_response_is_not_requested_and_is_refused(small_entry: Entry, home, web_server, page):
    page.body, page.encoding = gzip.compress(b"0" * 2_000_000), "gzip"
    home.assert_refused(
        replace(small_entry, sizes=(), hashes={"md5": "0" * 32}), "it compressed the file with gzip, although the request forbids"
    )
    assert web_server.requests[0].headers["Accept-Encoding"] == "identity"
    assert home.files() == set()


def write_partial_file(home, body: bytes, note: str) -> None:
    home.folder.mkdir(parents=True)
    (home.folder / "small.weights.partial").write_bytes(body)
    (home.folder / "small.weights.partial.json").write_text(note)


def test_a_partial_file_that_is_complete_is_used_without_a_request(small_entry: Entry, home, web_server, body: bytes):
    write_partial_file(home, body, json.dumps({"address": small_entry.addresses[0], "validator": '"first"'}))
    assert fetch_entry(small_entry).read_bytes() == body
    assert web_server.requests == []
    assert home.files() == {"small.weights"}


def test_a_complete_partial_file_of_unknown_size_is_downloaded_again(small_entry: Entry, home, web_server, body: bytes):
    write_partial_file(home, body, json.dumps({"address": small_entry.addresses[0], "validator": '"first"'}))
    entry = replace(small_entry, sizes=(), hashes={"md5": hashlib.md5(body).hexdigest()})
    assert fetch_entry(entry).read_bytes() == body
    assert [request.status for request in web_server.requests] == [416, 200]


@pytest.mark.parametrize("note", ["", "[]", "{", '{"address": 1}', "\x00"])
def test_a_partial_file_of_unknown_origin_is_not_used(small_entry: Entry, home, web_server, note: str, body: bytes, other_body: bytes):
    write_partial_file(home, other_body[:100_000], note)
    assert fetch_entry(small_entry).read_bytes() == body
    assert web_server.requests[0].start == 0


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 300_001), max_size=6))
def test_after_any_number_of_interruptions_the_file_is_complete(small_entry: Entry, home, page, cuts: list[int], body: bytes):
    page.cut_after = list(cuts)
    while True:
        try:
            path = fetch_entry(small_entry)
            break
        except FetchError:
            assert home.files() <= {"small.weights.partial", "small.weights.partial.json"}
    assert path.read_bytes() == body
    assert home.files() == {"small.weights"}
    path.unlink()


def test_too_little_disk_space_is_detected_before_writing(small_entry: Entry, home, web_server, page):
    page.length = False
    home.assert_refused(replace(small_entry, sizes=(1 << 60,)), "1,152,921,504,606,846,976 are needed.*BOXWRIGHT_HOME")
    assert home.files() == set()
    assert len(web_server.requests) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always full")
def test_a_full_disk_ends_the_download_and_leaves_nothing(small_entry: Entry, home, web_server):
    home.folder.mkdir(parents=True)
    (home.folder / "small.weights.partial").symlink_to("/dev/full")
    entry = replace(small_entry, addresses=small_entry.addresses * 2)
    with pytest.raises(DiskError, match=r"cannot be written: No space left on device.*BOXWRIGHT_HOME"):
        fetch_entry(entry)
    assert home.files() == set()
    assert len(web_server.requests) == 1  # no other address would help


def test_a_cache_folder_that_cannot_be_created_is_named(small_entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("BOXWRIGHT_HOME", str(tmp_path / "file"))
    with pytest.raises(DiskError, match=r"file/weights cannot be written: Not a directory\. Set BOXWRIGHT_HOME"):
        fetch_entry(small_entry)


def test_a_disk_that_fills_up_during_the_download_leaves_nothing(small_entry: Entry, home):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    with fetch_in_child(small_entry, before=limit) as process:
        _, error = process.communicate(timeout=60)
    assert re.search(r"DiskError: .* cannot be written: File too large", error)
    assert home.files() == set()


@contextmanager
def fetch_in_child(entry: Entry, *, before: str = "") -> Iterator[subprocess.Popen[str]]:
    """Start a process that fetches the entry and prints its log, its progress and the path. Kill it after the block."""
    code = f"""
import json, logging, sys
{before}
from weights.hub.catalogue import entry_of
from weights.hub.fetch import fetch_entry
from dataclasses import replace
logging.basicConfig(level="INFO", stream=sys.stdout)
changes = json.loads(sys.argv[1])
changes = {{key: tuple(value) if isinstance(value, list) else value for key, value in changes.items()}}
print(fetch_entry(replace(entry_of("darknet19"), **changes), on_progress=lambda done, total: print("done", done, flush=True)))
"""
    changes = {key: getattr(entry, key) for key in ("name", "file", "addresses", "sizes", "hashes")}
    command = [sys.executable, "-c", code, json.dumps(changes)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], text: str, *, never: str = "Traceback") -> None:
    """Read the output up to a line that contains `text`. No line before it may contain `never`."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return
        assert never not in line, lines
    raise AssertionError(f"the process ended without {text!r}: {lines}")


def test_two_concurrent_processes_download_the_file_once(small_entry: Entry, home, web_server, page, body: bytes):
    page.pause_after = CHUNK_BYTES
    with fetch_in_child(small_entry) as first:
        assert page.paused.wait(60)
        with fetch_in_child(small_entry) as second:
            read_until(second, "waiting for another process to finish with small.weights", never="done")
            page.resume.set()
            outputs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert [output.split("\n")[-2] for output in outputs] == [str(home.folder / "small.weights")] * 2
    assert [request.sent for request in web_server.requests] == [len(body)]
    assert (home.folder / "small.weights").read_bytes() == body


def test_the_download_of_a_killed_process_is_resumed(small_entry: Entry, home, web_server, page, body: bytes):
    page.pause_after = 2 * CHUNK_BYTES
    with fetch_in_child(small_entry) as process:
        read_until(process, f"done {2 * CHUNK_BYTES}")
        process.kill()
        process.communicate(timeout=60)
    page.resume.set()
    assert (home.folder / "small.weights.partial").read_bytes() == body[: 2 * CHUNK_BYTES]
    assert not (home.folder / "small.weights").exists()
    assert fetch_entry(small_entry).read_bytes() == body
    assert web_server.requests[1].sent == len(body) - 2 * CHUNK_BYTES
