"""What the catalogue says of a model, for one that is not here yet."""

from typing import Any

from rich.console import Console
from rich.text import Text

from weights.hub import cache
from weights.hub.catalogue import Entry, approximate_size, entries


def absent_entry(name: str) -> Entry | None:
    """The entry of that name if its file has not been pulled; None for every other model."""
    entry = entries().get(name)
    return entry if entry and not cache.cached_path(entry).exists() else None


def summarise_entry(entry: Entry) -> dict[str, Any]:
    """Facts ready for JSON. Sizes are bytes; several where the file may have one or the other, none where nobody has said."""
    facts = ("name", "description", "file", "format", "input_size", "fit", "resample", "labels", "addresses", "sizes", "licence")
    return {
        "pulled": False,
        **{fact: getattr(entry, fact) for fact in facts},
        "size_about": approximate_size(entry),
        "hashes": dict(entry.hashes),
    }


def print_facts(summary: dict[str, Any]) -> None:
    """A line for each fact, and how to get the model."""
    name = summary["name"]
    shown = summary | {
        "pulled": f"no; run: boxwright weights pull {name}",
        "labels": ", ".join(summary["labels"]) or "none: a stem",
        "addresses": "".join(f"\n  {address}" for address in summary["addresses"]),
        "sizes": " or ".join(f"{size:,} bytes" for size in summary["sizes"])
        or f"not published; about {summary['size_about'] / 1e6:.0f} MB",
        "hashes": "".join(f"\n  {algorithm} {text}" for algorithm, text in summary["hashes"].items()) or "none published",
    }
    console = Console()
    del shown["size_about"]
    for fact, text in shown.items():
        console.print(Text.assemble((f"{fact}: ", "bold"), str(text)), soft_wrap=True)
