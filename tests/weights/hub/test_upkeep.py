"""What lies in the cache: verified, removed, recorded, forgotten."""

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


def test_a_recorded_hash_must_match_ever_after_unless_it_is_forgotten(unpublished: Entry, home, internet):
    page = internet.pages["/unpublished.weights"]
    first = hashlib.sha256(page.body).hexdigest()
    fetch_entry(unpublished)
    assert json.loads((home.folder / cache.HASHES).read_text()) == {"unpublished": first}
    assert remove_pulled(unpublished)
    page.body = page.body[:-4] + b"\0\0\0\0"
    home.refuses(unpublished, rf"instead of {first}, the sha256 recorded in .*hashes\.json.*boxwright weights remove unpublished --forget")
    assert home.left() == {"hashes.json"}
    assert not remove_pulled(unpublished, forget=True)
    assert fetch_entry(unpublished).read_bytes() == page.body


@pytest.mark.parametrize("kind", ["zeros", "zeros after a header", "noise", "a text"])
def test_a_file_that_holds_no_such_network_is_never_recorded_as_the_right_one(
    unpublished: Entry, home, tmp_path: Path, weights_like, kind: str
):
    size = unpublished.sizes[0]
    right = weights_like(unpublished)
    data = {
        "zeros": bytes(size),
        "zeros after a header": right[:20] + bytes(size - 20),
        "noise": np.random.default_rng(3).bytes(size),
        "a text": b"The quick brown fox. ".ljust(size, b"."),
    }[kind]
    source = tmp_path / "carried here"
    source.write_bytes(data)
    with pytest.raises(ModelFileError, match=r"carried here is not unpublished\.weights: it holds no such network"):
        fetch_entry(unpublished, source=source)
    assert home.left() == set()
    assert fetch_entry(unpublished).read_bytes() == right


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00", '{"small": 5}'])
def test_a_damaged_record_of_hashes_is_refused_before_anything_is_fetched(small: Entry, home, internet, text: str):
    home.folder.mkdir(parents=True)
    (home.folder / cache.HASHES).write_text(text)
    with pytest.raises(ModelFileError, match=r"hashes\.json: not the .* that Boxwright wrote"):
        fetch_entry(small)
    assert internet.seen == []


@pytest.mark.usefixtures("home")
def test_what_was_not_pulled_cannot_be_verified_or_removed():
    with pytest.raises(FetchError, match="weights pull darknet19"):
        verify_pulled(entry_of("darknet19"))
    assert not remove_pulled(entry_of("darknet19"))
    assert list_pulled() == {}


def test_a_file_that_was_cut_in_the_cache_is_not_given_out(small: Entry):
    path = fetch_entry(small)
    os.truncate(path, 1000)
    with pytest.raises(ModelFileError, match=r"1,000 bytes instead of 300,000.*boxwright weights remove small, then pull it again"):
        fetch_entry(small)


def test_verifying_records_a_hash_where_there_is_none(unpublished: Entry, home):
    fetch_entry(unpublished)
    (home.folder / cache.HASHES).unlink()
    assert verify_pulled(unpublished).against == ()
    assert verify_pulled(unpublished).against == ("recorded sha256",)
    assert set(json.loads((home.folder / cache.HASHES).read_text())) == {"unpublished"}


def test_a_file_that_nobody_vouched_for_is_read_before_its_hash_is_recorded(unpublished: Entry, home):
    home.folder.mkdir(parents=True)
    (home.folder / unpublished.file).write_bytes(bytes(unpublished.sizes[0]))
    with pytest.raises(ModelFileError, match="it holds no such network"):
        verify_pulled(unpublished)
    assert home.left() == {unpublished.file}


def test_removing_deletes_what_an_interrupted_download_or_copy_left_too(small: Entry, home, page):
    page.cuts = [150_000, 10]
    home.refuses(small, "broke off")
    (home.folder / "small.weights.copy").write_bytes(b"left by a power failure")
    assert not remove_pulled(small)
    assert home.left() == set()


def test_a_copy_that_is_interrupted_leaves_nothing(small: Entry, home, tmp_path: Path, body: bytes):
    def interrupt(*_) -> None:
        raise KeyboardInterrupt

    source = tmp_path / "carried here"
    source.write_bytes(body)
    with pytest.raises(KeyboardInterrupt):
        fetch_entry(small, source=source, progress=interrupt)
    assert home.left() == set()


def test_a_copy_is_begun_only_where_there_is_room_and_the_size_is_right(small: Entry, home, tmp_path: Path, body: bytes, monkeypatch):
    no_room = os.statvfs_result((4096, 4096, 100, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: no_room)
    source = tmp_path / "carried here"
    source.write_bytes(body)
    with pytest.raises(DiskError, match="has room for 0 bytes and needs 300,000 more"):
        fetch_entry(small, source=source)
    source.write_bytes(body + b"!")
    with pytest.raises(ModelFileError, match="it has 300,001 bytes instead of 300,000"):
        fetch_entry(small, source=source)
    assert home.left() == set()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Within, this process has no right to write there; a superuser steps down for it."""
    was = os.geteuid()
    folder.chmod(0o555)
    for path in folder.iterdir():
        path.chmod(0o444)
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if was == 0:
            os.seteuid(0)
        folder.chmod(0o755)


@pytest.fixture
def open_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache that other users may read."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        monkeypatch.setenv("BOXWRIGHT_HOME", name)
        yield Path(name) / "weights"


@pytest.mark.usefixtures("home")
def test_in_a_cache_that_may_only_be_read_a_sound_file_verifies_and_none_can_be_removed(unpublished: Entry, open_home: Path, caplog):
    fetch_entry(unpublished)
    (open_home / cache.HASHES).unlink()
    with read_only(open_home):
        assert verify_pulled(unpublished).against == ()
        with pytest.raises(DiskError, match=r"weights cannot be written: Permission denied"):
            remove_pulled(unpublished)
    assert "could not be recorded" in caplog.text
    (open_home / f"{unpublished.file}.lock").chmod(0o666)
    (open_home / f"{unpublished.file}.lock").touch()
    with read_only(open_home), pytest.raises(DiskError, match=r"cannot be (written|removed): Permission denied"):
        remove_pulled(unpublished)
    assert fetch_entry(unpublished).exists()


@pytest.mark.usefixtures("home")
def test_in_a_cache_that_may_only_be_read_nothing_has_to_be_recorded_of_a_file_with_a_published_hash(small: Entry, open_home: Path, caplog):
    fetch_entry(small)
    with read_only(open_home):
        assert verify_pulled(small).against == ("published sha256",)
    assert caplog.text == ""
