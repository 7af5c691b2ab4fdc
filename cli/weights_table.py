"""`boxwright weights list` as a table."""

from rich.table import Table

from weights import fetch
from weights.catalogue import entries
from weights.embedded import EMBEDDED
from weights.model_file import read_header


def weights_table() -> Table:
    """A row for each model known by name."""
    table = Table("name", "what", "input", "megabytes", "here")
    for name, path in EMBEDDED.items():
        header = read_header(path)
        table.add_row(name, header.provenance["task"], str(header.spec.input_size), _megabytes((path.stat().st_size,)), "ships")
    pulled = fetch.pulled()
    for name, entry in entries().items():
        table.add_row(name, entry.description, str(entry.input_size), _megabytes(entry.sizes), "pulled" if name in pulled else "")
    return table


def _megabytes(sizes: tuple[int, ...]) -> str:
    return f"{max(sizes) / 1e6:.1f}" if sizes else "?"
