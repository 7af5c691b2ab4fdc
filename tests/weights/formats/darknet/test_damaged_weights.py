"""Darknet .weights files that are truncated, too long or invalid are refused."""

import os
import struct
import tracemalloc
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.errors import ArraysError, ModelFileError, NetworkError
from detector.network.layers import Conv
from detector.network.shapes import check_arrays
from tests.weights.formats.darknet.weights_files import YOLO_LITE
from weights.formats.darknet.cfg import read_cfg
from weights.formats.darknet.weights import read_darknet, read_weights, write_darknet


def array_offsets(network, header):
    """Return the start of each array in a .weights and the end of the file, computed from the layers alone."""
    offsets, position, channels = {}, header, 3
    for layer in network:
        assert isinstance(layer, Conv) or layer.name.startswith("pool")
        if isinstance(layer, Conv):
            sizes = dict.fromkeys(("beta", "gamma", "mean", "variance") if layer.normalize else ("bias",), layer.filters)
            for part, size in {**sizes, "kernel": layer.filters * channels * layer.size**2}.items():
                offsets[f"{layer.name}/{part}"] = position
                position += 4 * size
            channels = layer.filters
    return offsets, position


@pytest.mark.parametrize("value", ["x", "", "99999999999", "-1"])
def test_an_invalid_header_is_refused(files, small_model, value):
    with pytest.raises(NetworkError, match=r"the provenance contains no valid \.weights header"):
        write_darknet(replace(small_model, provenance={"darknet.seen" if value == "-1" else "darknet.major": value}), *files)
    assert not files[0].exists()


@pytest.mark.parametrize("name", YOLO_LITE)
def test_a_truncated_file_is_refused_and_the_message_names_array_and_byte(shared, files, name):
    cfg, weights = (shared / "weights" / f"{name}.{kind}" for kind in ("cfg", "weights"))
    files[1].write_bytes(weights.read_bytes())
    offsets, end = array_offsets(read_cfg(cfg).network, 16)
    assert end == weights.stat().st_size
    for array, start in reversed(offsets.items()):  # so that the file is only shortened
        for cut in (end - 1, (start + end) // 2, start + 1, start):
            os.truncate(files[1], cut)
            with pytest.raises(
                ModelFileError,
                match=f"a.weights: array '{array}' needs {end - start} bytes at byte {start}, but the file has only {cut - start} more",
            ):
                read_darknet(cfg, files[1])
        end = start
    for cut in (15, 12, 11, 1, 0):
        os.truncate(files[1], cut)
        needed = 16 if cut >= 12 else 12
        with pytest.raises(ModelFileError, match=f"the header needs {needed} bytes, but the file has only {cut}"):
            read_darknet(cfg, files[1])


@pytest.mark.parametrize("name", YOLO_LITE)
def test_one_extra_byte_is_refused(shared, files, name):
    cfg, weights = (shared / "weights" / f"{name}.{kind}" for kind in ("cfg", "weights"))
    files[1].write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(
        ModelFileError, match=f"the file has 1 byte more at byte {weights.stat().st_size}, after the last array, 'conv6_2/kernel'"
    ):
        read_darknet(cfg, files[1])


def test_a_cfg_larger_than_the_file_allocates_no_memory(files):
    cfg, weights = files
    cfg.write_text(
        "[net]\nwidth=32\nheight=32\nchannels=3\n[convolutional]\nfilters=1000000000\nsize=101\nstride=32\npad=1\nactivation=leaky\n"
    )
    weights.write_bytes(bytes(100))
    tracemalloc.start()
    with pytest.raises(ModelFileError, match="array 'conv1/bias' needs 4000000000 bytes at byte 16, but the file has only 84 more"):
        read_darknet(cfg, weights)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("array", "number", "problem"),
    [
        ("conv2_1/kernel", np.nan, "contains NaN or infinity"),
        ("conv2_1/gamma", np.inf, "contains NaN or infinity"),
        ("conv3/bias", -np.inf, "contains NaN or infinity"),
        ("conv1/variance", -1.0, "contains a negative variance"),
    ],
)
def test_values_that_are_not_finite_and_negative_variances_are_refused(files, small_model, array, number, problem):
    write_darknet(small_model, *files)
    data = bytearray(files[1].read_bytes())
    values = small_model.arrays[array]
    first = np.float32(values.transpose(3, 2, 0, 1).ravel()[0] if values.ndim == 4 else values[0]).tobytes()
    position = data.index(first)
    data[position : position + 4] = np.float32(number).tobytes()
    files[1].write_bytes(data)
    with pytest.raises(ModelFileError, match=f"array '{array}' at byte {position} {problem}"):
        read_darknet(*files)
    bad = {**small_model.arrays, array: np.full_like(values, number)}
    before = [path.read_bytes() for path in files]
    with pytest.raises(ArraysError, match=f"array '{array}' {problem}"):
        write_darknet(replace(small_model, arrays=bad), *files)
    assert [path.read_bytes() for path in files] == before
    assert len(list(files[0].parent.iterdir())) == 2


@settings(max_examples=200)
@given(data=st.binary(max_size=200) | st.binary(min_size=108, max_size=112), complete=st.booleans())
def test_random_bytes_give_valid_arrays_or_are_refused(tmp_path_factory, data, complete):
    network = (Conv("a", 2, size=1), Conv("b", 1, size=2, normalize=False, padding=(0, 0)))  # 23 numbers
    path = tmp_path_factory.getbasetemp() / "any.weights"
    path.write_bytes(data)
    right_size = len(data) in (108, 112) or (not complete and len(data) > 108)
    with suppress(ModelFileError):  # any other exception fails the test
        arrays, provenance = read_weights(path, network, complete=complete)
        assert right_size
        check_arrays(network, arrays)
        assert all(np.isfinite(array).all() for array in arrays.values())
        assert provenance["darknet.major"] == str(struct.unpack("<i", data[:4])[0])


def test_a_missing_file_is_reported(files):
    with pytest.raises(ModelFileError, match=r"a\.cfg cannot be read: No such file or directory"):
        read_darknet(*files)


def test_a_pipe_is_refused_without_waiting(files):
    files[0].write_text("[net]\nwidth=8\nheight=8\nchannels=3\n[maxpool]\n")
    os.mkfifo(files[1])
    with pytest.raises(ModelFileError, match=r"a\.weights is not a regular file"):
        read_darknet(*files)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 5\n", "this is a Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>Not found</html>", "this is a web page, not a .weights file"),
        (b"<HTML><body>Login</body></HTML>", "this is a web page, not a .weights file"),
        (b"PK\x03\x04" + bytes(100), "this is a zip archive"),
        (b"\x1f\x8b" + bytes(100), r"this is a gzip file \(\.gz\), not a \.weights file\. Unpack it"),
        (b"Rar!" + bytes(100), "this is a RAR archive"),
        (b"7z\xbc\xaf" + bytes(100), "this is a 7z archive"),
    ],
)
def test_what_a_failed_download_leaves_is_recognised(tmp_path, content, message):
    (tmp_path / "a.weights").write_bytes(content)
    with pytest.raises(ModelFileError, match=message):
        read_weights(tmp_path / "a.weights", (Conv("a", 8, 3),))


def test_a_partly_downloaded_file_of_full_size_is_refused(tmp_path):
    network = (Conv("a", 8, 64, normalize=False),)
    values = np.ones(8 + 8 * 3 * 64 * 64, "<f4")
    header = struct.pack("<iiiQ", 0, 2, 0, 1)
    (tmp_path / "a.weights").write_bytes(header + values.tobytes())
    assert read_weights(tmp_path / "a.weights", network)[0]["a/bias"].all()
    values[len(values) // 2 :] = 0
    (tmp_path / "a.weights").write_bytes(header + values.tobytes())
    with pytest.raises(ModelFileError, match=r"the last 4,096 bytes are zeros, so the download is incomplete"):
        read_weights(tmp_path / "a.weights", network)
