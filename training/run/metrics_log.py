"""metrics.jsonl and metrics.csv: the measurements of every step of a run."""

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from weights.atomic_files import atomic_write

LOSS_TERMS = ("box", "object", "no_object", "class", "prior", "distillation", "l2")
STEP_COLUMNS = ("step", "epoch", "size", "learning_rate", "loss", *LOSS_TERMS, "gradient")
VALIDATION_COLUMNS = ("val_loss", "ap50", "ap50_frequent", "ap50_weighted", "false_alarms", "false_alarms_50")
"""Columns of metrics.csv. Only steps with a validation have values in VALIDATION_COLUMNS. metrics.jsonl has further values."""

StepMetrics = dict[str, Any]  # The measurements of one step: a line of metrics.jsonl.


class MetricsLog:
    """The metrics files of one run folder."""

    def __init__(self, folder: Path) -> None:
        self.json_path, self.csv_path = folder / "metrics.jsonl", folder / "metrics.csv"

    def read(self) -> list[StepMetrics]:
        """Return the metrics of all steps. A last line that a kill has truncated is ignored."""
        text = self.json_path.read_text(encoding="utf-8") if self.json_path.is_file() else ""
        return [json.loads(line) for line in text.split("\n")[:-1]]

    def append(self, metrics: StepMetrics) -> None:
        """Add the metrics of a step."""
        with self.json_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics) + "\n")
        text = _csv([metrics], header=not self.csv_path.is_file())
        with self.csv_path.open("a", encoding="utf-8", newline="") as file:
            file.write(text)

    def truncate(self, step: int) -> None:
        """Delete the metrics after `step`: a resumed run repeats the steps after its checkpoint."""
        remaining = [metrics for metrics in self.read() if metrics["step"] <= step]
        for path, text in (
            (self.json_path, "".join(json.dumps(metrics) + "\n" for metrics in remaining)),
            (self.csv_path, _csv(remaining, header=True)),
        ):
            with atomic_write(path) as file:
                file.write(text.encode())


def _csv(rows: Iterable[StepMetrics], *, header: bool) -> str:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, (*STEP_COLUMNS, *VALIDATION_COLUMNS), restval="", extrasaction="ignore")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
