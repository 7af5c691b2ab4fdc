"""Transform coding of a layer's output: principal components of the channels, rounded to 8 bits and compressed.

All components are rounded with the same step, as usual in transform coding. Components with little variance become zeros, which need almost
no space. A component with a range of more than 8 bits has a larger step.
"""

import lzma
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.network.shapes import Array

Codes = NDArray[np.int8]  # (K, side, side): the rounded components of one image.
LEVELS = 127
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 2**18, "lc": 0, "lp": 0, "pb": 0}]


@dataclass(frozen=True, eq=False)
class Basis:
    """Principal components of the channels of one layer."""

    mean: Array  # (C,)
    components: Array  # (K, C) orthonormal rows, largest variance first
    steps: Array  # (K,) rounding step of each component

    @classmethod
    def fit(cls, features: Array, *, step: float) -> "Basis":
        """Return the components of features (N, C) whose values do not all round to 0; at least one.

        Args:
            features: Values of all cells of some images.
            step: Rounding step, relative to the standard deviation of the channels (root mean square).
        """
        values = features.astype(np.float64)
        mean = values.mean(axis=0)
        variances, vectors = np.linalg.eigh(np.cov(values, rowvar=False).reshape(len(mean), -1))
        order = np.argsort(-variances, kind="stable")
        signs = np.where(vectors.T[order].sum(axis=1, keepdims=True) < 0, -1, 1)  # the sign of an eigenvector is arbitrary
        components = vectors.T[order] * signs
        absolute_step = step * np.sqrt(max(variances.mean(), 1e-12))
        largest = np.abs((values - mean) @ components.T).max(axis=0)
        used = max(1, int((largest > absolute_step / 2).sum()))
        steps = np.maximum(absolute_step, largest[:used] / LEVELS)
        return cls(_half(mean), _half(components[:used]), steps.astype(np.float32))

    @property
    def channels(self) -> int:
        """Channels of the layer."""
        return len(self.mean)

    def encode(self, features: Array) -> Codes:
        """(side, side, C) -> codes (K, side, side). Values beyond the range are clipped."""
        rounded = np.rint((features - self.mean) @ self.components.T / self.steps)
        return np.ascontiguousarray(np.clip(rounded, -LEVELS, LEVELS).astype(np.int8).transpose(2, 0, 1))

    def decode(self, codes: NDArray[np.int8]) -> Array:
        """Codes (N, K, side, side) -> features (N, side, side, C), approximately the encoded ones."""
        values: Array = codes.transpose(0, 2, 3, 1).astype(np.float32) * self.steps
        return values @ self.components + self.mean


def _half(array: NDArray[np.float64]) -> Array:
    """Round to the precision of the model file."""
    return array.astype(np.float16).astype(np.float32)


def compress(data: bytes) -> bytes:
    """Compress the codes of one image."""
    return lzma.compress(data, lzma.FORMAT_RAW, filters=_FILTERS)


def decompress(data: bytes, size: int) -> bytes:
    """Return exactly `size` bytes. Raises ValueError if the data has another size or is invalid. At most `size` bytes are allocated."""
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS)
    try:
        content = decompressor.decompress(data, max_length=size)
        surplus = b"" if decompressor.eof else decompressor.decompress(b"", max_length=1)
    except (lzma.LZMAError, EOFError) as error:
        raise ValueError(f"the compressed features are invalid: {error}") from error
    if len(content) != size or surplus or not decompressor.eof or decompressor.unused_data:
        raise ValueError(f"the compressed features do not have {size} bytes")
    return content
