"""What an archive run has to do, written down before it begins: every photo once, in chunks that are done or not.

The plan is a Parquet file in the folder of the answers, a row group for each chunk. A run that goes on reads it, and lists no folder
again: what was to be done stays what it was.
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

NAME = "_plan"  # neither pyarrow, pandas nor Spark takes it for data, nor is it a *.parquet
PARTS = 1000
"""About so many files in the end,"""
LEAST, MOST = 16, 512
"""each with so many photos: what is lost when a process dies is small, and so is the number of files."""

_SCHEMA = pa.schema([("photo", pa.binary())])  # a path may be any bytes


@dataclass(frozen=True)
class Asked:
    """What is asked of every photo, and of which model: the same from the first run to the last."""

    model: str
    fingerprint: str  # of the model's layers and arrays
    confidence: float
    iou: float
    classes: Sequence[str]
    folder: str  # that relative paths start from

    def check_same(self, other: "Asked", where: Path) -> None:
        """Raises SettingError for answers of another kind: they would stand side by side with these."""
        for name in ("model", "fingerprint", "confidence", "iou", "classes"):
            was, wanted = getattr(other, name), getattr(self, name)
            if was != wanted:
                raise SettingError(
                    f"{where} was begun with {name} {was!r}, and now it is {wanted!r}. "
                    "Give the options that it was begun with, or another folder."
                )


@dataclass(frozen=True)
class Plan:
    """A plan that is on the disk."""

    path: Path
    asked: Asked
    photos: int
    chunks: int

    @classmethod
    def begin(cls, folder: Path, asked: Asked, photos: Iterable[Path]) -> "Plan":
        """Writes it. A photo that is named twice is there once. Raises OSError."""
        names = list(dict.fromkeys(os.fsencode(photo) for photo in photos))
        size = min(MOST, max(LEAST, -(-len(names) // PARTS)))
        schema = _SCHEMA.with_metadata({"asked": json.dumps(asdict(asked))})
        with atomic_write(folder / NAME) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for start in range(0, len(names), size):
                writer.write_table(pa.table([pa.array(names[start : start + size], pa.binary())], schema), row_group_size=size)
        return cls.read(folder)

    @classmethod
    def read(cls, folder: Path) -> "Plan":
        """The one that is there. Raises OSError, SettingError."""
        path = folder / NAME
        try:
            with pq.ParquetFile(path) as file:
                about, metadata = file.schema_arrow.metadata, file.metadata
            told = json.loads(about[b"asked"])
            asked = Asked(**told | {"classes": tuple(told["classes"])})
        except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
            raise SettingError(f"{path}: not the plan of an archive ({error}). Give another folder.") from error
        return cls(path, asked, metadata.num_rows, metadata.num_row_groups)

    def count(self, chunks: Iterable[int]) -> int:
        """Photos in these chunks."""
        with pq.ParquetFile(self.path) as file:
            return sum(file.metadata.row_group(chunk).num_rows for chunk in chunks)

    def chunk(self, number: int) -> list[Path]:
        """The photos of one chunk."""
        with pq.ParquetFile(self.path) as file:
            return [Path(os.fsdecode(name)) for name in file.read_row_group(number)["photo"].to_pylist()]
