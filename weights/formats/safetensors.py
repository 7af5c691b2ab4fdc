"""Our model file: a .safetensors file with the arrays by name, and everything else as metadata in its header.

    format      "boxwright"
    version     "1"; "2" if dtype is "int8", which earlier readers do not know
    name        the model's name
    dtype       type of the kernels: "float32" or "float16". Batch norms and biases are always float32: they are small and span many
                orders of magnitude. "int8": kernels of quantized layers are integers, NAME/kernel times NAME/step (float32, one per
                filter); the other kernels are float16
    spec        the ModelSpec as JSON (see `spec_json`)
    quantization  only in version 2: the Quantization as JSON
    provenance  JSON object of strings
    arrays      sha256 of the arrays: name, zero byte, bytes, in the order of the layers
    sha256      of the metadata above, as JSON with sorted keys

In memory all arrays are float32. Saving the same model twice gives the same bytes.
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
from detector.shapes import array_shapes, operations
from detector.spec import Model, ModelSpec
from weights.atomic_files import atomic_write
from weights.formats.bounded_io import open_regular_file
from weights.formats.other_formats import describe_other_format
from weights.formats.spec_json import parse_strict_json, quantization_from_json, quantization_to_json, spec_from_json, spec_to_json

DType = Literal["float32", "float16", "int8"]

FORMAT_NAME = "boxwright"
VERSIONS = {"float32": "1", "float16": "1", "int8": "2"}
"""Version by dtype. Only files that earlier readers cannot read have the later version."""
MAX_HEADER_BYTES = 2**24
MAX_OPERATIONS = 10**12
"""Limit for the operations per image, 16 times those of YOLOv2 at 608 pixels. A larger model would block a service for minutes."""

_KEYS = {"format", "version", "name", "dtype", "spec", "provenance", "arrays", "sha256"}
_CODES = {"float32": "F32", "float16": "F16", "int8": "I8"}  # type names in the safetensors format


class ModelHeader(NamedTuple):
    """The content of a model file apart from its arrays."""

    spec: ModelSpec
    provenance: dict[str, str]
    name: str
    dtype: DType  # of the kernels
    quantization: Quantization | None = None


def save_model(model: Model, path: Path, *, dtype: DType | None = None) -> None:
    """Write a model file atomically.

    Args:
        model: The model.
        path: The file to write or replace.
        dtype: Type of the kernels. A quantized model requires int8, which is its default; other models default to float32. float16
            halves the file and rounds the kernels to 11 bits.

    Raises:
        ArraysError: A number is not finite in that type. The message names the array.
        ModelFileError: The name, spec or provenance cannot be read back from JSON, or the dtype does not suit the model.
        OSError: The file cannot be written.
    """
    dtype = dtype or ("int8" if model.quantization else "float32")
    if (dtype == "int8") != (model.quantization is not None):
        raise ModelFileError(
            f"{path}: int8 requires a quantized model, and a quantized model requires int8; {model.name!r} cannot be stored as {dtype}."
        )
    header = ModelHeader(model.spec, dict(model.provenance), model.name, dtype, model.quantization)
    arrays = _stored_arrays(model, header)
    metadata = _metadata(header, _digest(arrays))
    if _parse(metadata) != header:
        raise ModelFileError(f"{path}: the spec or the provenance of {model.name!r} contains a value that JSON does not preserve.")
    ordered_arrays = dict(sorted(arrays.items(), key=lambda item: -item[1].itemsize))  # float32 first, so that every array is aligned
    with atomic_write(path) as file:
        file.write(_header_bytes(metadata, ordered_arrays))
        for array in ordered_arrays.values():
            file.write(array.data)


def load_model(path: Path, *, display_path: Path | None = None) -> Model:
    """Load and verify a model file.

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
        if _digest(stored) != digest:
            raise ModelFileError(f"damaged: the arrays do not match their checksum. {_TRY_AGAIN}")
        arrays = {name: _to_float32(name, stored) for name in array_shapes(header.spec.network)}
        return Model(header.name, header.spec, arrays, header.provenance, header.quantization)


def read_header(path: Path, *, display_path: Path | None = None) -> ModelHeader:
    """Read and check everything except the arrays. Raises ModelFileError as `load_model` does, except for damaged arrays."""
    with _opened(path, display_path or path) as (header, _, _):
        return header


def content_checksum(path: Path) -> str:
    """Return the checksum of the whole content that the header records. Raises ModelFileError as `read_header` does.

    Only `load_model` verifies that the arrays match it.
    """
    with _opened(path, path) as (_, _, file):
        return str(file.metadata()["sha256"])


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
            f"a .safetensors file of another program: its metadata lack format={FORMAT_NAME}. Use a model file written by Boxwright."
        )
    version = metadata.get("version", "")
    if version not in VERSIONS.values():
        raise ModelFileError(
            f"its format version is {version[:20]!r}, but this Boxwright reads versions 1 and 2. Install the latest Boxwright."
        )
    keys = _KEYS | ({"quantization"} if version == VERSIONS["int8"] else set())
    if metadata.keys() != keys or _metadata_digest(metadata) != metadata["sha256"]:
        raise ModelFileError(f"damaged, or changed since it was saved: its header does not match its checksum. {_TRY_AGAIN}")


def _check_entries(header: ModelHeader, entries: Mapping[str, Any]) -> None:
    """Compare the type and shape of every array in the file with what the network needs."""
    found = {name: (entry.get_dtype(), tuple(entry.get_shape())) for name, entry in entries.items()}
    needed = {name: (_CODES[dtype], shape) for name, (dtype, shape) in _layout(header).items()}
    for name in sorted(needed.keys() | found.keys()):
        if found.get(name) != needed.get(name):
            raise ModelFileError(
                f"array {name!r} is {found.get(name) or 'missing'}, but the network needs {needed.get(name) or 'no such array'}."
            )


def _layout(header: ModelHeader) -> dict[str, tuple[DType, tuple[int, ...]]]:
    """Type and shape of each array in the file, in the order of the layers."""
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
    if VERSIONS.get(dtype) != metadata["version"]:
        known = [name for name in get_args(DType) if VERSIONS[name] == metadata["version"]]
        raise ModelFileError(f"dtype must be one of {', '.join(known)}, got {dtype[:20]!r}.")
    if not isinstance(provenance, dict) or not all(isinstance(value, str) for value in provenance.values()):
        raise ModelFileError("provenance must be an object of strings.")
    spec = spec_from_json(metadata["spec"])
    if (needed := operations(spec.network, spec.input_size)) > MAX_OPERATIONS:
        raise ModelFileError(f"the network needs {needed:,} operations per image; the limit is {MAX_OPERATIONS:,}. Reduce its input size.")
    quantization = quantization_from_json(metadata["quantization"]) if dtype == "int8" else None
    if quantization is not None:
        quantization.check(spec.network)
    return ModelHeader(spec, provenance, metadata["name"], cast(DType, dtype), quantization)


def _metadata(header: ModelHeader, arrays: str) -> dict[str, str]:
    metadata = {"format": FORMAT_NAME, "version": VERSIONS[header.dtype], "name": header.name, "dtype": header.dtype}
    metadata |= {"spec": spec_to_json(header.spec), "provenance": json.dumps(header.provenance), "arrays": arrays}
    if header.quantization is not None:
        metadata["quantization"] = quantization_to_json(header.quantization)
    return metadata | {"sha256": _metadata_digest(metadata)}


def _metadata_digest(metadata: Mapping[str, str]) -> str:
    others = {key: value for key, value in metadata.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode("ascii")).hexdigest()


def _stored_arrays(model: Model, header: ModelHeader) -> dict[str, NDArray[np.generic]]:
    """The arrays in the types of the file."""
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


def _digest(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(name.encode() + b"\0")
        digest.update(array.data)
    return digest.hexdigest()


def _header_bytes(metadata: Mapping[str, str], arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """The safetensors header: its length, then JSON with each array's offsets, padded with spaces so that the arrays are aligned.

    The safetensors library is not used for writing, because the order of its metadata varies from call to call.
    """
    entries: dict[str, object] = {"__metadata__": metadata}
    position = 0
    for name, array in arrays.items():
        entries[name] = {"dtype": _CODES[array.dtype.name], "shape": array.shape, "data_offsets": [position, position + array.nbytes]}
        position += array.nbytes
    text = json.dumps(entries, separators=(",", ":")).encode("ascii")
    return struct.pack("<Q", len(text) + -len(text) % 8) + text + b" " * (-len(text) % 8)


_DAMAGED = "damaged, truncated, or not a .safetensors file"
_TRY_AGAIN = "Download or save it again."
_AP_KEYS = ("ap50_after", "ap50")  # written by `boxwright quantize`, for the 8-bit model, and by `boxwright finetune`


def recorded_ap(provenance: Mapping[str, str]) -> str | None:
    """Return the average precision that a model's provenance records, with its data set, if any: "0.8043 on 301 images (animals, val)"."""
    return next((provenance[key] for key in _AP_KEYS if key in provenance), None)
