"""The file in which a benchmark of several training runs stores one JSON line for each run."""

import json
from pathlib import Path
from typing import Any

SEEDS = (0, 1, 2)

Row = dict[str, Any]


def read_rows(results: Path) -> list[Row]:
    """Return the runs in the file."""
    lines = results.read_text(encoding="utf-8").splitlines() if results.is_file() else []
    return [json.loads(line) for line in lines]
