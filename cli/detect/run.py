"""Detect objects in a sequence of images, and print or write each result."""

import errno
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import Progress

from cli.detect.backends import DetectionBackend, DetectionResult
from cli.detect.writers import AnnotatedCopyWriter, VocAnnotationWriter
from cli.output.detections import DetectionPrinter
from cli.output.terminal import print_image_error, print_note
from detector.errors import ImageError
from detector.messages import count_of
from service.client.errors import RequestRejected
from training.errors import DatasetError
from weights.atomic_files import DISK_FULL

STDOUT_ERRORS = DISK_FULL | {errno.EPIPE}
"""Error numbers of a write to standard output that is full, or that its reader has closed, as `head` does."""


@dataclass
class DetectionOutputs:
    """The destinations of results, and the number of written files."""

    out: Path | None
    voc: Path | None
    copies: AnnotatedCopyWriter | None
    annotations: VocAnnotationWriter | None
    printer: DetectionPrinter | None  # None: print JSON
    copies_written: int = 0
    annotations_written: int = 0

    @classmethod
    def create(cls, out: Path | None, voc: Path | None, images: Sequence[Path], *, as_json: bool) -> "DetectionOutputs":
        """Create the folders. Raises OSError."""
        for folder in filter(None, (out, voc)):
            folder.mkdir(parents=True, exist_ok=True)
        copies = AnnotatedCopyWriter(out, images) if out else None
        return cls(out, voc, copies, VocAnnotationWriter(voc) if voc else None, None if as_json else DetectionPrinter())

    def add(self, result: DetectionResult) -> None:
        """Write the files for one result and print it. Raises OSError and DatasetError if a file cannot be written."""
        files = {}
        if self.copies and result.annotated:
            files["annotated"] = str(self.copies.write(result.path, result.annotated))
            self.copies_written += 1
        if self.annotations:
            files["voc"] = str(self.annotations.write(result))
            self.annotations_written += 1
        if self.printer:
            self.printer.print(result)
        else:
            typer.echo(json.dumps(result.to_json() | files))

    def print_written_files(self) -> None:
        """Print the number of written files and their folder. The JSON output names each file instead."""
        if self.printer is None:
            return
        if self.out:
            print_note(f"{self.copies_written:,} annotated {'copy' if self.copies_written == 1 else 'copies'} in {self.out}")
        if self.voc:
            print_note(f"{count_of(self.annotations_written, 'VOC annotation')} in {self.voc}")


def detect_images(backend: DetectionBackend, paths: Sequence[Path], outputs: DetectionOutputs, *, hide_bar: bool) -> int:
    """Process every image; report those that fail on stderr and continue.

    Args:
        backend: Detects the objects.
        paths: Image files.
        outputs: Receives the results.
        hide_bar: Show no progress bar even if stderr is a terminal.

    Returns:
        The number of images that failed.
    """
    console, failed = Console(stderr=True), 0
    disable = hide_bar or len(paths) < 2 or not console.is_terminal
    with Progress(console=console, transient=True, disable=disable, redirect_stdout=False) as progress:
        for path in progress.track(paths, description="detecting"):
            try:
                outputs.add(backend.detect(path))
            except (OSError, ImageError, RequestRejected, DatasetError) as error:
                if isinstance(error, OSError) and error.errno in STDOUT_ERRORS and error.filename is None:
                    raise
                failed += 1
                print_image_error(console, _failure_message(path, error))
    outputs.print_written_files()
    return failed


def _failure_message(path: Path, error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        output = error.filename is not None and Path(error.filename) != path
        return f"{error.filename}: cannot be written: {error.strerror}." if output else f"{path}: {error.strerror}."
    return f"{path}: {error}"
