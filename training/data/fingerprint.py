"""Digests that show whether data or weights have changed."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.voc_reader import Sample


def data_fingerprint(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the number of images and boxes, and a SHA-256 of names, image file sizes, boxes and labels. Raises OSError."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.name}\0{sample.image_path.stat().st_size}\0{sample.labels}\0".encode())
        digest.update(sample.boxes.tobytes() + sample.difficult.tobytes())
        if sample.labelled is not None or sample.crowd.any():  # otherwise the digest equals that of earlier versions
            digest.update(f"{sample.labelled and sorted(sample.labelled)}".encode() + sample.crowd.tobytes())
    return {"photos": len(samples), "boxes": sum(len(sample.boxes) for sample in samples), "sha256": digest.hexdigest()}


def arrays_digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return a SHA-256 of names and values."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}\0".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
