"""The header of a safetensors file, and the hash of its arrays."""

import hashlib
import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

TYPE_CODES = {"float32": "F32", "float16": "F16", "int8": "I8", "uint8": "U8"}  # Names of the types in the safetensors format.


def header_bytes(metadata: Mapping[str, str], arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """Return the safetensors header: its length, then JSON with each array's offsets. Spaces pad it so that the arrays are aligned.

    The safetensors library is not used for writing, because the order of its metadata varies from call to call.
    """
    entries: dict[str, object] = {"__metadata__": metadata}
    position = 0
    for name, array in arrays.items():
        entries[name] = {"dtype": TYPE_CODES[array.dtype.name], "shape": array.shape, "data_offsets": [position, position + array.nbytes]}
        position += array.nbytes
    text = json.dumps(entries, separators=(",", ":")).encode("ascii")
    return struct.pack("<Q", len(text) + -len(text) % 8) + text + b" " * (-len(text) % 8)


def arrays_digest(arrays: Mapping[str, NDArray[Any]], start: str = "") -> str:
    """Return the SHA-256 of `start` and of the arrays: name, zero byte, content, in the order of the mapping."""
    digest = hashlib.sha256(start.encode())
    for name, array in arrays.items():
        digest.update(name.encode() + b"\0")
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
