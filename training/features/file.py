"""Rows of numbers on disk, memory-mapped: a NumPy .npy of one record per row, and behind it a sha256.

The sha256 is of the key (what the rows were made from, see `feature_cache`), the header and the rows. A file appears when it is whole;
one that is not to the bit what was written under that key is refused.
"""

import hashlib
import io
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import FeatureFileError, TrainingError
from weights.atomic_files import atomic_write
from weights.hub import cache

SUFFIX = ".features"
ABANDONED = 3600
"""Seconds after which a file that was being written and has not grown is one whose writer was killed."""
_READ = 2**22  # bytes at once


def features_folder() -> Path:
    """Where kept features lie: `features` in BOXWRIGHT_HOME, or in the platform's cache folder."""
    return cache.weights_folder().parent / "features"


@dataclass(frozen=True, eq=False)
class FeatureFile:
    """Where certain rows are, or will be."""

    key: str  # sha256 in hex
    rows: int
    type: np.dtype[Any]  # of a row

    @property
    def path(self) -> Path:
        """Named after the key."""
        return features_folder() / f"{self.key[:40]}{SUFFIX}"

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return len(self._header) + self.rows * self.type.itemsize + hashlib.sha256().digest_size

    @property
    def _header(self) -> bytes:
        file = io.BytesIO()
        facts = {"descr": np.lib.format.dtype_to_descr(self.type), "fortran_order": False, "shape": (self.rows,)}
        np.lib.format.write_array_header_2_0(file, facts)
        return file.getvalue()

    def write(self, parts: Iterable[NDArray[Any]]) -> None:
        """Parts of the rows, as they come. Raises what `parts` raises, leaving nothing behind, and OSError where the disk refuses."""
        digest = hashlib.sha256(self.key.encode())
        with atomic_write(self.path) as file:
            for data in chain([self._header], (part.tobytes() for part in parts)):
                file.write(data)
                digest.update(data)
            file.write(digest.digest())

    def open(self) -> NDArray[Any]:
        """The rows, read-only, in memory as far as they are used. Raises FeatureFileError for any other file, OSError."""
        header, digest = self._header, hashlib.sha256(self.key.encode())
        found = self.path.stat().st_size
        if found != self.size:
            raise FeatureFileError(f"{self.path}: {found} bytes instead of {self.size}; it is damaged or another program's.")
        with self.path.open("rb") as file:
            left = self.size - digest.digest_size
            while left:
                data = file.read(min(left, _READ))
                digest.update(data)
                left -= len(data)
            if file.read() != digest.digest():
                raise FeatureFileError(f"{self.path}: its contents are not those that were written; it is damaged or another program's.")
        self.path.touch()  # the last to be removed when room is needed
        return np.memmap(self.path, self.type, "r", offset=len(header), shape=(self.rows,))

    def make_room(self, limit: int) -> None:
        """Remove what was used longest ago until this file fits in, so that all take `limit` bytes at most; it is smaller than that.

        Raises TrainingError where the disk has not that much left.
        """
        folder = features_folder()
        folder.mkdir(parents=True, exist_ok=True)
        for part in folder.glob(".*.part"):
            if part.stat().st_mtime < time.time() - ABANDONED:
                part.unlink(missing_ok=True)
        kept = sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime)
        sizes = {path: path.stat().st_size for path in kept if path != self.path}
        for path in list(sizes):
            if sum(sizes.values()) + self.size <= limit:
                break
            path.unlink(missing_ok=True)
            del sizes[path]
        free = shutil.disk_usage(folder).free
        if free < self.size:
            raise TrainingError(
                f"{folder}: the features of {self.rows:,} views need {self.size / 1e9:.2f} GB and the disk has {free / 1e9:.2f} GB left. "
                "Make room, set BOXWRIGHT_HOME to a folder elsewhere, or take a smaller --cache-features."
            )
