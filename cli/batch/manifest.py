"""The manifest of a batch run: its options and its images, in chunks.

The manifest is a Parquet file in the output folder with a row group for each chunk. A continued run takes its images from the
manifest, so that they stay the same.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from detector.errors import SettingError
from weights.atomic_files import atomic_write

MANIFEST_NAME = "_plan"  # pyarrow, pandas and Spark ignore names that start with "_"
TARGET_CHUNKS = 1000  # The number of output files for a large archive.
MIN_CHUNK, MAX_CHUNK = 16, 512
"""Minimum and maximum number of images in a chunk: a crash loses little work, and there are not too many files."""
METADATA_KEY = "asked"  # The key of the options in the file's metadata.

_SCHEMA = pa.schema([("photo", pa.binary())])  # a path can be any bytes


@dataclass(frozen=True)
class BatchTask:
    """Model and options of a batch run, which must not change when it is continued. The fields are the keys of the JSON in the file."""

    model: str
    fingerprint: str  # of the model's layers and arrays
    confidence: float
    iou: float
    classes: Sequence[str]
    folder: str  # relative paths start here

    def check_same(self, before: "BatchTask", folder: Path) -> None:
        """Raise SettingError if the options differ from those of the run that is continued, because its results would differ too."""
        for name in ("model", "fingerprint", "confidence", "iou", "classes"):
            old, new = getattr(before, name), getattr(self, name)
            if old != new:
                raise SettingError(
                    f"{folder} has results with {name} {old!r}, and {name} is now {new!r}. Give the same options, or another folder."
                )


@dataclass(frozen=True)
class Manifest:
    """A manifest on disk."""

    path: Path
    task: BatchTask
    images: int
    chunks: int

    @classmethod
    def create(cls, folder: Path, task: BatchTask, images: Iterable[Path]) -> "Manifest":
        """Write a manifest. An image that is named twice is processed once. Raises OSError."""
        names = list(dict.fromkeys(os.fsencode(image) for image in images))
        size = min(MAX_CHUNK, max(MIN_CHUNK, -(-len(names) // TARGET_CHUNKS)))
        schema = _SCHEMA.with_metadata({METADATA_KEY: json.dumps(asdict(task))})
        with atomic_write(folder / MANIFEST_NAME) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for start in range(0, len(names), size):
                writer.write_table(pa.table([pa.array(names[start : start + size], pa.binary())], schema), row_group_size=size)
        return cls.read(folder)

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read the manifest in a folder. Raises OSError, and SettingError if it is not valid."""
        path = folder / MANIFEST_NAME
        try:
            with pq.ParquetFile(path) as file:
                schema_metadata, metadata = file.schema_arrow.metadata, file.metadata
            facts = json.loads(schema_metadata[METADATA_KEY.encode()])
            task = BatchTask(**facts | {"classes": tuple(facts["classes"])})
        except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
            raise SettingError(f"{path}: not the manifest of a batch run ({error}). Give another folder.") from error
        return cls(path, task, metadata.num_rows, metadata.num_row_groups)

    def count(self, chunks: Iterable[int]) -> int:
        """Return the number of images in these chunks."""
        with pq.ParquetFile(self.path) as file:
            return sum(file.metadata.row_group(chunk).num_rows for chunk in chunks)

    def chunk(self, number: int) -> list[Path]:
        """Return the images of one chunk."""
        with pq.ParquetFile(self.path) as file:
            return [Path(os.fsdecode(name)) for name in file.read_row_group(number)["photo"].to_pylist()]
