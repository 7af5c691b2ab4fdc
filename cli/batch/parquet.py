"""The results of a batch run: a row for each image, a Parquet file for each chunk. A file appears when it is complete."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from weights.atomic_files import atomic_write

BOX = pa.struct([("label", pa.string()), *((name, pa.float64()) for name in ("score", "xmin", "ymin", "xmax", "ymax"))])
RESULT_SCHEMA = pa.schema(
    [
        pa.field("photo", pa.string(), nullable=False),  # the path as given
        ("width", pa.int32()),  # pixels, upright; null if the image could not be read
        ("height", pa.int32()),
        ("detections", pa.list_(BOX)),  # best score first; null if the image could not be read
        ("kind", pa.string()),  # null, or the kind of problem: "damaged-image"
        ("problem", pa.string()),  # null, or the problem as a sentence
    ]
)
CHUNK_PREFIX = "part-"


@dataclass(frozen=True)
class BatchRow:
    """The result for one image; the fields are the columns."""

    photo: str
    width: int | None = None
    height: int | None = None
    detections: list[dict[str, Any]] | None = None
    kind: str | None = None
    problem: str | None = None


def path_text(path: Path) -> str:
    """Return a path as text. Bytes that are not UTF-8 become escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def chunk_path(folder: Path, chunk: int) -> Path:
    """Return the path of the results of a chunk."""
    return folder / f"{CHUNK_PREFIX}{chunk:08d}.parquet"


def done_chunks(folder: Path) -> set[int]:
    """Return the numbers of the chunks with complete results."""
    return {int(path.stem.removeprefix(CHUNK_PREFIX)) for path in folder.glob(f"{CHUNK_PREFIX}*.parquet")}


def write_chunk(folder: Path, chunk: int, rows: Sequence[BatchRow], metadata: str) -> None:
    """Write all results of a chunk at once, with JSON as metadata. Raises OSError."""
    table = pa.Table.from_pylist([vars(row) for row in rows], RESULT_SCHEMA.with_metadata({"boxwright": metadata}))
    with atomic_write(chunk_path(folder, chunk)) as file:
        pq.write_table(table, file, compression="zstd")


def remove_unfinished_files(folder: Path) -> None:
    """Delete the files that a killed process was writing."""
    for path in folder.glob(".*.part"):
        path.unlink()


@dataclass(frozen=True)
class BatchSummary:
    """Totals of a batch run."""

    images: int
    boxes: int
    problems: dict[str, int]  # kind -> images

    @property
    def failed(self) -> int:
        """The number of images that could not be read."""
        return sum(self.problems.values())


def summarise_batch(folder: Path) -> BatchSummary:
    """Count all results, reading a batch of rows at a time."""
    images, boxes, problems = 0, 0, dict[str, int]()
    for batch in ds.dataset(folder, format="parquet").to_batches(columns=["detections", "kind"]):
        images += batch.num_rows
        boxes += pc.sum(pc.list_value_length(batch["detections"])).as_py() or 0
        for counted in pc.value_counts(batch["kind"].drop_null()).to_pylist():
            problems[counted["values"]] = problems.get(counted["values"], 0) + counted["counts"]
    return BatchSummary(images, boxes, dict(sorted(problems.items(), key=lambda item: -item[1])))


def failed_images(folder: Path, limit: int) -> list[tuple[str, str]]:
    """Return the first `limit` images that could not be read, with the reasons."""
    scanner = ds.dataset(folder, format="parquet").scanner(columns=["photo", "problem"], filter=ds.field("problem").is_valid())
    return [(row["photo"], row["problem"]) for row in scanner.head(limit).to_pylist()]
