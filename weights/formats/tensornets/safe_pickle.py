"""Read the pickle in which numpy stores an array of objects, without executing it.

A pickle is a program. First, every instruction is compared with those that numpy writes (protocols 2 to 4, also from Python 2). Then an
unpickler that accepts only a few function names records their calls instead of making them. Finally, the recorded calls are converted to
arrays of floats, or refused.
"""

import io
import pickle
import pickletools
from math import prod
from typing import Any, NamedTuple

import numpy as np

from detector.errors import ModelFileError
from detector.network.shapes import Array

MAX_ELEMENTS = 4096
MAX_INSTRUCTIONS = 100 * MAX_ELEMENTS  # numpy writes about 30 instructions per array.
MAX_DIMENSIONS = 4
MAX_PICKLED_BYTES = 2**29
"""Limit for all arrays together in float32: 2.6 times the largest detector of tensornets (YOLOv2 for COCO, 204 MB)."""

MALICIOUS_FILE_HINT = "The file may be malicious. Do not open it with another program; delete it."


def read_arrays(pickled: bytes, count: int) -> list[Array]:
    """Return the arrays in a pickled object array of `count` elements, in float32. Raises ModelFileError for anything else."""
    parts = [_parts(element) for element in _elements(pickled, count)]
    total = 4 * sum(prod(part.shape) for part in parts)
    if total > MAX_PICKLED_BYTES:  # several arrays can share their content in the file
        raise ModelFileError(f"its pickle makes arrays of {total} bytes; the limit is {MAX_PICKLED_BYTES}. {MALICIOUS_FILE_HINT}")
    return [_floats(part) for part in parts]


_PUTS = {"BINPUT", "LONG_BINPUT"}
_MEMO = {"MEMOIZE", "BINGET", "LONG_BINGET"} | _PUTS
_CALLS = {"PROTO", "FRAME", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "STOP"}
_NUMBERS = {"NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1"}
_BYTES = {"BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
_TEXTS = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_SEQUENCES = {"MARK", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS"}
_INSTRUCTIONS = _MEMO | _CALLS | _NUMBERS | _BYTES | _TEXTS | _SEQUENCES


def _inspect(pickled: bytes) -> None:
    """Raise ModelFileError for an instruction that numpy does not write, and ValueError for a length beyond the end.

    This limits the memory to the size of the pickle. `pickle` itself would allocate memory for any memo index and any length.
    """
    for count, (instruction, argument, position) in enumerate(pickletools.genops(pickled)):
        if instruction.name not in _INSTRUCTIONS or count >= MAX_INSTRUCTIONS:
            raise ModelFileError(f"instruction {count} of its pickle, {instruction.name}, is not written by numpy. {MALICIOUS_FILE_HINT}")
        if instruction.name in _PUTS and int(argument or 0) > MAX_INSTRUCTIONS:
            raise ModelFileError(f"its pickle has the memo index {argument}. {MALICIOUS_FILE_HINT}")
        if instruction.name == "STOP" and position is not None and position + 1 != len(pickled):
            raise ModelFileError(f"{len(pickled) - position - 1} bytes follow its pickle.")


_RECONSTRUCT, _NDARRAY, _DTYPE, _ENCODE = "numpy.core.multiarray._reconstruct", "numpy.ndarray", "numpy.dtype", "_codecs.encode"
_KNOWN = {name: name for name in (_RECONSTRUCT, _NDARRAY, _DTYPE, _ENCODE)} | {"numpy._core.multiarray._reconstruct": _RECONSTRUCT}


class _Function:
    """A function that the pickle names. Calling it only records the call."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *arguments: Any) -> "_Call":
        return _Call(self.name, arguments)


class _Call:
    """A recorded call, and the state that the pickle sets on its result."""

    __slots__ = ("arguments", "name", "state")

    def __init__(self, name: str, arguments: tuple[Any, ...]) -> None:
        self.name, self.arguments, self.state = name, arguments, None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> _Function:
        """Return a `_Function` for what numpy needs. Raises ModelFileError for everything else."""
        known = _KNOWN.get(f"{module}.{name}")
        if known is None:
            raise ModelFileError(f"its pickle names {module}.{name}, but weights need only numpy arrays. {MALICIOUS_FILE_HINT}")
        return _Function(known)


def _elements(pickled: bytes, count: int) -> list[Any]:
    try:
        _inspect(pickled)
        outer = _Unpickler(io.BytesIO(pickled), fix_imports=False, encoding="bytes").load()
    except (pickle.UnpicklingError, ValueError, TypeError, AttributeError, LookupError, EOFError, OverflowError, MemoryError) as error:
        raise ModelFileError(f"its pickle is damaged ({error}). Download the file again.") from error
    array = _parts(outer)
    if array.dtype != "O" or not isinstance(array.content, list) or not len(array.content) == count == prod(array.shape) <= MAX_ELEMENTS:
        raise ModelFileError(f"its pickle is not a one-dimensional array of {count} objects, or has more than {MAX_ELEMENTS}.")
    return array.content


class _Parts(NamedTuple):
    """The parts of a pickled array."""

    shape: tuple[int, ...]
    dtype: str
    fortran: bool
    content: Any  # bytes, or a list if the dtype is "O"


def _parts(value: Any) -> _Parts:
    _, shape, dtype, fortran, content = _recorded_state(value, _RECONSTRUCT, 5)
    kind = value.arguments[0] if value.arguments else None
    if not isinstance(kind, _Function) or kind.name != _NDARRAY:
        raise ModelFileError(f"its pickle contains an array of an unknown class. {MALICIOUS_FILE_HINT}")
    if (
        not isinstance(shape, tuple)
        or len(shape) > MAX_DIMENSIONS
        or not all(type(side) is int and 0 <= side <= MAX_PICKLED_BYTES for side in shape)
    ):
        raise ModelFileError(f"its pickle contains an array with an invalid shape; at most {MAX_DIMENSIONS} dimensions are allowed.")
    return _Parts(shape, _dtype(dtype), bool(fortran), content)


def _dtype(value: Any) -> str:
    """Return the type of an array's elements: "<f4" and the like, or "O"."""
    _, order, *fields = _recorded_state(value, _DTYPE, 8)
    kind = _string(value.arguments[0]) if value.arguments else ""
    dtype = "O" if kind in ("O", "O8") else f"{_string(order)}{kind}"
    if dtype not in ("O", "<f2", "<f4", "<f8", ">f2", ">f4", ">f8") or fields[:3] != [None, None, None]:
        raise ModelFileError("its pickle contains numbers that are not floats.")
    return dtype


def _recorded_state(value: Any, name: str, count: int) -> tuple[Any, ...]:
    """Return the state, a tuple of `count` parts, of a recorded call of the named function."""
    if not isinstance(value, _Call) or value.name != name or not isinstance(value.state, tuple) or len(value.state) != count:
        raise ModelFileError(f"its pickle lacks a call of {name} where numpy writes one.")
    return value.state


def _floats(part: _Parts) -> Array:
    dtype, content = np.dtype(part.dtype), part.content
    if isinstance(content, _Call) and content.name == _ENCODE and [_string(each) for each in content.arguments[1:]] == ["latin1"]:
        content = content.arguments[0]  # this is how protocol 2 writes bytes
    if part.dtype == "O" or not isinstance(content, str | bytes) or len(content) != prod(part.shape) * dtype.itemsize:
        raise ModelFileError(f"its pickle does not contain the {prod(part.shape)} numbers of an array of shape {part.shape}.")
    try:
        content = content.encode("latin-1") if isinstance(content, str) else content
    except UnicodeEncodeError as error:
        raise ModelFileError(f"its pickle contains invalid bytes ({error}).") from error
    values = np.frombuffer(content, dtype).reshape(part.shape, order="F" if part.fortran else "C")
    with np.errstate(over="ignore", invalid="ignore"):  # a number too large for float32 becomes infinity, which the caller refuses
        return np.array(values, np.float32, order="C")


def _string(value: Any) -> str:
    """Return a string, which Python 2 pickled as bytes. Other objects become "?": even calling `str` on them could be unsafe."""
    return value.decode("latin-1") if isinstance(value, bytes) else value if isinstance(value, str) else "?"
