"""Tables: aligned columns on a terminal, tab-separated lines in a pipe."""

from collections.abc import Collection, Iterable, Sequence

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.output.terminal import escape_control_characters

NO_VALUE = "-"
COLUMN_GAP = 2  # Spaces between two columns.
MIN_LAST_COLUMN = 10  # Characters. Narrower terminals fold every column but the first.

TableRow = Sequence[object]


def print_table(
    columns: Sequence[str], rows: Iterable[TableRow], *, numeric: Collection[str] = (), footer: Iterable[TableRow] = ()
) -> None:
    """Print rows to stdout: as a table on a terminal, else as tab-separated lines without a heading.

    Args:
        columns: Headings. Only the last column is folded, unless the terminal is very narrow; the first is never folded.
        rows: Cells; None is printed as "-". A cell that is a `Text` keeps its style on a terminal.
        numeric: Headings of the columns that are aligned to the right.
        footer: Rows below the others, in bold: totals.
    """
    console = Console()
    body, totals = list(rows), list(footer)
    if not console.is_terminal:
        for row in (*body, *totals):
            typer.echo("\t".join(_text(cell).replace(".\n", "; ").replace("\n", "; ") for cell in row))
        return
    width = sum(max(cell_len(_text(row[index])) for row in (columns, *body, *totals)) + COLUMN_GAP for index in range(len(columns) - 1))
    unfolded = columns[:-1] if width + MIN_LAST_COLUMN <= console.width else columns[:1]
    console.print(_build(columns, unfolded, numeric, body, totals))


def _build(
    columns: Sequence[str], unfolded: Collection[str], numeric: Collection[str], body: list[TableRow], totals: list[TableRow]
) -> Table:
    table = Table(box=None, padding=(0, COLUMN_GAP, 0, 0), pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in numeric else "left", no_wrap=name in unfolded, overflow="fold")
    for row in body:
        table.add_row(*map(_cell, row))
    for row in totals:
        table.add_row(*map(_cell, row), style="bold")
    return table


def _cell(value: object) -> Text:
    """Return a `Text`, because Rich would read a name in brackets as a style."""
    return value if isinstance(value, Text) else Text(_text(value))


def _text(value: object) -> str:
    return NO_VALUE if value is None or value == "" else escape_control_characters(str(value))


def megabytes(size: int, *, approximate: bool = False) -> str:
    """Return a size in bytes as "15.6 MB", or "~15.6 MB"."""
    return f"{'~' if approximate else ''}{size / 1e6:.1f} MB"
