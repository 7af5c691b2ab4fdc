"""What `benchmarks.suite` measured, as Markdown tables: on stdout, or into the documents.

python -m benchmarks.render runs/bench/results.jsonl [--write] [--processor-time]

--write: replace what stands between `<!-- measured: NAME -->` and `<!-- /measured -->` in the documents; a table of which
nothing was measured stays as it is. --processor-time: ratios of that instead of the clock's, for a machine that others used too.
Of lines that measure the same, the last counts.
"""

import argparse
import re
import sys
from pathlib import Path

from benchmarks.arena import ROOT
from benchmarks.results import Results
from benchmarks.tables import TABLES

DOCUMENTS = ("README.md", "docs/performance.md", "docs/scale.md")


def main() -> None:
    """Print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--processor-time", action="store_true")
    arguments = parser.parse_args()
    results = Results.read(arguments.results, busy=arguments.processor_time)
    tables = {name: "\n".join(table(results)) for name, table in TABLES.items()}
    if not arguments.write:
        print("\n\n".join(f"<!-- {name} -->\n{text}" for name, text in tables.items() if text))
        return
    for name in DOCUMENTS:
        path = ROOT / name
        path.write_text(filled(path.read_text(encoding="utf-8"), tables), encoding="utf-8")
        sys.stderr.write(f"{name} is up to date.\n")


def filled(document: str, tables: dict[str, str]) -> str:
    """The document with its tables replaced. Exits where it names one that there is not."""

    def table(match: re.Match[str]) -> str:
        if match[1] not in tables:
            sys.exit(f"there is no table {match[1]!r}; there are {', '.join(tables)}.")
        return f"<!-- measured: {match[1]} -->\n{tables[match[1]] or match[2].strip()}\n<!-- /measured -->"

    return re.sub(r"<!-- measured: ([a-z0-9-]+) -->\n(.*?)<!-- /measured -->", table, document, flags=re.DOTALL)


if __name__ == "__main__":
    main()
