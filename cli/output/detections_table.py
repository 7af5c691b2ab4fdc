"""What was found, as a table on the terminal."""

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cli.detect.found import Found

NUMBERS = ("score", "xmin", "ymin", "xmax", "ymax")


class FoundTable:
    """A row for each box. Names are `Text`: one in brackets is not to be read as a style."""

    def __init__(self) -> None:
        numbers = (Column(name, justify="right", no_wrap=True) for name in NUMBERS)
        self._table = Table(Column("photo", overflow="fold"), Column("label", overflow="fold"), *numbers)

    def add(self, found: Found) -> None:
        """A photo's boxes, or that there are none."""
        name = str(found.photo)
        for detection in found.detections:
            numbers = (f"{detection.score:.3f}", *(f"{edge:.1f}" for edge in detection.box.model_dump().values()))
            self._table.add_row(Text(name), Text(detection.label), *numbers)
            name = ""
        if name:
            self._table.add_row(Text(name), Text("nothing found", style="dim"))
        self._table.add_section()

    def print(self) -> None:
        """To standard output, if there is any row."""
        if self._table.row_count:
            Console().print(self._table)
