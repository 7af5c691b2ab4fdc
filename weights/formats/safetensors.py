"""Our model file: a .safetensors file with the arrays by name, and everything else as metadata in its header.

    format      "boxwright"
    version     "1"; "2" if dtype is "int8"; "3" if the file has a memory. Older versions of Boxwright refuse the later ones
    name        the model's name
    dtype       type of the kernels: "float32" or "float16"; batch norms and biases are always float32. "int8": kernels of quantized
                layers are integers, NAME/kernel times NAME/step (float32, one per filter); the other kernels are float16
    spec        the ModelSpec as JSON (see `spec_json`)
    quantization  only if dtype is "int8": the Quantization as JSON
    memory      only in version 3: sha256 of the memory's entries, see `memory_entries`
    provenance  JSON object of strings
    arrays      sha256 of the arrays: name, zero byte, bytes, in the order of the layers
    sha256      of the metadata above, as JSON with sorted keys

In memory all arrays are float32. Saving the same model twice gives the same bytes.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from detector.errors import ArraysError, ModelError, ModelFileError
from detector.network.quantization import Quantization, quantize_kernel
from detector.network.shapes import array_shapes
from detector.network.spec import Model, ModelSpec
from weights.atomic_files import atomic_write
from weights.formats.bounded_io import open_regular_file
from weights.formats.cost import check_cost
from weights.formats.memory_entries import (
    MemoryEntries,
    check_memory_entries,
    is_memory_entry,
    memory_arrays,
    memory_checksum,
    read_memory_entries,
)
from weights.formats.other_formats import describe_other_format
from weights.formats.safetensors_header import TYPE_CODES, arrays_digest, header_bytes
from weights.formats.spec_json import parse_strict_json, quantization_from_json, quantization_to_json, spec_from_json, spec_to_json

DType = Literal["float32", "float16", "int8"]

FORMAT_NAME = "boxwright"
VERSIONS = {"float32": "1", "float16": "1", "int8": "2"}
"""Version by dtype of a file without a memory. A file has the lowest version that can describe it, for older readers."""
MEMORY_VERSION = "3"
MAX_HEADER_BYTES = 2**22
"""Reading a header of this size holds the GIL for about half a second. A header with 100,000 labels has half of this size."""

_KEYS = {"format", "version", "name", "dtype", "spec", "provenance", "arrays", "sha256"}


class ModelHeader(NamedTuple):
    """The content of a model file apart from its arrays."""

    spec: ModelSpec
    provenance: dict[str, str]
    name: str
    dtype: DType  # of the kernels
    quantization: Quantization | None = None
    memory: str | None = None  # SHA-256 of the memory's entries; None without a memory


def save_model(model: Model, path: Path, *, dtype: DType | None = None, memory: MemoryEntries | None = None) -> None:
    """Write a model file atomically.

    Args:
        model: The model.
        path: The file to write or replace.
        dtype: Type of the kernels. A quantized model requires int8, which is its default; other models default to float32. float16
            halves the file and rounds the kernels to 11 bits.
        memory: The entries of the memory, if the file gets one.

    Raises:
        ArraysError: A number is not finite in that type. The message names the array.
        ModelFileError: The name, spec or provenance cannot be read back from JSON, the dtype does not suit the model, or the memory is
            too large.
        OSError: The file cannot be written.
    """
    dtype = dtype or ("int8" if model.quantization else "float32")
    if (dtype == "int8") != (model.quantization is not None):
        raise ModelFileError(
            f"{path}: int8 requires a quantized model, and a quantized model requires int8; {model.name!r} cannot be stored as {dtype}."
        )
    checksum = memory_checksum(memory) if memory else None
    header = ModelHeader(model.spec, dict(model.provenance), model.name, dtype, model.quantization, checksum)
    arrays = _stored_arrays(model, header)
    metadata = _metadata(header, arrays_digest(arrays))
    arrays |= memory_arrays(memory) if memory else {}
    if _parse(metadata) != header:
        raise ModelFileError(f"{path}: the spec or the provenance of {model.name!r} contains a value that JSON does not preserve.")
    ordered_arrays = dict(sorted(arrays.items(), key=lambda item: -item[1].itemsize))  # float32 first, so that every array is aligned
    with atomic_write(path) as file:
        file.write(header_bytes(metadata, ordered_arrays))
        for array in ordered_arrays.values():
            file.write(array.data)


def load_model(path: Path, *, display_path: Path | None = None) -> Model:
    """Load and verify a model file, except for its memory, which is not read.

    Args:
        path: A file written by `save_model`.
        display_path: The path for error messages, if `path` is a temporary copy.

    Returns:
        The model.

    Raises:
        ModelFileError: The file is damaged or in another format. The message explains what to do.
    """
    with _opened(path, display_path or path) as (header, digest, file):
        stored = {name: file.get_tensor(name) for name in _layout(header)}
        if arrays_digest(stored) != digest:
            raise ModelFileError(f"damaged: the arrays do not match their checksum. {_TRY_AGAIN}")
        arrays = {name: _to_float32(name, stored) for name in array_shapes(header.spec.network)}
        return Model(header.name, header.spec, arrays, header.provenance, header.quantization)


def read_header(path: Path, *, display_path: Path | None = None) -> ModelHeader:
    """Read and check everything except the arrays. Raises ModelFileError as `load_model` does, except for damaged arrays."""
    with _opened(path, display_path or path) as (header, _, _):
        return header


def load_memory(path: Path) -> dict[str, bytes] | None:
    """Read and verify the entries of a model file's memory. None: the file has no memory.

    Raises ModelFileError if the file is damaged or in another format.
    """
    with _opened(path, path) as (header, _, file):
        return read_memory_entries(file, header.memory) if header.memory else None


def content_checksum(path: Path) -> str:
    """Return the recorded checksum of the whole content, without verifying the content. Raises ModelFileError as `read_header` does."""
    with _opened(path, path) as (_, _, file):
        return str(file.metadata()["sha256"])


def arrays_checksum(path: Path) -> str:
    """Return the recorded checksum of the arrays alone, without spec and provenance. Raises as `content_checksum` does."""
    with _opened(path, path) as (_, digest, _):
        return digest


@contextmanager
def _opened(path: Path, display_path: Path) -> Iterator[tuple[ModelHeader, str, Any]]:
    """Yield the checked header, the recorded digest of the arrays, and the open file. Errors within the block name the file too."""
    with open_regular_file(path) as (plain, size):
        start = plain.read(8)
        try:
            _check_start(start, size)
            with safe_open(path, framework="np") as file:  # checks that the entries fit each other and the file's size
                metadata = file.metadata() or {}
                _check_metadata(metadata)
                header = _parse(metadata)
                names = file.keys()
                _check_entries(header, {name: file.get_slice(name) for name in names})
                yield header, metadata["arrays"], file
        except SafetensorError as error:
            raise ModelFileError(f"{display_path}: {_DAMAGED} ({error}). {_TRY_AGAIN}") from error
        except ModelError as error:
            raise ModelFileError(f"{display_path}: {error}") from error


def _check_start(start: bytes, size: int) -> None:
    """Check the header's length before memory is allocated for it."""
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > min(MAX_HEADER_BYTES, size - 8):
        if other := describe_other_format(start):
            raise ModelFileError(other)
        raise ModelFileError(f"{_DAMAGED}: the first 8 of its {size} bytes are not the length of a header. {_TRY_AGAIN}")


def _check_metadata(metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != FORMAT_NAME:
        raise ModelFileError(
            f"a .safetensors file of another program: its metadata lacks format={FORMAT_NAME}. Use a model file written by Boxwright."
        )
    version = metadata.get("version", "")
    if version not in (*VERSIONS.values(), MEMORY_VERSION):
        raise ModelFileError(
            f"its format version is {version[:20]!r}, but this Boxwright reads versions 1 to 3. Install the latest Boxwright."
        )
    with_quantization = version == VERSIONS["int8"] or (version == MEMORY_VERSION and metadata.get("dtype") == "int8")
    keys = _KEYS | ({"memory"} if version == MEMORY_VERSION else set()) | ({"quantization"} if with_quantization else set())
    if metadata.keys() != keys or _metadata_digest(metadata) != metadata["sha256"]:
        raise ModelFileError(f"damaged, or changed since it was saved: its header does not match its checksum. {_TRY_AGAIN}")


def _check_entries(header: ModelHeader, entries: Mapping[str, Any]) -> None:
    """Compare the type and shape of every array in the file with what the network needs."""
    found = {name: (entry.get_dtype(), tuple(entry.get_shape())) for name, entry in entries.items()}
    if header.memory:
        check_memory_entries(found)
        found = {name: entry for name, entry in found.items() if not is_memory_entry(name)}
    needed = {name: (TYPE_CODES[dtype], shape) for name, (dtype, shape) in _layout(header).items()}
    for name in sorted(needed.keys() | found.keys()):
        if found.get(name) != needed.get(name):
            raise ModelFileError(
                f"array {name!r} is {found.get(name) or 'missing'}, but the network needs {needed.get(name) or 'no such array'}."
            )


def _layout(header: ModelHeader) -> dict[str, tuple[DType, tuple[int, ...]]]:
    """Return the type and shape of each array in the file, in the order of the layers."""
    steps = {f"{name}/kernel" for name in header.quantization.layers} if header.quantization else set()
    layout: dict[str, tuple[DType, tuple[int, ...]]] = {}
    for name, shape in array_shapes(header.spec.network).items():
        if name in steps:
            layout[name] = ("int8", shape)
            layout[_step_name(name)] = ("float32", shape[-1:])
        elif name.endswith("/kernel"):
            layout[name] = ("float32" if header.dtype == "float32" else "float16", shape)
        else:
            layout[name] = ("float32", shape)
    return layout


def _step_name(kernel: str) -> str:
    return kernel.removesuffix("kernel") + "step"


def _parse(metadata: Mapping[str, str]) -> ModelHeader:
    dtype, provenance = metadata["dtype"], parse_strict_json(metadata["provenance"], "provenance")
    if metadata["version"] not in (VERSIONS.get(dtype), MEMORY_VERSION if dtype in VERSIONS else None):
        known = [name for name in get_args(DType) if metadata["version"] in (VERSIONS[name], MEMORY_VERSION)]
        raise ModelFileError(f"dtype must be one of {', '.join(known)}, got {dtype[:20]!r}.")
    if not isinstance(provenance, dict) or not all(isinstance(value, str) for value in provenance.values()):
        raise ModelFileError("provenance must be an object of strings.")
    spec = spec_from_json(metadata["spec"])
    check_cost(spec)
    quantization = quantization_from_json(metadata["quantization"]) if dtype == "int8" else None
    if quantization is not None:
        quantization.check(spec.network)
    return ModelHeader(spec, provenance, metadata["name"], cast(DType, dtype), quantization, metadata.get("memory"))


def _metadata(header: ModelHeader, arrays: str) -> dict[str, str]:
    version = MEMORY_VERSION if header.memory else VERSIONS[header.dtype]
    metadata = {"format": FORMAT_NAME, "version": version, "name": header.name, "dtype": header.dtype}
    metadata |= {"spec": spec_to_json(header.spec), "provenance": json.dumps(header.provenance), "arrays": arrays}
    if header.quantization is not None:
        metadata["quantization"] = quantization_to_json(header.quantization)
    if header.memory:
        metadata["memory"] = header.memory
    return metadata | {"sha256": _metadata_digest(metadata)}


def _metadata_digest(metadata: Mapping[str, str]) -> str:
    others = {key: value for key, value in metadata.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode("ascii")).hexdigest()


def _stored_arrays(model: Model, header: ModelHeader) -> dict[str, NDArray[np.generic]]:
    """Return the arrays in the types of the file."""
    stored: dict[str, NDArray[np.generic]] = {}
    for name, (kind, _) in _layout(header).items():
        if name in stored:
            continue
        array = model.arrays[name]
        with np.errstate(over="ignore"):  # the check for finite numbers below reports it
            rounded = np.ascontiguousarray(array, np.float32 if kind == "int8" else kind)
        if not np.isfinite(rounded).all():
            raise ArraysError(
                f"array {name!r} contains NaN, infinity or a number too large for {kind}, so the model cannot detect anything."
            )
        stored[name] = rounded
        if kind == "int8":
            stored[name], stored[_step_name(name)] = quantize_kernel(rounded, -1)
    return stored


def _to_float32(name: str, stored: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    step = stored.get(_step_name(name)) if name.endswith("/kernel") else None
    array: NDArray[np.float32] = stored[name].astype(np.float32, copy=False)
    return array if step is None else array * step


_DAMAGED = "damaged, truncated, or not a .safetensors file"
_TRY_AGAIN = "Download or save it again."
