"""Our model file: one .safetensors with the arrays by name and, in its header's metadata, all that the arrays do not say.

    format      "boxwright"
    version     "1"; "2" where dtype is "int8", which the first readers do not know
    name        the model's name
    dtype       "float32", or "float16" for kernels; batch norms and biases are float32 always: they are small and span many magnitudes.
                "int8": kernels of quantised layers are whole steps, NAME/kernel times NAME/step (float32, one a filter); others float16
    spec        the ModelSpec as JSON (see `layer_json`)
    quantization  version 2 only: the Quantization as JSON
    provenance  JSON object of text
    arrays      sha256 of the arrays: name, zero byte, bytes, in the order of the layers
    sha256      of the metadata above, as JSON with sorted keys

In memory the arrays are float32. The same model is always the same bytes.
"""

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from detector.errors import ArraysError, ModelError, ModelFileError
from detector.quantization import Quantization, quantize_kernel
from detector.shapes import array_shapes
from detector.spec import Model, ModelSpec
from weights.atomic_files import atomic_write
from weights.formats.bounded_io import opened
from weights.formats.spec_json import from_json, quantization_from_json, quantization_to_json, spec_from_json, spec_to_json

DType = Literal["float32", "float16", "int8"]

FORMAT = "boxwright"
VERSIONS = {"float32": "1", "float16": "1", "int8": "2"}
"""Each dtype's, so that a reader is told of a later version only where it could not read the file."""
MAX_HEADER_BYTES = 2**24

_KEYS = {"format", "version", "name", "dtype", "spec", "provenance", "arrays", "sha256"}
_CODES = {"float32": "F32", "float16": "F16", "int8": "I8"}  # safetensors' own names
_OTHERS = {
    b"PK\x03\x04": "a zip archive (.npz, .keras)",
    b"\x89HDF": "an HDF5 file (.h5)",
    b"\x80": "a pickle (.pt, .pkl)",
    b"<": "a web page",
}


class ModelHeader(NamedTuple):
    """What a model file says apart from its arrays."""

    spec: ModelSpec
    provenance: dict[str, str]
    name: str
    dtype: DType  # of the kernels
    quantization: Quantization | None = None


def save_model(model: Model, path: Path, *, dtype: DType | None = None) -> None:
    """Writes the model; the file appears when it is whole. float16 halves it, and rounds the kernels to 11 bits.

    dtype: int8 for a quantised model, which can be nothing else, and float32 for others if not given.
    Raises ArraysError, naming the array, for numbers that are not finite in that type; ModelFileError for a name, spec or provenance
    that could not be read back; OSError where the disk refuses.
    """
    dtype = dtype or ("int8" if model.quantization else "float32")
    if (dtype == "int8") != (model.quantization is not None):
        raise ModelFileError(f"{path}: int8 is for quantised models and they are for it; {model.name!r} cannot be stored as {dtype}.")
    header = ModelHeader(model.spec, dict(model.provenance), model.name, dtype, model.quantization)
    arrays = _stored_arrays(model, header)
    metadata = _metadata(header, _digest(arrays))
    if _parse(metadata) != header:
        raise ModelFileError(f"{path}: the spec or the provenance of {model.name!r} holds what JSON does not bring back.")
    in_file = dict(sorted(arrays.items(), key=lambda item: -item[1].itemsize))  # float32 first: then every array is aligned
    with atomic_write(path) as file:
        file.write(_header_bytes(metadata, in_file))
        for array in in_file.values():
            file.write(array.data)


def load_model(path: Path, *, called: Path | None = None) -> Model:
    """The model in a file that `save_model` wrote. Raises ModelFileError, saying what to do, for any other.

    called: what the file is called in messages, where `path` is a copy of it.
    """
    with _opened(path, called or path) as (header, digest, file):
        stored = {name: file.get_tensor(name) for name in _layout(header)}
        if _digest(stored) != digest:
            raise ModelFileError(f"damaged: its arrays are not those that were saved. {_AGAIN}")
        arrays = {name: _restored(name, stored) for name in array_shapes(header.spec.network)}
        return Model(header.name, header.spec, arrays, header.provenance, header.quantization)


def read_header(path: Path, *, called: Path | None = None) -> ModelHeader:
    """Spec, provenance, name and dtype, without reading the arrays: raises as `load_model` does, except for damage in them."""
    with _opened(path, called or path) as (header, _, _):
        return header


def content_of(path: Path) -> str:
    """The checksum of all that the file says, arrays included, as its header has it: raises as `read_header` does.

    Whether the arrays are those that were saved, only `load_model` sees.
    """
    with _opened(path, path) as (_, _, file):
        return str(file.metadata()["sha256"])


@contextmanager
def _opened(path: Path, called: Path) -> Iterator[tuple[ModelHeader, str, Any]]:
    """The checked header, the digest of the arrays, and the file for reading them. Names the file in what goes wrong, then or later."""
    with opened(path) as (plain, size):
        start = plain.read(8)
        try:
            _check_start(start, size)
            with safe_open(path, framework="np") as file:  # checks its entries against one another and the file's size
                metadata = file.metadata() or {}
                _check_metadata(metadata)
                header = _parse(metadata)
                names = file.keys()
                _check_entries(header, {name: file.get_slice(name) for name in names})
                yield header, metadata["arrays"], file
        except SafetensorError as error:
            raise ModelFileError(f"{called}: {_guess(start)} ({error}). {_AGAIN}") from error
        except ModelError as error:
            raise ModelFileError(f"{called}: {error}") from error


def _check_start(start: bytes, size: int) -> None:
    """The header's length, before anybody takes memory for it."""
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > min(MAX_HEADER_BYTES, size - 8):
        raise ModelFileError(f"{_guess(start)}: of {size} bytes, the first 8 do not say how long its header is. {_AGAIN}")


def _guess(start: bytes) -> str:
    other = next((what for first, what in _OTHERS.items() if start.startswith(first)), None)
    return f"looks like {other}, not like a model file" if other else "damaged, cut short, or not a .safetensors file"


def _check_metadata(metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise ModelFileError(f"a .safetensors file of another program: its metadata do not say format={FORMAT}. Give one of Boxwright's.")
    version = metadata.get("version", "")
    if version not in VERSIONS.values():
        raise ModelFileError(
            f"its format has version {version[:20]!r}, this Boxwright reads versions 1 and 2. Install the latest Boxwright."
        )
    keys = _KEYS | ({"quantization"} if version == VERSIONS["int8"] else set())
    if metadata.keys() != keys or _metadata_digest(metadata) != metadata["sha256"]:
        raise ModelFileError(f"damaged, or changed since it was saved: its header does not match its checksum. {_AGAIN}")


def _check_entries(header: ModelHeader, entries: Mapping[str, Any]) -> None:
    """`entries`: safetensors' views of the arrays, which know type and shape."""
    found = {name: (entry.get_dtype(), tuple(entry.get_shape())) for name, entry in entries.items()}
    needed = {name: (_CODES[dtype], shape) for name, (dtype, shape) in _layout(header).items()}
    for name in sorted(needed.keys() | found.keys()):
        if found.get(name) != needed.get(name):
            raise ModelFileError(
                f"array {name!r} is {found.get(name) or 'missing'}, its network needs {needed.get(name) or 'no such array'}."
            )


def _layout(header: ModelHeader) -> dict[str, tuple[DType, tuple[int, ...]]]:
    """Type and shape of each array of the file, in the order of the layers."""
    steps = {f"{name}/kernel" for name in header.quantization.layers} if header.quantization else set()
    layout: dict[str, tuple[DType, tuple[int, ...]]] = {}
    for name, shape in array_shapes(header.spec.network).items():
        if name in steps:
            layout[name] = ("int8", shape)
            layout[_step_of(name)] = ("float32", shape[-1:])
        elif name.endswith("/kernel"):
            layout[name] = ("float32" if header.dtype == "float32" else "float16", shape)
        else:
            layout[name] = ("float32", shape)
    return layout


def _step_of(kernel: str) -> str:
    return kernel.removesuffix("kernel") + "step"


def _parse(metadata: Mapping[str, str]) -> ModelHeader:
    dtype, provenance = metadata["dtype"], from_json(metadata["provenance"], "provenance")
    if VERSIONS.get(dtype) != metadata["version"]:
        known = [name for name in get_args(DType) if VERSIONS[name] == metadata["version"]]
        raise ModelFileError(f"dtype must be one of {', '.join(known)}, got {dtype[:20]!r}.")
    if not isinstance(provenance, dict) or not all(isinstance(value, str) for value in provenance.values()):
        raise ModelFileError("provenance must be an object of text.")
    spec = spec_from_json(metadata["spec"])
    quantization = quantization_from_json(metadata["quantization"]) if dtype == "int8" else None
    if quantization is not None:
        quantization.check(spec.network)
    return ModelHeader(spec, provenance, metadata["name"], cast(DType, dtype), quantization)


def _metadata(header: ModelHeader, arrays: str) -> dict[str, str]:
    metadata = {"format": FORMAT, "version": VERSIONS[header.dtype], "name": header.name, "dtype": header.dtype}
    metadata |= {"spec": spec_to_json(header.spec), "provenance": json.dumps(header.provenance), "arrays": arrays}
    if header.quantization is not None:
        metadata["quantization"] = quantization_to_json(header.quantization)
    return metadata | {"sha256": _metadata_digest(metadata)}


def _metadata_digest(metadata: Mapping[str, str]) -> str:
    others = {key: value for key, value in metadata.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode("ascii")).hexdigest()


def _stored_arrays(model: Model, header: ModelHeader) -> dict[str, NDArray[np.generic]]:
    """The arrays as the file has them."""
    stored: dict[str, NDArray[np.generic]] = {}
    for name, (kind, _) in _layout(header).items():
        if name in stored:
            continue
        array = model.arrays[name]
        with np.errstate(over="ignore"):  # seen below
            rounded = np.ascontiguousarray(array, np.float32 if kind == "int8" else kind)
        if not np.isfinite(rounded).all():
            raise ArraysError(f"array {name!r} holds NaN, infinity or a number too large for {kind}; nothing could be detected with it.")
        stored[name] = rounded
        if kind == "int8":
            stored[name], stored[_step_of(name)] = quantize_kernel(rounded, -1)
    return stored


def _restored(name: str, stored: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    step = stored.get(_step_of(name)) if name.endswith("/kernel") else None
    array: NDArray[np.float32] = stored[name].astype(np.float32, copy=False)
    return array if step is None else array * step


def _digest(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(name.encode() + b"\0")
        digest.update(array.data)
    return digest.hexdigest()


def _header_bytes(metadata: Mapping[str, str], arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """Safetensors' header: its length, then JSON with each array's place, padded with blanks so that the arrays are aligned.

    Written here because the library puts the metadata in another order each time.
    """
    entries: dict[str, object] = {"__metadata__": metadata}
    position = 0
    for name, array in arrays.items():
        entries[name] = {"dtype": _CODES[array.dtype.name], "shape": array.shape, "data_offsets": [position, position + array.nbytes]}
        position += array.nbytes
    text = json.dumps(entries, separators=(",", ":")).encode("ascii")
    return struct.pack("<Q", len(text) + -len(text) % 8) + text + b" " * (-len(text) % 8)


_AGAIN = "Download it or save it again."
