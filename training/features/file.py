"""Feature files: fixed-size records in a memory-mapped NumPy .npy file, followed by a SHA-256.

The SHA-256 covers the key (a hash of everything that the features depend on, see `training.features.cache`), the header and the records. A
file gets its final name only when it is complete. A file with a wrong SHA-256 is rejected.
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

FEATURE_SUFFIX = ".features"
ABANDONED_AFTER = 3600  # Seconds without a change after which a temporary file is deleted: its writer was killed.
_BLOCK = 2**22  # bytes


def features_folder() -> Path:
    """Return the folder of feature files: `features` in BOXWRIGHT_HOME, or in the platform's cache folder."""
    return cache.weights_folder().parent / "features"


@dataclass(frozen=True, eq=False)
class FeatureFile:
    """A feature file, which may exist already."""

    key: str  # SHA-256, hexadecimal
    rows: int  # records
    type: np.dtype[Any]  # of a record

    @property
    def path(self) -> Path:
        """The file, named after the key."""
        return features_folder() / f"{self.key[:40]}{FEATURE_SUFFIX}"

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return len(self._header) + self.rows * self.type.itemsize + hashlib.sha256().digest_size

    @property
    def _header(self) -> bytes:
        file = io.BytesIO()
        header = {"descr": np.lib.format.dtype_to_descr(self.type), "fortran_order": False, "shape": (self.rows,)}
        np.lib.format.write_array_header_2_0(file, header)
        return file.getvalue()

    def write(self, parts: Iterable[NDArray[Any]]) -> None:
        """Write the records in parts. If `parts` raises, no file remains. Raises OSError if the disk is full."""
        digest = hashlib.sha256(self.key.encode())
        with atomic_write(self.path) as file:
            for data in chain([self._header], (part.tobytes() for part in parts)):
                file.write(data)
                digest.update(data)
            file.write(digest.digest())

    def open(self) -> NDArray[Any]:
        """Return the records as a read-only memory map.

        Raises FeatureFileError if the file is damaged, or another program wrote it, and OSError if the file cannot be read.
        """
        header, digest = self._header, hashlib.sha256(self.key.encode())
        actual_size = self.path.stat().st_size
        if actual_size != self.size:
            raise FeatureFileError(f"{self.path}: the file is damaged: it has {actual_size} bytes instead of {self.size}.")
        with self.path.open("rb") as file:
            remaining = self.size - digest.digest_size
            while remaining:
                data = file.read(min(remaining, _BLOCK))
                digest.update(data)
                remaining -= len(data)
            if file.read() != digest.digest():
                raise FeatureFileError(f"{self.path}: the file is damaged: its checksum does not match its content.")
        self.path.touch()  # `make_room` deletes the files that were used longest ago
        return np.memmap(self.path, self.type, "r", offset=len(header), shape=(self.rows,))

    def make_room(self, limit: int) -> None:
        """Delete the least recently used feature files until all files, including this one, fit into `limit` bytes.

        Args:
            limit: Bytes; at least the size of this file.

        Raises:
            TrainingError: The disk has too little free space.
        """
        folder = features_folder()
        folder.mkdir(parents=True, exist_ok=True)
        for temporary in folder.glob(".*.part"):
            if temporary.stat().st_mtime < time.time() - ABANDONED_AFTER:
                temporary.unlink(missing_ok=True)
        oldest_first = sorted(folder.glob(f"*{FEATURE_SUFFIX}"), key=lambda path: path.stat().st_mtime)
        sizes = {path: path.stat().st_size for path in oldest_first if path != self.path}
        for path in list(sizes):
            if sum(sizes.values()) + self.size <= limit:
                break
            path.unlink(missing_ok=True)
            del sizes[path]
        free = shutil.disk_usage(folder).free
        if free < self.size:
            raise TrainingError(
                f"{folder}: the features of {self.rows:,} views need {self.size / 1e6:,.1f} MB, but the disk has {free / 1e6:,.1f} MB. "
                "Free some space, set BOXWRIGHT_HOME to a folder on another disk, or lower --cache-features."
            )
