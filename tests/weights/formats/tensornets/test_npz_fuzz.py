"""Random changes of .npz files: each file is read or refused."""

import pickle
import pickletools
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.errors import ModelFileError
from tests.weights.formats.tensornets.pickles import FOUR, element, write_pickle
from tests.weights.formats.tensornets.tensornets_files import object_array
from weights.formats.tensornets.npz import read_npz
from weights.formats.tensornets.safe_pickle import read_arrays


def try_to_read(path):
    """Read the file. Any exception but ModelFileError fails the test."""
    with suppress(ModelFileError):
        arrays = read_npz(path)
        assert all(isinstance(array, np.ndarray) and array.dtype == np.float32 for array in arrays)


def mutations(data):
    change = st.tuples(st.integers(0, len(data) - 1), st.binary(max_size=4), st.integers(0, 4))
    return st.lists(change, min_size=1, max_size=5)


def mutate(data, changes):
    for position, content, dropped in changes:
        data = data[:position] + content + data[position + dropped :]
    return data


SMALL = pickle.dumps(object_array([np.arange(3, dtype=np.float32), np.ones((1, 2), np.float32)]), 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@settings(max_examples=300, deadline=None)
@given(mutations(bytes(600)))
def test_a_mutated_file_is_read_or_refused(folder, changes):
    valid = write_pickle(folder / "a.npz", SMALL, 2).read_bytes()
    (folder / "a.npz").write_bytes(mutate(valid, changes))
    try_to_read(folder / "a.npz")


@settings(max_examples=300, deadline=None)
@given(mutations(SMALL))
def test_a_mutated_pickle_is_read_or_refused(folder, changes):
    try_to_read(write_pickle(folder / "a.npz", mutate(SMALL, changes), 2))


PIECES = [code.code.encode("latin-1") for code in pickletools.opcodes] + [
    b"cnumpy\nndarray\n",
    b"cnumpy\ndtype\n",
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"c_codecs\nencode\n",
    b"X\x02\x00\x00\x00f4",
    b"C\x04abcd",
    b"K\x01",
    b"(",
    b"t",
    b"R",
    b"b",
    element(b"K\x01\x85", FOUR),
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_random_pickle_programs_are_refused(pieces):
    with pytest.raises(ModelFileError):
        read_arrays(b"\x80\x04" + b"".join(pieces) + b".", 1)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_truncated_file_is_refused(folder, data):
    valid = write_pickle(folder / "a.npz", SMALL, 2).read_bytes()
    (folder / "a.npz").write_bytes(valid[: data.draw(st.integers(0, len(valid) - 1))])
    with pytest.raises(ModelFileError):
        read_npz(folder / "a.npz")
