"""`boxwright weights list`: a table on a terminal, lines elsewhere."""

from typing import NamedTuple

import typer
from rich.console import Console
from rich.table import Column, Table

from weights.embedded import EMBEDDED
from weights.formats.safetensors import read_header
from weights.hub.catalogue import Entry, approximate_size, entries
from weights.hub.pulled import list_pulled


class Known(NamedTuple):
    """A model known by name; the fields are the columns."""

    name: str
    here: str  # "ships", "pulled" or "-"
    megabytes: str  # "~" where nobody has published the size
    input: str  # pixels
    what: str


def print_list() -> None:
    """Every model known by name, to standard output; in a pipe without lines, colours or folds, and with tabs between."""
    console = Console()
    if not console.is_terminal:
        for known in _known():
            typer.echo("\t".join(known))
        return
    table = Table(*(Column(field, no_wrap=field != "what", overflow="fold") for field in Known._fields))
    for known in _known():
        table.add_row(*known)
    console.print(table)


def _known() -> list[Known]:
    rows = []
    for name, path in EMBEDDED.items():
        header = read_header(path)
        what = header.provenance["task"] + (", in 8 bits" if header.quantization else "")
        rows.append(Known(name, "ships", f"{path.stat().st_size / 1e6:.1f}", str(header.spec.input_size), what))
    here = list_pulled()
    for name, entry in entries().items():
        rows.append(Known(name, "pulled" if name in here else "-", _megabytes(entry), str(entry.input_size), entry.description))
    return rows


def _megabytes(entry: Entry) -> str:
    return f"{'' if entry.sizes else '~'}{approximate_size(entry) / 1e6:.1f}"
