"""Files in the cache: verify, remove, record and forget hashes."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from detector.errors import ModelFileError
from weights.errors import DiskError, FetchError
from weights.hub import cache
from weights.hub.catalogue import Entry, entry_of
from weights.hub.fetch import fetch_entry
from weights.hub.pulled import list_pulled, remove_pulled, verify_pulled


def test_a_recorded_hash_must_match_until_it_is_forgotten(entry_without_hash: Entry, home, web_server):
    page = web_server.pages["/unpublished.weights"]
    first = hashlib.sha256(page.body).hexdigest()
    fetch_entry(entry_without_hash)
    assert json.loads((home.folder / cache.HASHES_FILE).read_text()) == {"unpublished": first}
    assert remove_pulled(entry_without_hash)
    page.body = page.body[:-4] + b"\0\0\0\0"
    home.assert_refused(
        entry_without_hash, rf"instead of {first}, the sha256 recorded in .*hashes\.json.*boxwright weights remove unpublished --forget"
    )
    assert home.files() == {"hashes.json"}
    assert not remove_pulled(entry_without_hash, forget=True)
    assert fetch_entry(entry_without_hash).read_bytes() == page.body


@pytest.mark.parametrize("kind", ["zeros", "zeros after a header", "noise", "a text"])
def test_the_hash_of_a_file_with_other_content_is_not_recorded(entry_without_hash: Entry, home, tmp_path: Path, make_weights, kind: str):
    size = entry_without_hash.sizes[0]
    right = make_weights(entry_without_hash)
    data = {
        "zeros": bytes(size),
        "zeros after a header": right[:20] + bytes(size - 20),
        "noise": np.random.default_rng(3).bytes(size),
        "a text": b"The quick brown fox. ".ljust(size, b"."),
    }[kind]
    source = tmp_path / "local copy"
    source.write_bytes(data)
    with pytest.raises(ModelFileError, match=r"local copy is not unpublished\.weights: it does not contain this network"):
        fetch_entry(entry_without_hash, source=source)
    assert home.files() == set()
    assert fetch_entry(entry_without_hash).read_bytes() == right


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00", '{"small": 5}'])
def test_damaged_hashes_json_is_reported_before_a_download(small_entry: Entry, home, web_server, text: str):
    home.folder.mkdir(parents=True)
    (home.folder / cache.HASHES_FILE).write_text(text)
    with pytest.raises(ModelFileError, match=r"hashes\.json: not the .* that Boxwright wrote"):
        fetch_entry(small_entry)
    assert web_server.requests == []


@pytest.mark.usefixtures("home")
def test_a_model_that_was_not_pulled_cannot_be_verified_or_removed():
    with pytest.raises(FetchError, match="weights pull darknet19"):
        verify_pulled(entry_of("darknet19"))
    assert not remove_pulled(entry_of("darknet19"))
    assert list_pulled() == {}


def test_a_truncated_file_in_the_cache_is_not_used(small_entry: Entry):
    path = fetch_entry(small_entry)
    os.truncate(path, 1000)
    with pytest.raises(ModelFileError, match=r"1,000 bytes instead of 300,000.*boxwright weights remove small, then pull it again"):
        fetch_entry(small_entry)


def test_verify_records_a_missing_hash(entry_without_hash: Entry, home):
    fetch_entry(entry_without_hash)
    (home.folder / cache.HASHES_FILE).unlink()
    assert verify_pulled(entry_without_hash).checked_against == ()
    assert verify_pulled(entry_without_hash).checked_against == ("recorded sha256",)
    assert set(json.loads((home.folder / cache.HASHES_FILE).read_text())) == {"unpublished"}


def test_verify_checks_the_content_before_it_records_the_first_hash(entry_without_hash: Entry, home):
    home.folder.mkdir(parents=True)
    (home.folder / entry_without_hash.file).write_bytes(bytes(entry_without_hash.sizes[0]))
    with pytest.raises(ModelFileError, match="it does not contain this network"):
        verify_pulled(entry_without_hash)
    assert home.files() == {entry_without_hash.file}


def test_remove_deletes_unfinished_downloads_and_copies(small_entry: Entry, home, page):
    page.cut_after = [150_000, 10]
    home.assert_refused(small_entry, "broke off")
    (home.folder / "small.weights.copy").write_bytes(b"left by a power failure")
    assert not remove_pulled(small_entry)
    assert home.files() == set()


def test_an_interrupted_copy_leaves_nothing(small_entry: Entry, home, tmp_path: Path, body: bytes):
    def interrupt(*_) -> None:
        raise KeyboardInterrupt

    source = tmp_path / "local copy"
    source.write_bytes(body)
    with pytest.raises(KeyboardInterrupt):
        fetch_entry(small_entry, source=source, on_progress=interrupt)
    assert home.files() == set()


def test_a_copy_starts_only_with_enough_space_and_the_right_size(small_entry: Entry, home, tmp_path: Path, body: bytes, monkeypatch):
    full_disk = os.statvfs_result((4096, 4096, 100, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full_disk)
    source = tmp_path / "local copy"
    source.write_bytes(body)
    with pytest.raises(DiskError, match="has 0 free bytes, but 300,000 are needed"):
        fetch_entry(small_entry, source=source)
    source.write_bytes(body + b"!")
    with pytest.raises(ModelFileError, match="it has 300,001 bytes instead of 300,000"):
        fetch_entry(small_entry, source=source)
    assert home.files() == set()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Within the block, this process cannot write to the folder. Root changes its effective user for that."""
    original_user = os.geteuid()
    folder.chmod(0o555)
    for path in folder.iterdir():
        path.chmod(0o444)
    if original_user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if original_user == 0:
            os.seteuid(0)
        folder.chmod(0o755)


@pytest.fixture
def open_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache that other users can read."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        monkeypatch.setenv("BOXWRIGHT_HOME", name)
        yield Path(name) / "weights"


@pytest.mark.usefixtures("home")
def test_a_read_only_cache_can_be_verified_but_not_changed(entry_without_hash: Entry, open_home: Path, caplog):
    fetch_entry(entry_without_hash)
    (open_home / cache.HASHES_FILE).unlink()
    with read_only(open_home):
        assert verify_pulled(entry_without_hash).checked_against == ()
        with pytest.raises(DiskError, match=r"weights cannot be written: Permission denied"):
            remove_pulled(entry_without_hash)
    assert "could not be recorded" in caplog.text
    (open_home / f"{entry_without_hash.file}.lock").chmod(0o666)
    (open_home / f"{entry_without_hash.file}.lock").touch()
    with read_only(open_home), pytest.raises(DiskError, match=r"cannot be (written|removed): Permission denied"):
        remove_pulled(entry_without_hash)
    assert fetch_entry(entry_without_hash).exists()


@pytest.mark.usefixtures("home")
def test_verify_in_a_read_only_cache_needs_no_record_for_a_published_hash(small_entry: Entry, open_home: Path, caplog):
    fetch_entry(small_entry)
    with read_only(open_home):
        assert verify_pulled(small_entry).checked_against == ("published sha256",)
    assert caplog.text == ""
