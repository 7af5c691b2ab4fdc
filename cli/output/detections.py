"""Detections as text: boxes below the image's name on a terminal, tab-separated lines in a pipe."""

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.detect.backends import DetectionResult
from cli.output.tables import NO_VALUE
from cli.output.terminal import escape_control_characters


class DetectionPrinter:
    """Prints the detections of a sequence of images to stdout."""

    def __init__(self) -> None:
        self._console = Console()

    def print(self, result: DetectionResult) -> None:
        """Print one line for each detection. In a pipe, its columns are image, label, score, xmin, ymin, xmax, ymax."""
        name = _one_line(str(result.path))
        rows = [
            (_one_line(found.label), f"{found.score:.3f}", *(f"{edge:.1f}" for edge in found.box.model_dump().values()))
            for found in result.detections
        ]
        if not self._console.is_terminal:
            for row in rows or [(NO_VALUE,) * 6]:
                typer.echo("\t".join((name, *row)))
            return
        self._console.print(Text(name, style="bold"), soft_wrap=True)
        if not rows:
            self._console.print(Text("  no detections", style="dim"))
            return
        table = Table("label", *("score", "xmin", "ymin", "xmax", "ymax"), box=None, padding=(0, 0, 0, 2), header_style="dim")
        for column in table.columns[1:]:
            column.justify = "right"
        for row in rows:
            table.add_row(*map(Text, row))
        self._console.print(table)


def _one_line(text: str) -> str:
    """Escape control characters and line breaks: a file name must not look like another line."""
    return escape_control_characters(text).replace("\n", "\\n")
