"""Malicious .npz files are refused without executing anything."""

import copyreg
import pickle
import struct

import numpy as np
import pytest

from detector.errors import ModelFileError
from tests.weights.formats.tensornets.pickles import FOUR, NO_ORDER, array_of, assert_equal_arrays, element, write_pickle
from tests.weights.formats.tensornets.tensornets_files import Payload, object_array
from weights.formats.tensornets.npz import read_npz
from weights.formats.tensornets.safe_pickle import read_arrays


def short_string(text):
    return b"\x8c" + bytes([len(text)]) + text


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_payload_that_numpy_would_execute_is_refused_without_executing_it(protocol, tmp_path):
    marker = tmp_path / "ran"
    path = write_pickle(tmp_path / "a.npz", pickle.dumps(object_array([Payload(marker)]), protocol))
    with pytest.raises(ModelFileError, match=r"a\.npz: values\.npy: .*delete it"):
        read_npz(path)
    assert not marker.exists()
    np.load(path, allow_pickle=True)["values"][0].close()
    assert marker.exists(), "numpy does not execute the payload, so this test proves nothing"


def test_a_nested_payload_is_refused_without_executing_it(tmp_path):
    marker = tmp_path / "ran"
    inner = pickle.dumps(Payload(marker))
    scalar = (
        b"\x80\x04" + short_string(b"numpy._core.multiarray") + short_string(b"scalar") + b"\x93" + b"cnumpy\ndtype\nU\x01OI00\nI01\n\x87R"
    )
    for pickled in (
        scalar + b"B" + struct.pack("<I", len(inner)) + inner + b"\x86R.",
        pickle.dumps(object_array([object_array([Payload(marker)])])),
        pickle.dumps(np.array({"a": Payload(marker)})),
    ):
        with pytest.raises(ModelFileError):
            read_npz(write_pickle(tmp_path / "a.npz", pickled))
        with pytest.raises(ModelFileError):
            read_arrays(pickled, 1)
    assert not marker.exists()


def test_only_plain_numpy_arrays_are_accepted(tmp_path):
    valid = pickle.dumps(object_array([np.zeros(3, np.float32)]), 2)
    assert valid.count(b"cnumpy\nndarray\n") == 1  # the second array refers to the memo
    for name in (b"cnumpy\nmemmap\n", b"cnumpy\nload\n", b"cbuiltins\neval\n", b"cnumpy\nndarray.tofile\n", b"c_codecs\ndecode\n"):
        with pytest.raises(ModelFileError, match="names"):
            read_npz(write_pickle(tmp_path / "a.npz", valid.replace(b"cnumpy\nndarray\n", name)))
    for name in (b"cnumpy\ndtype\n", b"c_codecs\nencode\n"):  # known names, but not array classes
        with pytest.raises(ModelFileError, match="an unknown class"):
            read_npz(write_pickle(tmp_path / "a.npz", valid.replace(b"cnumpy\nndarray\n", name)))


NAMED = b"cnumpy\ndtype\n"

INVALID_PROGRAMS = {
    "a persistent id": b"\x80\x02X\x01\x00\x00\x00aQ.",
    "a persistent id as text": b"Pabc\n.",
    "an extension": b"\x80\x02\x82\x01.",
    "a large extension": b"\x80\x02\x84\x01\x00\x00\x00.",
    "an instance of protocol 0": b"(S'x'\niposix\nsystem\n.",
    "an object of protocol 1": b"(" + NAMED + b"o.",
    "a new object": b"\x80\x02" + NAMED + b")\x81.",
    "a new object with keywords": b"\x80\x04" + NAMED + b")}\x92.",
    "a dictionary": b"\x80\x02}.",
    "a set": b"\x80\x04\x8f.",
    "a float": b"\x80\x02G" + b"\0" * 8 + b".",
    "an attribute set on a name": b"\x80\x02" + NAMED + b"NX\x04\x00\x00\x00nameX\x01\x00\x00\x00a\x86b.",
    "a state for a text": b"\x80\x02X\x01\x00\x00\x00aNb.",
    "a state for a list": b"\x80\x02](NNtb.",
    "a buffer from outside": b"\x80\x05\x97.",
    "a list that contains itself": b"\x80\x02]q\x00h\x00a.",
    "a called string": b"\x80\x02X\x01\x00\x00\x00a)R.",
    "a call with a single argument instead of a tuple": b"\x80\x02" + NAMED + b"NR.",
    "an empty stack": b"\x80\x02R.",
    "a memo that is empty": b"\x80\x02h\x05.",
    "no end": b"\x80\x02N",
    "more after the end": b"\x80\x02N.N.",
    "a future protocol": b"\x80\x09N.",
    "a frame beyond all sizes": b"\x80\x04\x95" + b"\xff" * 8 + b"N.",
    "nothing": b"",
}


@pytest.mark.parametrize("pickled", INVALID_PROGRAMS.values(), ids=INVALID_PROGRAMS.keys())
def test_unusual_pickle_instructions_are_refused(pickled, tmp_path):
    copyreg.add_extension("posix", "system", 1)
    try:
        with pytest.raises(ModelFileError, match=r"a\.npz: values\.npy: .*(pickle|names)"):
            read_npz(write_pickle(tmp_path / "a.npz", pickled))
    finally:
        copyreg.remove_extension("posix", "system", 1)


NEGATIVE = b"J\xff\xff\xff\xff\x85"

NOT_FLOAT_ARRAYS = {
    "bytes of another length": element(b"K\x02\x85", FOUR),
    "a negative side": element(NEGATIVE, FOUR),
    "a side that is a text": element(b"X\x01\x00\x00\x00a\x85", FOUR),
    "a side that is true": element(b"\x88\x85", FOUR),
    "a shape that is a list": element(b"]K\x01a", FOUR),
    "five sides": element(b"(" + b"K\x01" * 5 + b"t", FOUR),
    "an immense side": element(b"\x8a\x08" + b"\x7f" * 8 + b"\x85", FOUR),
    "integers": element(b"K\x01\x85", FOUR, b"i4"),
    "objects": element(b"K\x01\x85", b"]Na", b"O", NO_ORDER),
    "objects from bytes": element(b"K\x01\x85", b"C\x08" + b"\x10" * 8, b"O", NO_ORDER),
    "objects that claim an order of bytes": element(b"K\x01\x85", b"C\x08" + b"\x10" * 8, b"O8"),
    "fields": element(b"K\x01\x85", FOUR, b"V4"),
    "a subarray": element(b"K\x01\x85", FOUR, state=b"K\x03X\x01\x00\x00\x00<X\x01\x00\x00\x00aNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"),
    "content that is a number": element(b"K\x01\x85", b"K\x01"),
    "content that is a list": element(b"K\x01\x85", b"]Na"),
    "content beyond bytes": element(b"K\x01\x85", b"X\x07\x00\x00\x00abc" + "€".encode() + b"d"),
    "an unusual encoding": element(b"K\x01\x85", b"c_codecs\nencode\nX\x04\x00\x00\x00abcdX\x05\x00\x00\x00idna2\x86R"),
    "a text": b"X\x01\x00\x00\x00a",
    "nothing": b"N",
    "a name": b"cnumpy\nndarray\n",
    "a type": b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R",
    "an array without a state": b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n\x85R",
    "an array without a class": b"cnumpy.core.multiarray\n_reconstruct\n)R(K\x01K\x01\x85NNNtb",
    "lists in lists": b"](](](eee",
}


def test_a_valid_handwritten_pickle_is_read(tmp_path):
    column = element(b"K\x02K\x01\x86", b"C\x08" + np.array([1, 2], "<f4").tobytes())
    assert_equal_arrays(read_npz(write_pickle(tmp_path / "a.npz", array_of(column, column), 2)), [np.array([[1], [2]], np.float32)] * 2)


@pytest.mark.parametrize("element_of_other_type", NOT_FLOAT_ARRAYS.values(), ids=NOT_FLOAT_ARRAYS.keys())
def test_a_pickle_without_an_array_of_floats_is_refused(element_of_other_type, tmp_path):
    valid = element(b"K\x01\x85", FOUR)
    with pytest.raises(ModelFileError, match=r"values\.npy: its pickle"):
        read_npz(write_pickle(tmp_path / "a.npz", array_of(valid, element_of_other_type), 2))
