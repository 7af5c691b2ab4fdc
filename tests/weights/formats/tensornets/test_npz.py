"""The .npz files of tensornets: files of all numpy versions are read, and other formats are refused."""

import io
import pickle
import struct
import zipfile
from typing import ClassVar

import numpy as np
import pytest

from detector.errors import ModelFileError
from tests.weights.formats.tensornets.pickles import FOUR, array_of, assert_equal_arrays, element, npy, write_pickle
from tests.weights.formats.tensornets.tensornets_files import object_array, write_npz
from weights.formats.tensornets.npz import read_npz

RANDOM = np.random.default_rng(0)

ARRAYS = {
    "net/conv1/conv/weights:0": RANDOM.standard_normal((3, 3, 3, 4), np.float32),
    "net/conv1/bn/gamma:0": RANDOM.standard_normal(4, np.float32),
    "net/conv1/bn/moving_mean:0": RANDOM.standard_normal(4, np.float32),
    "net/linear/conv/weights:0": RANDOM.standard_normal((1, 1, 4, 400), np.float32),
}


def test_written_arrays_are_read_back(tmp_path):
    arrays = ARRAYS | {"empty": np.zeros((0, 2), np.float32), "single": np.array(3, np.float32)}
    write_npz(tmp_path / "a.npz", arrays)
    assert_equal_arrays(read_npz(tmp_path / "a.npz"), list(arrays.values()))


def test_a_compressed_file_is_read(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", names=np.array(list(ARRAYS)), values=object_array(list(ARRAYS.values())))
    assert_equal_arrays(read_npz(tmp_path / "a.npz"), list(ARRAYS.values()))


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("module", [b"numpy._core.multiarray", b"numpy.core.multiarray"])
def test_every_pickle_protocol_that_numpy_has_used_is_read(protocol, module, tmp_path):
    pickled = pickle.dumps(object_array(list(ARRAYS.values())), protocol)
    if protocol < 4:  # later protocols contain the length of the name
        pickled = pickled.replace(b"numpy._core.multiarray", module)
    assert_equal_arrays(read_npz(write_pickle(tmp_path / "a.npz", pickled, 4)), list(ARRAYS.values()))


class Python2Pickler(pickle._Pickler):
    """A pickler that writes str and bytes as Python 2 wrote its only string type."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_string(self, value):
        data = value.encode("latin-1") if isinstance(value, str) else value
        self.write(b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + struct.pack("<i", len(data)) + data)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string


def test_files_from_python_2_are_read(tmp_path):
    file = io.BytesIO()
    Python2Pickler(file, 2).dump(object_array(list(ARRAYS.values())))
    pickled = file.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert_equal_arrays(read_npz(write_pickle(tmp_path / "a.npz", pickled, 4)), list(ARRAYS.values()))


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "<f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_float_type_and_memory_order_becomes_c_contiguous_float32(dtype, order, tmp_path):
    array = np.array(np.arange(24).reshape(2, 3, 4), dtype, order=order)
    write_npz(tmp_path / "a.npz", {"a": array})
    assert_equal_arrays(read_npz(tmp_path / "a.npz"), [array.astype(np.float32)])


def test_a_beta_before_its_gamma_is_swapped_as_in_tensornets(tmp_path):
    for kind in (np.str_, np.bytes_):
        names = np.array(["c/weights:0", "c/bn/beta:0", "c/bn/gamma:0", "c/bn/moving_mean:0"], kind)
        values = [np.full(2, number, np.float32) for number in range(4)]
        np.savez(tmp_path / "a.npz", names=names, values=object_array(values))
        assert [array[0] for array in read_npz(tmp_path / "a.npz")] == [0, 2, 1, 3]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "does not contain names.npy"),
        ({"names.npy": npy("|S1", 1, b"a")}, "does not contain values.npy"),
        ({"arr_0.npy": b"a"}, "Is it another .npz"),
        ({"names.npy": b"text", "values.npy": b"text"}, "names.npy is not a .npy"),
        ({"names.npy": npy("|S1", 2, b"a"), "values.npy": npy("|O", 1, b"N.")}, "1 bytes instead of 2 strings"),
        ({"names.npy": npy("<f4", 1, b"abcd"), "values.npy": npy("|O", 1, b"N.")}, "instead of 1 strings"),
        ({"names.npy": npy("|S1", 1, b"a"), "values.npy": npy("<f4", 1, b"abcd")}, "array of objects"),
        ({"names.npy": npy("|S1", 1, b"a"), "values.npy": npy("|O", "2, 2", b"N.")}, "one-dimensional array"),
        (
            {"names.npy": npy("|S1", 1, b"a"), "values.npy": npy("|O", 2, array_of(element(b"K\x01\x85", FOUR)))},
            "array of 2 objects",
        ),
        ({"names.npy": npy("|S1", 1, b"a"), "values.npy": npy("[('a', 'O')]", 1, b"N.")}, "header"),
    ],
)
def test_a_different_zip_file_is_refused_with_a_reason(members, message, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ModelFileError, match=message):
        read_npz(tmp_path / "a.npz")


def test_compression_methods_that_numpy_does_not_use_are_refused(tmp_path):
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with pytest.raises(ModelFileError, match="numpy uses only stored and deflated"):
            read_npz(write_pickle(tmp_path / "a.npz", b"N.", method=method))


def test_a_file_that_is_not_a_zip_or_is_missing_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"<!DOCTYPE html>")
    for path in (tmp_path / "a.npz", tmp_path / "b.npz", tmp_path):
        with pytest.raises(ModelFileError, match=path.name):
            read_npz(path)
