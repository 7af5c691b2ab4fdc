"""tensornets' .npz, read and written: a zip of `names.npy`, texts, and `values.npy`, an array of arrays, which numpy pickles.

The layout is that of tensornets' `save` and `parse_weights` (its utils.py). What the pickle may do is in `array_pickle`: nothing.
"""

import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.errors import ModelFileError
from detector.shapes import Array
from weights.atomic_files import atomic_write
from weights.formats.bounded_io import opened
from weights.formats.tensornets.safe_pickle import HARM, MAX_BYTES, read_arrays

NAMES, VALUES = "names.npy", "values.npy"
MAX_NAMES_BYTES = 2**20
MAX_INFLATION = 16
"""How many times its compressed size `values.npy` may have; weights hardly shrink."""


def read_npz(path: Path) -> list[Array]:
    """The arrays of a file that tensornets wrote, in float32 and in the order in which it gives them to its graph's variables.

    Raises ModelFileError for any other file. Nothing in the file is executed; it takes memory for about three times `values.npy`.
    """
    with opened(path) as (file, size):
        try:
            names, values = _members(file, size)
            return _in_order(_texts(names), _arrays(values))
        except ModelFileError as error:
            raise ModelFileError(f"{path}: {error}") from error


def write_npz(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Writes arrays, by tensornets' names and in its order, as tensornets does. The file appears when it is whole.

    Raises OSError where the disk refuses.
    """
    values = np.empty(len(arrays), object)
    for index, array in enumerate(arrays.values()):
        values[index] = array
    with atomic_write(path) as file:
        np.savez(file, names=np.array(list(arrays), np.str_), values=values)


class _Npy(NamedTuple):
    """A .npy of one dimension."""

    kind: str  # of its elements, without their byte order: "U60", "O"
    length: int
    content: bytes


def _members(file: BinaryIO, size: int) -> tuple[_Npy, _Npy]:
    try:
        with zipfile.ZipFile(file) as archive:
            return _member(archive, NAMES, MAX_NAMES_BYTES, size), _member(archive, VALUES, MAX_BYTES, size)
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise ModelFileError(f"not a whole .npz ({error}). Fetch it again.") from error


def _member(archive: zipfile.ZipFile, name: str, limit: int, size: int) -> _Npy:
    if name not in archive.namelist():
        raise ModelFileError(f"it holds no {name}; tensornets' files hold {NAMES} and {VALUES}. Is it another .npz?")
    info = archive.getinfo(name)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ModelFileError(f"{name} is compressed by method {info.compress_type}; numpy stores or deflates.")
    limit = min(limit, MAX_INFLATION * info.compress_size) if name == VALUES else limit
    if info.file_size > limit or info.compress_size > size:
        raise ModelFileError(f"{name} claims {info.file_size} bytes, made of {info.compress_size}; allowed are {limit}. {HARM}")
    with archive.open(info) as member:
        return _npy(member, name, info.file_size)


_START = struct.Struct("<8sH")
_HEADER = re.compile(r"\{'descr': '[<>|]([A-Za-z]\d{0,4})', 'fortran_order': (?:True|False), 'shape': \((\d{1,9})L?,\), \} *\n?")


def _npy(member: IO[bytes], name: str, size: int) -> _Npy:
    """Never reads without saying how much: a member may inflate to more than it claims."""
    magic, length = _START.unpack(member.read(_START.size).ljust(_START.size))
    left = size - _START.size - length
    if magic != b"\x93NUMPY\x01\x00" or left < 0:
        raise ModelFileError(f"{name} is not a .npy of version 1.")
    header = member.read(length).decode("latin-1")
    match = _HEADER.fullmatch(header)
    if match is None:
        raise ModelFileError(f"{name} has the header {header[:100]!r}; wanted is that of an array in one dimension.")
    content = member.read(left)
    if len(content) != left:
        raise ModelFileError(f"{name} ends {left - len(content)} bytes early. Fetch it again.")
    return _Npy(match[1], int(match[2]), content)


def _texts(names: _Npy) -> list[str]:
    width = int(names.kind[1:] or 0) * (4 if names.kind[0] == "U" else 1)
    if names.kind[0] not in "US" or not width or len(names.content) != names.length * width:
        raise ModelFileError(f"{NAMES} holds {len(names.content)} bytes instead of {names.length} texts (type {names.kind!r}).")
    texts = [names.content[start : start + width] for start in range(0, len(names.content), width)]
    # Latin-1 reads UTF-32 in either byte order as well, with zeros between the letters; nobody has names beyond ASCII.
    return [text.replace(b"\0", b"").decode("latin-1") for text in texts]


def _arrays(values: _Npy) -> list[Array]:
    if values.kind[0] != "O":
        raise ModelFileError(f"{VALUES} is of type {values.kind!r}; wanted is an array of objects, as tensornets writes it.")
    try:
        return read_arrays(values.content, values.length)
    except ModelFileError as error:
        raise ModelFileError(f"{VALUES}: {error}") from error


def _in_order(names: list[str], arrays: list[Array]) -> list[Array]:
    """Where a beta comes right before its gamma, they change places, as `parse_weights` has it: graphs have had both orders."""
    for index in range(1, min(len(names), len(arrays))):
        if "/beta" in names[index - 1] and "/gamma" in names[index]:
            arrays[index - 1], arrays[index] = arrays[index], arrays[index - 1]
    return arrays
