"""Files that would exhaust memory are refused before they do."""

import struct
import tracemalloc
import zipfile

import pytest

from detector.errors import ModelFileError
from tests.weights.formats.tensornets.pickles import FOUR, array_of, element, npy, write_pickle
from weights.formats.tensornets.npz import read_npz
from weights.formats.tensornets.safe_pickle import MAX_INSTRUCTIONS, read_arrays


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
