"""Split a model file into its header and data, and write a changed one."""

import hashlib
import json
import struct

import numpy as np


def models_equal(first, second):
    """Return whether two models have the same facts and arrays."""
    equal = (first.name, first.spec, dict(first.provenance)) == (second.name, second.spec, dict(second.provenance))
    return (
        equal
        and first.arrays.keys() == second.arrays.keys()
        and all(np.array_equal(first.arrays[key], second.arrays[key]) for key in first.arrays)
    )


def split_file(path):
    """Return the header and the bytes of the arrays, according to the safetensors format."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write_file(path, header, arrays, *, sign=True):
    """Write a file with another header and, if `sign`, with matching checksums, as a later or hostile program could."""
    metadata = header["__metadata__"]
    if sign:
        metadata.pop("sha256", None)
        metadata["sha256"] = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode()).hexdigest()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + arrays)
