"""Render the results of `benchmarks.suite` as Markdown tables, on stdout or into the documents.

python -m benchmarks.render runs/bench/results.jsonl [--write] [--processor-time]

--write: Replace the text between `<!-- measured: NAME -->` and `<!-- /measured -->` in the documents. A table without results is unchanged.
--processor-time: Report processor time instead of wall time, for results of a busy machine.
If several lines have the same benchmark and options, the last one is used.
"""

import argparse
import re
import sys
from pathlib import Path

from benchmarks.paths import ROOT
from benchmarks.report.results import BenchmarkResults
from benchmarks.report.tables import TABLES

DOCUMENTS = ("README.md", "docs/performance.md", "docs/scale.md")


def main() -> None:
    """Print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--processor-time", action="store_true")
    arguments = parser.parse_args()
    results = BenchmarkResults.read(arguments.results, busy=arguments.processor_time)
    tables = {name: "\n".join(table(results)) for name, table in TABLES.items()}
    if not arguments.write:
        print("\n\n".join(f"<!-- {name} -->\n{text}" for name, text in tables.items() if text))
        return
    for name in DOCUMENTS:
        path = ROOT / name
        path.write_text(fill_tables(path.read_text(encoding="utf-8"), tables), encoding="utf-8")
        sys.stderr.write(f"{name} is up to date.\n")


def fill_tables(document: str, tables: dict[str, str]) -> str:
    """Return the document with its tables replaced. Exit if it names an unknown table."""

    def table(match: re.Match[str]) -> str:
        if match[1] not in tables:
            sys.exit(f"unknown table {match[1]!r}. Known tables: {', '.join(tables)}.")
        return f"<!-- measured: {match[1]} -->\n{tables[match[1]] or match[2].strip()}\n<!-- /measured -->"

    return re.sub(r"<!-- measured: ([a-z0-9-]+) -->\n(.*?)<!-- /measured -->", table, document, flags=re.DOTALL)


if __name__ == "__main__":
    main()
