"""The .npz files of tensornets: files of all numpy versions are read, and malicious files are refused without executing anything."""

import copyreg
import io
import pickle
import pickletools
import struct
import tracemalloc
import zipfile
from contextlib import suppress
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.errors import ModelFileError
from tests.weights.formats.tensornets.tensornets_files import Payload, object_array, write_npz
from weights.formats.tensornets.npz import read_npz
from weights.formats.tensornets.safe_pickle import MAX_INSTRUCTIONS, read_arrays

RANDOM = np.random.default_rng(0)
ARRAYS = {
    "net/conv1/conv/weights:0": RANDOM.standard_normal((3, 3, 3, 4), np.float32),
    "net/conv1/bn/gamma:0": RANDOM.standard_normal(4, np.float32),
    "net/conv1/bn/moving_mean:0": RANDOM.standard_normal(4, np.float32),
    "net/linear/conv/weights:0": RANDOM.standard_normal((1, 1, 4, 400), np.float32),
}


def npy(kind, count, content):
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({count},), }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def write_pickle(path, pickled, count=1, *, names=b"a", method=zipfile.ZIP_STORED):
    """Write a valid zip file that contains this pickle."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("names.npy", npy("|S1", count, names * count))
        archive.writestr("values.npy", npy("|O", count, pickled))
    return path


def assert_equal_arrays(read, arrays):
    assert len(read) == len(arrays)
    for array, expected in zip(read, arrays, strict=True):
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        np.testing.assert_array_equal(array, expected)


# Files written by numpy


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


# Malicious files


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


def element(shape, content, dtype=b"f4", state=b"K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"):
    """Return the pickle instructions of one array, without memo instructions."""
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    kind = b"cnumpy\ndtype\nX" + struct.pack("<I", len(dtype)) + dtype + b"\x89\x88\x87R(" + state + b"b"
    return array + b"(K\x01" + shape + kind + b"\x89" + content + b"tb"


NO_ORDER = b"K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?t"


def array_of(*elements):
    """Return a pickled object array of these elements."""
    return b"\x80\x03" + element(b"K" + bytes([len(elements)]) + b"\x85", b"](" + b"".join(elements) + b"e", b"O", NO_ORDER) + b"."


FOUR = b"C\x04\0\0\0\0"
NEGATIVE = b"J\xff\xff\xff\xff\x85"
NESTED = b"](" * 3 + b"e" * 3
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


# Files that exhaust memory


@pytest.fixture
def memory_limit():
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6


LARGE = 4 * 10**6
DOUBLED = b"](]q\x00" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(40)) + b"e"  # converted to text, it would have 2**40 items
BOMBS = {
    "a large memo index": b"\x80\x02Nr\xff\xff\xff\x01.",
    "an immense memo index": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "a length beyond the end": b"\x80\x03B\xff\xff\xff\x7fabc.",
    "a 64-bit length beyond the end": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc.",
    "a frame beyond the end": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
    "one content for many arrays": array_of(
        element(struct.pack("<cI", b"J", LARGE // 4) + b"\x85", b"B" + struct.pack("<I", LARGE) + bytes(LARGE) + b"q\x01"),
        *[element(struct.pack("<cI", b"J", LARGE // 4) + b"\x85", b"h\x01")] * 200,
    ),
    "one text encoded many times": b"\x80\x02X" + struct.pack("<I", LARGE) + b"a" * LARGE
    + b"q\x000X\x06\x00\x00\x00latin1q\x010" + b"c_codecs\nencode\nh\x00h\x01\x86R" * 2000 + b".",
    "too many instructions": b"\x80\x02" + b"N" * (MAX_INSTRUCTIONS + 1) + b".",
    "deep calls": b"\x80\x02" + b"cnumpy\ndtype\n" * 60000 + b")R" + b"\x85R" * 59999 + b".",
    "deep lists": b"\x80\x02" + b"]" * 200000 + b"a" * 199999 + b".",
    "nested lists instead of a character": array_of(
        element(b"K\x01\x85", FOUR, state=b"K\x03" + DOUBLED + b"NNNJ\0\0\0\0K\x00K\x00t"),
    ),
}  # fmt: skip


@pytest.mark.usefixtures("memory_limit")
@pytest.mark.parametrize("pickled", BOMBS.values(), ids=BOMBS.keys())
def test_a_pickle_bomb_is_refused_without_allocating_memory(pickled):
    count = pickled.count(b"_reconstruct") - 1 if b"_reconstruct" in pickled else 1
    with pytest.raises(ModelFileError):
        read_arrays(pickled, count)


@pytest.mark.usefixtures("memory_limit")
def test_a_zip_bomb_is_refused_without_decompressing_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("names.npy", npy("|S1", 1, b"a"))
        with archive.open("values.npy", "w", force_zip64=True) as member:
            for _ in range(64):
                member.write(bytes(2**20))
    assert (tmp_path / "a.npz").stat().st_size < 2**17
    with pytest.raises(ModelFileError, match=r"values\.npy claims 67108864 bytes, compressed to \d+; the limit is"):
        read_npz(tmp_path / "a.npz")


@pytest.mark.usefixtures("memory_limit")
def test_a_zip_member_larger_than_it_claims_is_refused(tmp_path):
    content = npy("|O", 1, bytes(2**26))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("names.npy", npy("|S1", 1, b"a"))
        archive.writestr("values.npy", content)
    forged = (tmp_path / "a.npz").read_bytes().replace(struct.pack("<I", len(content)), struct.pack("<I", 2**12))
    (tmp_path / "a.npz").write_bytes(forged)
    del content
    tracemalloc.reset_peak()
    with pytest.raises(ModelFileError):
        read_npz(tmp_path / "a.npz")


@pytest.mark.usefixtures("memory_limit")
def test_sizes_larger_than_the_file_are_refused(tmp_path):
    valid = write_pickle(tmp_path / "a.npz", array_of(element(b"K\x01\x85", FOUR))).read_bytes()
    assert read_npz(tmp_path / "a.npz")[0] == [0]
    size = struct.pack("<I", len(npy("|O", 1, array_of(element(b"K\x01\x85", FOUR)))))
    (tmp_path / "a.npz").write_bytes(valid.replace(size, struct.pack("<I", 2**32 - 2)))
    with pytest.raises(ModelFileError, match="claims 4294967294 bytes"):
        read_npz(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("names.npy", npy("|S0", 10**9 - 1, b""))
        archive.writestr("values.npy", npy("|O", 10**9 - 1, array_of(element(b"K\x01\x85", FOUR))))
    with pytest.raises(ModelFileError, match="999999999"):
        read_npz(tmp_path / "a.npz")


# Damaged files and other formats


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
