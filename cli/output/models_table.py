"""`boxwright models list`: a table on a terminal, lines or JSON elsewhere."""

import json
from pathlib import Path
from typing import NamedTuple

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from detector.errors import ModelError
from weights.errors import RepositoryError
from weights.formats.safetensors import read_header, recorded_ap
from weights.repository.layout import StoredVersion, scan_repository
from weights.repository.publish import list_versions


class Row(NamedTuple):
    """A version; the fields are the columns."""

    name: str
    version: int
    state: str  # "newest", "kept", "aside" or "damaged"
    megabytes: float
    labels: int
    ap: str
    file: str


def print_table(folder: Path) -> None:
    """To standard output, what cannot be taken to stderr."""
    console = Console()
    rows, troubles = _rows(folder)
    if console.is_terminal:
        table = Table(*(Column(field, overflow="fold") for field in Row._fields))
        for row in rows:
            table.add_row(*(Text(str(value)) for value in row))
        console.print(table)
    else:
        for row in rows:
            typer.echo("\t".join(map(str, row)))
    for sentence in troubles:
        typer.secho(f"boxwright: {sentence}", fg="yellow", err=True)


def print_json(folder: Path) -> None:
    """The same facts, for programs."""
    rows, troubles = _rows(folder)
    typer.echo(json.dumps({"versions": [row._asdict() for row in rows], "troubles": troubles}, indent=2))


def _rows(folder: Path) -> tuple[list[Row], list[str]]:
    """Every version, set aside or not, and sentences about what cannot be taken."""
    if not folder.is_dir():
        raise RepositoryError(f"{folder}: there is no such folder. Make it, or give another one with --models.")
    troubles = list(scan_repository(folder).problems.values())
    rows = []
    for name in _names(folder):
        newest = True
        for version in list_versions(folder, name):
            rows.append(_row(version, "aside" if version.aside else "newest" if newest else "kept", troubles))
            newest = False
    return rows, troubles


def _names(folder: Path) -> list[str]:
    """Of models that have a version, if only one that is set aside."""
    names = {version.name for version in scan_repository(folder).versions}
    return sorted(names | {path.parent.name for path in folder.glob("*/aside") if any(path.iterdir())})


def _row(version: StoredVersion, state: str, troubles: list[str]) -> Row:
    try:
        header = read_header(version.path)
    except ModelError as error:
        troubles.append(str(error))
        return Row(version.name, version.number, "damaged", 0, 0, "-", str(version.path))
    size = round(version.path.stat().st_size / 1e6, 1)
    ap = recorded_ap(header.provenance) or "-"
    return Row(version.name, version.number, state, size, len(header.spec.labels), ap, str(version.path))
