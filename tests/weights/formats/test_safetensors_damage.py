"""Model files that are damaged or of another format are refused."""

import os
import random
import struct

import numpy as np
import pytest
from safetensors.numpy import save_file

from detector.errors import ModelFileError
from detector.network.layers import Conv, MaxPool
from detector.network.spec import Model, ModelSpec
from tests.weights.formats.model_files import models_equal, split_file, write_file
from weights.formats.safetensors import MAX_HEADER_BYTES, load_model, read_header, save_model


@pytest.fixture
def minimal_file(tmp_path, minimal_model):
    """A file small enough to change each of its bytes."""
    path = tmp_path / "tiny.safetensors"
    save_model(minimal_model, path)
    return path


def test_every_truncation_is_refused(minimal_file):
    for length in reversed(range(minimal_file.stat().st_size)):
        os.truncate(minimal_file, length)
        for read in (load_model, read_header):
            with pytest.raises(ModelFileError, match=r"tiny\.safetensors: .*(damaged|truncated).* Download or save it again\."):
                read(minimal_file)


@pytest.mark.parametrize("suffix", [b"\0", b" " * 100])
def test_a_longer_file_is_refused(small_file, suffix):
    small_file.write_bytes(small_file.read_bytes() + suffix)
    with pytest.raises(ModelFileError, match="damaged"):
        load_model(small_file)


def test_every_changed_byte_is_refused_or_changes_nothing(minimal_file, minimal_model):
    data, rng = minimal_file.read_bytes(), random.Random(1)
    refused, header_end = 0, 8 + int.from_bytes(data[:8], "little")
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << rng.randrange(8)
        minimal_file.write_bytes(changed)
        try:
            assert models_equal(load_model(minimal_file), minimal_model)
        except ModelFileError:
            refused += 1
        try:
            assert read_header(minimal_file) == (minimal_model.spec, {}, "tiny", "float32", None, None)
        except ModelFileError:
            assert position < header_end
    assert refused > len(data) - 20  # some changes only affect the spaces that pad the JSON


def test_random_bytes_are_refused(tmp_path):
    rng, path = random.Random(3), tmp_path / "noise"
    for _ in range(300):
        body = rng.randbytes(rng.randrange(200))
        path.write_bytes(struct.pack("<Q", len(body)) + body if rng.random() < 0.7 else body)
        with pytest.raises(ModelFileError):
            load_model(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "damaged, truncated, or not a .safetensors file: the first 8 of its 0 bytes"),
        (b"\x80\x04\x95\x10\0\0\0\0\0\0\0}\x94.", r"this is a pickle \(\.pt, \.pkl\), not a model file\.$"),
        (b"PK\x03\x04" + bytes(100), r"this is a zip archive \(\.npz, \.keras, \.pt\), not a model file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "this is an HDF5 file"),
        (b"<!DOCTYPE html><html></html>", "this is a web page"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), r"this is a PNG image, not a model file\.$"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(100), "this is a JPEG image"),
        (b"[net]\nwidth=416\n", "this is a Darknet .cfg, not a model file. `boxwright weights import` converts"),
        (struct.pack("<iiiQ", 0, 2, 0, 32) + bytes(100), "this is a Darknet .weights file"),
        (struct.pack("<iiii", 0, 1, 0, 32) + bytes(100), "this is a Darknet .weights file"),
        (struct.pack("<Q", 2**63) + b"{}", "damaged, truncated, or not"),
        (struct.pack("<Q", 2) + b"{}", "a .safetensors file of another program"),
        (struct.pack("<Q", 2) + b"[]", "damaged, truncated, or not"),
        (struct.pack("<Q", 100_000) + b"[" * 100_000, "damaged, truncated, or not"),
    ],
)
def test_a_file_of_another_format_is_recognised_and_refused(tmp_path, data, message):
    (tmp_path / "other").write_bytes(data)
    with pytest.raises(ModelFileError, match=rf"other: {message}"):
        load_model(tmp_path / "other")


def test_a_header_beyond_the_limit_is_refused_without_reading_it(tmp_path):
    path = tmp_path / "long"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", MAX_HEADER_BYTES + 1) + b"{")
        file.truncate(MAX_HEADER_BYTES + 100)
    with pytest.raises(ModelFileError, match=f"the first 8 of its {MAX_HEADER_BYTES + 100} bytes are not the length of a header"):
        read_header(path)


def test_a_safetensors_file_of_another_program_is_refused(tmp_path):
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "other", {"format": "pt"})
    with pytest.raises(ModelFileError, match=r"a \.safetensors file of another program: its metadata lacks format=boxwright"):
        load_model(tmp_path / "other")


def test_a_network_that_takes_too_long_is_refused(tmp_path, random_arrays):
    network = (Conv("a", 64), Conv("b", 64, size=31))
    model = Model("slow", ModelSpec((), (), network, 1024), random_arrays(network, 1))
    with pytest.raises(ModelFileError, match=r"the network needs 8,[\d,]+ operations per image; the limit is 1,000,000,000,000"):
        save_model(model, tmp_path / "slow.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_network_whose_max_pools_take_too_long_is_refused(tmp_path, random_arrays):
    """Its file has 1,000 bytes, and its only convolution needs 6,000 operations."""
    network = (MaxPool("a", 415, 1, 414), MaxPool("b", 32, 32, 0), Conv("c", 6, normalize=False))
    model = Model("slow", ModelSpec(("dog",), ((1.0, 1.0),), network, 416), random_arrays(network, 1))
    with pytest.raises(ModelFileError, match=r"the network needs [\d,]+ operations per image; the limit is 1,000,000,000,000"):
        save_model(model, tmp_path / "slow.safetensors")


def test_a_network_with_too_many_boxes_is_refused(tmp_path, random_arrays):
    network = (Conv("a", 6, normalize=False),)
    model = Model("dense", ModelSpec(("dog",), ((1.0, 1.0),), network, 512), random_arrays(network, 1))
    with pytest.raises(ModelFileError, match=r"the network outputs 262,144 boxes per image; the limit is 250,000"):
        save_model(model, tmp_path / "dense.safetensors")


def test_a_later_format_version_is_refused_with_advice_to_update(small_file):
    header, arrays = split_file(small_file)
    header["__metadata__"] |= {"version": "4", "something": "new"}
    write_file(small_file, header, arrays)
    with pytest.raises(
        ModelFileError, match=r"its format version is '4', but this Boxwright reads versions 1 to 3\. Install the latest Boxwright"
    ):
        load_model(small_file)


def test_a_changed_label_is_detected_without_reading_the_arrays(small_file):
    header, arrays = split_file(small_file)
    header["__metadata__"]["spec"] = header["__metadata__"]["spec"].replace("cat", "cow")
    write_file(small_file, header, arrays, sign=False)
    with pytest.raises(ModelFileError, match="its header does not match its checksum"):
        read_header(small_file)


def test_a_changed_array_is_detected(small_file):
    data = bytearray(small_file.read_bytes())
    data[-1] ^= 1
    small_file.write_bytes(data)
    with pytest.raises(ModelFileError, match="the arrays do not match their checksum"):
        load_model(small_file)


def test_arrays_that_do_not_fit_the_network_are_refused_before_reading_them(small_file):
    header, arrays = split_file(small_file)
    header["__metadata__"]["spec"] = header["__metadata__"]["spec"].replace('"conv3"', '"last"')
    write_file(small_file, header, arrays)
    with pytest.raises(ModelFileError, match=r"array 'conv3/bias' is \('F32', \(14,\)\), but the network needs no such array"):
        read_header(small_file)
