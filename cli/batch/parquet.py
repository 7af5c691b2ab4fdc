"""The answers: a row for each photo, a file for each chunk, which is there when it is whole and not before."""

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
SCHEMA = pa.schema(
    [
        pa.field("photo", pa.string(), nullable=False),  # its path as it was given
        ("width", pa.int32()),  # pixels, upright; null where the photo could not be read
        ("height", pa.int32()),
        ("detections", pa.list_(BOX)),  # best score first; null where the photo could not be read
        ("kind", pa.string()),  # null, or what was wrong in a word: "damaged-image"
        ("problem", pa.string()),  # null, or the same as a sentence
    ]
)
MARK = "part-"


@dataclass(frozen=True)
class Row:
    """One photo's."""

    photo: str
    width: int | None = None
    height: int | None = None
    detections: list[dict[str, Any]] | None = None
    kind: str | None = None
    problem: str | None = None


def shown(photo: Path) -> str:
    """A path as text: bytes that are no UTF-8 are written as escapes."""
    return os.fsencode(photo).decode("utf-8", "backslashreplace")


def part_path(folder: Path, chunk: int) -> Path:
    """The file with the answers of that chunk."""
    return folder / f"{MARK}{chunk:08d}.parquet"


def done_chunks(folder: Path) -> set[int]:
    """The chunks whose answers are there."""
    return {int(path.stem.removeprefix(MARK)) for path in folder.glob(f"{MARK}*.parquet")}


def write_part(folder: Path, chunk: int, rows: Sequence[Row], about: str) -> None:
    """All answers of a chunk, at once. about: JSON that is kept with them. Raises OSError."""
    table = pa.Table.from_pylist([vars(row) for row in rows], SCHEMA.with_metadata({"boxwright": about}))
    with atomic_write(part_path(folder, chunk)) as file:
        pq.write_table(table, file, compression="zstd")


def remove_unfinished(folder: Path) -> None:
    """What a killed process was writing when it died."""
    for path in folder.glob(".*.part"):
        path.unlink()


@dataclass(frozen=True)
class Summary:
    """What became of the photos."""

    photos: int
    boxes: int
    problems: dict[str, int]  # kind -> photos

    @property
    def unread(self) -> int:
        """Photos that could not be read."""
        return sum(self.problems.values())


def summarise(folder: Path) -> Summary:
    """Counts all answers, a batch of rows at a time."""
    photos, boxes, problems = 0, 0, dict[str, int]()
    for batch in ds.dataset(folder, format="parquet").to_batches(columns=["detections", "kind"]):
        photos += batch.num_rows
        boxes += pc.sum(pc.list_value_length(batch["detections"])).as_py() or 0
        for counted in pc.value_counts(batch["kind"].drop_null()).to_pylist():
            problems[counted["values"]] = problems.get(counted["values"], 0) + counted["counts"]
    return Summary(photos, boxes, dict(sorted(problems.items(), key=lambda item: -item[1])))


def unread(folder: Path, most: int) -> list[tuple[str, str]]:
    """The first so many photos that could not be read, and why."""
    scanner = ds.dataset(folder, format="parquet").scanner(columns=["photo", "problem"], filter=ds.field("problem").is_valid())
    return [(row["photo"], row["problem"]) for row in scanner.head(most).to_pylist()]
