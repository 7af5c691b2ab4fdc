"""Downloads of full-size files from a local server, with interruptions, wrong content, full disks and malicious files."""

import hashlib
import os
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detector.errors import ModelFileError
from tests.weights.formats.tensornets.tensornets_files import Payload, write_npz
from weights.errors import DiskError
from weights.hub.catalogue import Entry, entry_of, spec_of
from weights.hub.fetch import fetch_entry
from weights.hub.partial_file import CHUNK_BYTES
from weights.hub.pulled import load_pulled

ROOT = Path(__file__).resolve().parents[3]
SIZE = 79_327_120
PULL = [sys.executable, "-m", "cli.main", "weights", "pull", "darknet19"]


@pytest.fixture(scope="module")
def backbone(make_weights) -> bytes:
    """A file like darknet19_448.conv.23."""
    data = make_weights(entry_of("darknet19"))
    assert len(data) == SIZE
    return data


@pytest.fixture
def backbone_page(web_server, backbone):
    """Serve the backbone's file, and return its page."""
    return web_server.pages.setdefault("/darknet19_448.conv.23", web_server.page(backbone))


@pytest.fixture
def entry(web_server, backbone_page) -> Entry:
    """The catalogue entry with an address on our server and with a published sha256."""
    hashes = {"sha256": hashlib.sha256(backbone_page.body).hexdigest()}
    return replace(entry_of("darknet19"), addresses=(f"{web_server.base}/darknet19_448.conv.23",), hashes=hashes)


def test_a_full_size_download_is_complete(entry, home, web_server, backbone):
    assert fetch_entry(entry).read_bytes() == backbone
    assert home.files() == {entry.file}
    assert [request.sent for request in web_server.requests] == [SIZE]


def test_a_full_size_download_resumes_after_an_interruption(entry, web_server, backbone_page, backbone):
    backbone_page.cut_after = [SIZE // 2]
    assert fetch_entry(entry).read_bytes() == backbone
    assert [request.start for request in web_server.requests] == [0, SIZE // 2 // CHUNK_BYTES * CHUNK_BYTES]
    assert sum(request.sent for request in web_server.requests) < SIZE + CHUNK_BYTES


def test_a_file_with_a_wrong_hash_is_refused_and_deleted(entry, home, backbone_page, backbone):
    backbone_page.body = backbone[:-1] + bytes([backbone[-1] ^ 1])
    home.assert_refused(entry, f"instead of {entry.hashes['sha256']}, the published sha256")
    assert home.files() == set()


@pytest.mark.parametrize("content_type", ["text/html", "application/octet-stream"])
def test_a_web_page_of_the_right_size_is_refused(entry, home, web_server, backbone_page, content_type):
    backbone_page.body, backbone_page.content_type = b"<!DOCTYPE html>".ljust(SIZE), content_type
    home.assert_refused(entry, "an HTML page instead of the file")
    assert home.files() == set()
    assert web_server.requests[0].sent < SIZE // 2  # no more than the socket buffers hold


def test_after_a_dead_mirror_the_next_address_is_requested_with_our_user_agent(entry, web_server, unreachable, monkeypatch, backbone):
    monkeypatch.setenv("BOXWRIGHT_MIRROR", unreachable)
    assert fetch_entry(entry).read_bytes() == backbone
    (request,) = web_server.requests  # the server answers 403 to the user agents of Python libraries
    assert (request.status, request.headers["User-Agent"].partition("/")[0]) == (200, "boxwright")


@pytest.mark.usefixtures("backbone_page")
def test_a_disk_that_is_full_halfway_leaves_no_file(home, web_server, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_MIRROR", web_server.base)
    limited = f"import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, ({SIZE // 2},) * 2); "
    limited += "import sys; sys.argv[1:] = ['weights', 'pull', 'darknet19']; runpy.run_module('cli.main', run_name='__main__')"
    result = subprocess.run([sys.executable, "-c", limited], cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert result.returncode == 2
    assert "cannot be written: File too large. Free some space, or set BOXWRIGHT_HOME" in result.stderr
    assert home.files() == set()
    assert len(web_server.requests) == 1  # no other address would help


def test_too_little_disk_space_is_detected_before_a_full_size_download(entry, home, web_server, monkeypatch):
    full_disk = os.statvfs_result((4096, 4096, 100, SIZE // 4096 // 2, SIZE // 4096 // 2, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full_disk)
    with pytest.raises(DiskError, match=f"but {SIZE:,} are needed"):
        fetch_entry(entry)
    assert home.files() == set()
    assert web_server.requests[0].sent < SIZE // 2


def test_two_concurrent_pull_commands_download_the_file_once(home, web_server, backbone_page, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_MIRROR", web_server.base)
    backbone_page.pause_after = CHUNK_BYTES
    with subprocess.Popen(PULL, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as first:
        assert backbone_page.paused.wait(60)
        with subprocess.Popen(PULL, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as second:
            assert "waiting for another process to finish with darknet19_448.conv.23" in second.stderr.readline()
            backbone_page.resume.set()
            outputs = [process.communicate(timeout=120)[0] for process in (first, second)]
    assert outputs == [f"{home.folder / 'darknet19_448.conv.23'}: {SIZE:,} bytes.\n"] * 2
    assert [request.sent for request in web_server.requests] == [SIZE]


@pytest.mark.usefixtures("backbone_page")
def test_a_terminal_shows_size_rate_and_remaining_time_and_stdout_stays_clean(home, web_server, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_MIRROR", web_server.base)
    terminal, child_terminal = os.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(PULL, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=child_terminal, text=True) as process:
        os.close(child_terminal)
        progress = b""
        with suppress(OSError):  # reading a closed terminal raises it
            while True:
                progress += os.read(terminal, 65536)
        output = process.communicate(timeout=60)[0]
    os.close(terminal)
    plain = re.sub(r"\x1b\[[\d;?]*\w", "", progress.decode())  # without colours
    assert re.search(r"darknet19 \S+ 79\.3/79\.3 MB [\d.]+ [kMG]B/s \d:\d\d:\d\d", plain)
    assert output == f"{home.folder / 'darknet19_448.conv.23'}: {SIZE:,} bytes.\n"


@pytest.fixture
def malicious_entry(web_server, random_arrays, tmp_path):
    """A tensornets entry. Its file on our server has the right size, but a payload instead of its last array."""
    entry = entry_of("tensornets-darknet19")
    arrays = random_arrays(spec_of(entry).network, 1)
    arrays[next(reversed(arrays))] = Payload(tmp_path / "ran")
    write_npz(tmp_path / "bad.npz", arrays)
    web_server.pages["/darknet19.npz"] = web_server.page((tmp_path / "bad.npz").read_bytes())
    assert len(web_server.pages["/darknet19.npz"].body) > SIZE
    with np.load(tmp_path / "bad.npz", allow_pickle=True) as data:
        data["values"][-1].close()
    (tmp_path / "ran").unlink()  # numpy has executed the payload
    return replace(entry, addresses=(f"{web_server.base}/darknet19.npz",))


def test_a_malicious_pickle_is_refused_by_the_published_hash(malicious_entry, home, tmp_path):
    home.assert_refused(malicious_entry, "its hash is .* the published md5")
    assert home.files() == set()
    assert not (tmp_path / "ran").exists()


def test_a_malicious_pickle_without_a_published_hash_is_refused_by_its_content(malicious_entry, home, tmp_path):
    home.assert_refused(replace(malicious_entry, hashes={}), r"it does not contain this network: .*its pickle names .*open.*delete it")
    assert home.files() == set()
    assert not (tmp_path / "ran").exists()


def test_a_malicious_pickle_with_the_right_hash_is_refused_when_it_is_loaded(malicious_entry, web_server, tmp_path):
    entry = replace(malicious_entry, hashes={"md5": hashlib.md5(web_server.pages["/darknet19.npz"].body).hexdigest()})
    with pytest.raises(ModelFileError, match=r"its pickle names .*open.*delete it"):
        load_pulled(entry, fetch_entry(entry))
    assert not (tmp_path / "ran").exists()
