"""The .npz files of tensornets: a zip archive of `names.npy` (strings) and `values.npy` (a pickled array of arrays).

The layout is that of tensornets' `save` and `parse_weights` (its utils.py). `safe_pickle` reads the pickle without executing it.
"""

import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

from detector.errors import ModelFileError
from detector.network.shapes import Array
from weights.formats.bounded_io import open_regular_file
from weights.formats.tensornets.safe_pickle import MALICIOUS_FILE_HINT, MAX_PICKLED_BYTES, read_arrays

NAMES, VALUES = "names.npy", "values.npy"
MAX_NAMES_NPY_BYTES = 2**20
MAX_INFLATION = 16  # Limit for the compression ratio of `values.npy`. Weights hardly compress.


def read_npz(path: Path) -> list[Array]:
    """Read the float32 arrays of a tensornets file, in the order of its variables, without executing anything in it.

    The memory used is about three times the size of `values.npy`. Raises ModelFileError if tensornets did not write the file.
    """
    with open_regular_file(path) as (file, size):
        try:
            names, values = _members(file, size)
            return _assignment_order(_strings(names), _arrays(values))
        except ModelFileError as error:
            raise ModelFileError(f"{path}: {error}") from error


class _Npy(NamedTuple):
    """A one-dimensional .npy."""

    kind: str  # type of the elements without byte order: "U60", "O"
    length: int
    content: bytes


def _members(file: BinaryIO, size: int) -> tuple[_Npy, _Npy]:
    try:
        with zipfile.ZipFile(file) as archive:
            return _member(archive, NAMES, MAX_NAMES_NPY_BYTES, size), _member(archive, VALUES, MAX_PICKLED_BYTES, size)
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise ModelFileError(f"not a complete .npz ({error}). Download it again.") from error


def _member(archive: zipfile.ZipFile, name: str, limit: int, size: int) -> _Npy:
    if name not in archive.namelist():
        raise ModelFileError(f"it does not contain {name}. Files of tensornets contain {NAMES} and {VALUES}. Is it another .npz?")
    info = archive.getinfo(name)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ModelFileError(f"{name} is compressed with method {info.compress_type}; numpy uses only stored and deflated.")
    limit = min(limit, MAX_INFLATION * info.compress_size) if name == VALUES else limit
    if info.file_size > limit or info.compress_size > size:
        raise ModelFileError(
            f"{name} claims {info.file_size} bytes, compressed to {info.compress_size}; the limit is {limit}. {MALICIOUS_FILE_HINT}"
        )
    with archive.open(info) as member:
        return _npy(member, name, info.file_size)


_START = struct.Struct("<8sH")
_HEADER = re.compile(r"\{'descr': '[<>|]([A-Za-z]\d{0,4})', 'fortran_order': (?:True|False), 'shape': \((\d{1,9})L?,\), \} *\n?")


def _npy(member: IO[bytes], name: str, size: int) -> _Npy:
    """Read a .npy. Every read has a limit, because the archive's member may decompress to more than it claims."""
    magic, length = _START.unpack(member.read(_START.size).ljust(_START.size))
    left = size - _START.size - length
    if magic != b"\x93NUMPY\x01\x00" or left < 0:
        raise ModelFileError(f"{name} is not a .npy of version 1.")
    header = member.read(length).decode("latin-1")
    match = _HEADER.fullmatch(header)
    if match is None:
        raise ModelFileError(f"{name} has the header {header[:100]!r}; expected a one-dimensional array.")
    content = member.read(left)
    if len(content) != left:
        raise ModelFileError(f"{name} ends {left - len(content)} bytes early. Download it again.")
    return _Npy(match[1], int(match[2]), content)


def _strings(names: _Npy) -> list[str]:
    width = int(names.kind[1:] or 0) * (4 if names.kind[0] == "U" else 1)
    if names.kind[0] not in "US" or not width or len(names.content) != names.length * width:
        raise ModelFileError(f"{NAMES} contains {len(names.content)} bytes instead of {names.length} strings (type {names.kind!r}).")
    texts = [names.content[start : start + width] for start in range(0, len(names.content), width)]
    # Names are ASCII. Without zero bytes, UTF-32 in either byte order is ASCII too.
    return [text.replace(b"\0", b"").decode("latin-1") for text in texts]


def _arrays(values: _Npy) -> list[Array]:
    if values.kind[0] != "O":
        raise ModelFileError(f"{VALUES} has type {values.kind!r}; expected an array of objects, as tensornets writes it.")
    try:
        return read_arrays(values.content, values.length)
    except ModelFileError as error:
        raise ModelFileError(f"{VALUES}: {error}") from error


def _assignment_order(names: list[str], arrays: list[Array]) -> list[Array]:
    """Swap each beta with the gamma that follows it, as `parse_weights` does, because files exist in both orders."""
    for index in range(1, min(len(names), len(arrays))):
        if "/beta" in names[index - 1] and "/gamma" in names[index]:
            arrays[index - 1], arrays[index] = arrays[index], arrays[index - 1]
    return arrays
