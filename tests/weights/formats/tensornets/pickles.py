"""Pickles and .npz files, written instruction by instruction."""

import struct
import zipfile

import numpy as np


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
