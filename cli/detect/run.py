"""Photo after photo through a finder, and what is made of each answer."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from cli.detect.copies import Copies
from cli.detect.found import Finds, Found
from cli.detect.pre_annotations import PreAnnotations
from cli.output.detections_table import FoundTable
from cli.output.shown import shown
from detector.errors import ImageError
from service.client.errors import RequestRejected
from training.errors import DatasetError


@dataclass(frozen=True)
class Outputs:
    """Where answers go to."""

    copies: Copies | None
    annotations: PreAnnotations | None
    table: FoundTable | None  # else JSON

    @classmethod
    def into(cls, out: Path | None, voc: Path | None, photos: Sequence[Path], *, as_json: bool) -> "Outputs":
        """Makes the folders. Raises OSError."""
        for folder in filter(None, (out, voc)):
            folder.mkdir(parents=True, exist_ok=True)
        return cls(Copies(out, photos) if out else None, PreAnnotations(voc) if voc else None, None if as_json else FoundTable())

    def add(self, found: Found) -> None:
        """One photo's answer. Raises OSError and DatasetError where a file cannot be written."""
        files = {}
        if self.copies and found.annotated:
            files["annotated"] = str(self.copies.write(found.photo, found.annotated))
        if self.annotations:
            files["voc"] = str(self.annotations.write(found))
        if self.table:
            self.table.add(found)
        else:
            typer.echo(json.dumps(found.as_json() | files))


def run(finder: Finds, photos: Sequence[Path], outputs: Outputs, *, hide_bar: bool) -> int:
    """How many photos had no answer, or one that could not be written; each is told of on stderr. Many show a bar on a terminal."""
    console, failed = Console(stderr=True), 0
    disable = hide_bar or len(photos) < 2 or not console.is_terminal
    with Progress(console=console, transient=True, disable=disable, redirect_stdout=False) as progress:
        for photo in progress.track(photos, description="detecting"):
            try:
                outputs.add(finder.find(photo))
            except (OSError, ImageError, RequestRejected, DatasetError) as error:
                failed += 1
                console.print(Text(shown(_complaint(photo, error)), style="red"), soft_wrap=True)
    if outputs.table:
        outputs.table.print()
    return failed


def _complaint(photo: Path, error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        elsewhere = error.filename is not None and Path(error.filename) != photo
        return f"{error.filename}: cannot be written: {error.strerror}." if elsewhere else f"{photo}: {error.strerror}"
    return f"{photo}: {error}"
