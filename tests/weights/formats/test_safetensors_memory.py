"""The memory in a model file is stored, checked and read separately from the model."""

import os

import pytest

from detector.errors import ModelFileError
from tests.weights.formats.model_files import models_equal, split_file, write_file
from weights.formats import memory_entries
from weights.formats.memory_entries import MAX_INDEX_BYTES, MAX_INDEX_CONTAINERS, MAX_MEMORY_BYTES, memory_checksum, summarise_memory
from weights.formats.safetensors import content_checksum, load_memory, load_model, read_header, save_model

MEMORY = {"index": b'{"images": []}', "bases": b"\1\2\3", "features": bytes(range(200))}


@pytest.fixture
def file_with_memory(tmp_path, minimal_model):
    path = tmp_path / "memory.safetensors"
    save_model(minimal_model, path, memory=MEMORY)
    return path


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_memory_is_stored_and_read_separately(tmp_path, small_model, dtype):
    path, plain_path = tmp_path / "memory.safetensors", tmp_path / "plain.safetensors"
    save_model(small_model, path, dtype=dtype, memory=MEMORY)
    save_model(small_model, plain_path, dtype=dtype)
    assert load_memory(path) == MEMORY
    assert load_memory(plain_path) is None
    assert models_equal(load_model(path), load_model(plain_path))
    assert (read_header(path).memory, read_header(plain_path).memory) == (memory_checksum(MEMORY), None)
    assert content_checksum(path) != content_checksum(plain_path)
    assert split_file(path)[0]["__metadata__"]["version"] == "3"
    assert split_file(plain_path)[0]["__metadata__"]["version"] == "1"
    data = path.read_bytes()
    assert data.endswith(MEMORY["index"] + MEMORY["bases"] + MEMORY["features"])  # at the end, where serving reads nothing


def test_a_damaged_memory_is_refused_but_the_model_still_loads(file_with_memory, minimal_model):
    data = file_with_memory.read_bytes()
    for position in range(len(data) - sum(map(len, MEMORY.values())), len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        file_with_memory.write_bytes(changed)
        assert models_equal(load_model(file_with_memory), minimal_model)
        with pytest.raises(ModelFileError, match=r"memory\.safetensors: its memory is damaged.*weights strip"):
            load_memory(file_with_memory)


def test_every_truncation_of_a_file_with_a_memory_is_refused(file_with_memory):
    for length in reversed(range(file_with_memory.stat().st_size)):
        os.truncate(file_with_memory, length)
        with pytest.raises(ModelFileError, match="damaged"):
            load_memory(file_with_memory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: header.pop("memory/index"), "damaged|memory/index"),
        (lambda header: header["memory/index"].update(dtype="I8"), "'memory/index' is I8"),
        (lambda header: header["memory/index"].update(shape=[2, 7]), r"'memory/index' is U8 \[2, 7\]"),
        (lambda header: header["__metadata__"].pop("memory"), "damaged, or changed"),
        (lambda header: header["__metadata__"].update(version="1"), "damaged, or changed"),
    ],
)
def test_entries_of_the_memory_are_checked_before_they_are_read(file_with_memory, change, message):
    header, arrays = split_file(file_with_memory)
    change(header)
    write_file(file_with_memory, header, arrays)
    for read in (load_memory, load_model):
        with pytest.raises(ModelFileError, match=message):
            read(file_with_memory)


def test_a_memory_above_the_limit_is_neither_written_nor_read(tmp_path, minimal_model):
    with pytest.raises(ModelFileError, match="the limit is 268,435,456"):
        save_model(minimal_model, tmp_path / "large.safetensors", memory=MEMORY | {"features": bytes(MAX_MEMORY_BYTES)})
    assert not (tmp_path / "large.safetensors").exists()


def test_an_index_above_its_own_limit_is_neither_written_nor_read(tmp_path, minimal_model, monkeypatch):
    """An index of 60 MB took 1.5 GB of memory and 7 s to parse."""
    path = tmp_path / "large.safetensors"
    for index in (b" " * (MAX_INDEX_BYTES + 1), b"[" * (MAX_INDEX_CONTAINERS + 1)):
        entries = MEMORY | {"index": index}
        with pytest.raises(ModelFileError, match=r"index of the memory.*limits are 16,777,216 and 1,048,576.*--memory"):
            save_model(minimal_model, path, memory=entries)
        assert not path.exists()
        with pytest.raises(ModelFileError, match="limits are 16,777,216 and 1,048,576"):
            summarise_memory(entries)
    monkeypatch.setattr(memory_entries, "MAX_INDEX_BYTES", 2**25)  # because another program may write a larger index
    save_model(minimal_model, path, memory=MEMORY | {"index": b" " * (2**24 + 1)})
    monkeypatch.undo()
    for read in (load_memory, load_model):
        with pytest.raises(ModelFileError, match=r"large\.safetensors: the index of its memory has 16,777,217 bytes"):
            read(path)


def test_saving_a_memory_is_deterministic(tmp_path, minimal_model):
    for name in ("one", "two"):
        save_model(minimal_model, tmp_path / name, memory=dict(reversed(MEMORY.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
