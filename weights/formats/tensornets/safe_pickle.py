"""The pickle in which numpy stores an array of objects, read without running anything that it asks for.

A pickle is a program. Here every instruction is compared first with those that numpy writes (protocols 2 to 4, Python 2 included); then
an unpickler that knows a few names notes which of them the pickle calls, with what, instead of calling them; and what it has noted is
made into arrays of floats, or refused.
"""

import io
import pickle
import pickletools
from math import prod
from typing import Any, NamedTuple

import numpy as np

from detector.errors import ModelFileError
from detector.shapes import Array

MAX_ELEMENTS = 4096
MAX_INSTRUCTIONS = 100 * MAX_ELEMENTS
"""Numpy needs about 30 for an array."""
MAX_DIMENSIONS = 4
MAX_BYTES = 2**29
"""Of all arrays together, in float32: twice the largest detector of tensornets' (YOLOv2 for COCO, 204 MB)."""

HARM = "The file may be made to do harm: open it with nothing else, delete it."


def read_arrays(pickled: bytes, count: int) -> list[Array]:
    """The arrays in a pickled object array of `count` elements, in float32. Raises ModelFileError for anything else."""
    parts = [_parts(element) for element in _elements(pickled, count)]
    total = 4 * sum(prod(part.shape) for part in parts)
    if total > MAX_BYTES:  # one content may be named many times
        raise ModelFileError(f"its pickle makes arrays of {total} bytes; allowed are {MAX_BYTES}. {HARM}")
    return [_floats(part) for part in parts]


_PUTS = {"BINPUT", "LONG_BINPUT"}
_MEMO = {"MEMOIZE", "BINGET", "LONG_BINGET"} | _PUTS
_CALLS = {"PROTO", "FRAME", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "STOP"}
_NUMBERS = {"NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1"}
_BYTES = {"BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
_TEXTS = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_ROWS = {"MARK", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS"}
_INSTRUCTIONS = _MEMO | _CALLS | _NUMBERS | _BYTES | _TEXTS | _ROWS


def _inspect(pickled: bytes) -> None:
    """Raise ModelFileError for an instruction that numpy does not write, ValueError for a length that is not there.

    A pickle that passes takes little more memory than it has bytes: `pickle` would make room for any memo index and any length.
    """
    for count, (instruction, argument, position) in enumerate(pickletools.genops(pickled)):
        if instruction.name not in _INSTRUCTIONS or count >= MAX_INSTRUCTIONS:
            raise ModelFileError(f"instruction {count} of its pickle, {instruction.name}, is none that numpy writes. {HARM}")
        if instruction.name in _PUTS and int(argument or 0) > MAX_INSTRUCTIONS:
            raise ModelFileError(f"its pickle wants room for {argument} things. {HARM}")
        if instruction.name == "STOP" and position is not None and position + 1 != len(pickled):
            raise ModelFileError(f"{len(pickled) - position - 1} bytes are left after its pickle.")


_RECONSTRUCT, _NDARRAY, _DTYPE, _ENCODE = "numpy.core.multiarray._reconstruct", "numpy.ndarray", "numpy.dtype", "_codecs.encode"
_KNOWN = {name: name for name in (_RECONSTRUCT, _NDARRAY, _DTYPE, _ENCODE)} | {"numpy._core.multiarray._reconstruct": _RECONSTRUCT}


class _Name:
    """A function that the pickle names. To call it is to make a note."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *arguments: Any) -> "_Call":
        return _Call(self.name, arguments)


class _Call:
    """What the pickle would have had called, and the state that it would have given to the result."""

    __slots__ = ("arguments", "name", "state")

    def __init__(self, name: str, arguments: tuple[Any, ...]) -> None:
        self.name, self.arguments, self.state = name, arguments, None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> _Name:
        """Whatever numpy needs for an array, as a `_Name`; ModelFileError for everything else."""
        known = _KNOWN.get(f"{module}.{name}")
        if known is None:
            raise ModelFileError(f"its pickle names {module}.{name}; weights need numpy's arrays and nothing else. {HARM}")
        return _Name(known)


def _elements(pickled: bytes, count: int) -> list[Any]:
    try:
        _inspect(pickled)
        outer = _Unpickler(io.BytesIO(pickled), fix_imports=False, encoding="bytes").load()
    except (pickle.UnpicklingError, ValueError, TypeError, AttributeError, LookupError, EOFError, OverflowError, MemoryError) as error:
        raise ModelFileError(f"its pickle is damaged ({error}). Fetch the file again.") from error
    array = _parts(outer)
    if array.dtype != "O" or not isinstance(array.content, list) or not len(array.content) == count == prod(array.shape) <= MAX_ELEMENTS:
        raise ModelFileError(f"its pickle is not a row of {count} objects, of which there may be {MAX_ELEMENTS}.")
    return array.content


class _Parts(NamedTuple):
    """An array as its pickle has it."""

    shape: tuple[int, ...]
    dtype: str
    fortran: bool
    content: Any  # bytes, or a list where the dtype is "O"


def _parts(thing: Any) -> _Parts:
    _, shape, dtype, fortran, content = _noted(thing, _RECONSTRUCT, 5)
    kind = thing.arguments[0] if thing.arguments else None
    if not isinstance(kind, _Name) or kind.name != _NDARRAY:
        raise ModelFileError(f"its pickle holds an array of a class of its own. {HARM}")
    if (
        not isinstance(shape, tuple)
        or len(shape) > MAX_DIMENSIONS
        or not all(type(side) is int and 0 <= side <= MAX_BYTES for side in shape)
    ):
        raise ModelFileError(f"its pickle holds an array whose shape is not up to {MAX_DIMENSIONS} sides.")
    return _Parts(shape, _dtype(dtype), bool(fortran), content)


def _dtype(thing: Any) -> str:
    """ "<f4", or "O"."""
    _, order, *fields = _noted(thing, _DTYPE, 8)
    kind = _text(thing.arguments[0]) if thing.arguments else ""
    dtype = "O" if kind in ("O", "O8") else f"{_text(order)}{kind}"
    if dtype not in ("O", "<f2", "<f4", "<f8", ">f2", ">f4", ">f8") or fields[:3] != [None, None, None]:
        raise ModelFileError("its pickle holds numbers that are no floats.")
    return dtype


def _noted(thing: Any, name: str, count: int) -> tuple[Any, ...]:
    """The state, of `count` parts, that the pickle gives to what it would have had made by that function."""
    if not isinstance(thing, _Call) or thing.name != name or not isinstance(thing.state, tuple) or len(thing.state) != count:
        raise ModelFileError(f"its pickle holds something else where {name} should have made something.")
    return thing.state


def _floats(part: _Parts) -> Array:
    dtype, content = np.dtype(part.dtype), part.content
    if isinstance(content, _Call) and content.name == _ENCODE and [_text(each) for each in content.arguments[1:]] == ["latin1"]:
        content = content.arguments[0]  # how protocol 2 says bytes
    if part.dtype == "O" or not isinstance(content, str | bytes) or len(content) != prod(part.shape) * dtype.itemsize:
        raise ModelFileError(f"its pickle does not hold the {prod(part.shape)} numbers of an array of shape {part.shape}.")
    try:
        content = content.encode("latin-1") if isinstance(content, str) else content
    except UnicodeEncodeError as error:
        raise ModelFileError(f"its pickle holds bytes that are none ({error}).") from error
    values = np.frombuffer(content, dtype).reshape(part.shape, order="F" if part.fortran else "C")
    with np.errstate(over="ignore", invalid="ignore"):  # what float32 does not hold becomes infinity, and is refused as that
        return np.array(values, np.float32, order="C")


def _text(thing: Any) -> str:
    """A text. Python 2 pickled its own as bytes; of anything else, which might be endless, not even `str` is asked."""
    return thing.decode("latin-1") if isinstance(thing, bytes) else thing if isinstance(thing, str) else "?"
