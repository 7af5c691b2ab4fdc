"""Results of `benchmarks.suite`, indexed by benchmark and options."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Line = dict[str, Any]
"""One benchmark's JSON line."""
PACKAGES = ("onnxruntime", "openvino", "tensorflow", "opencv-python-headless", "ai-edge-litert", "ncnn", "tensornets")
"""Packages that the sentence below a table lists with their versions."""


class BenchmarkResults:
    """Benchmark results by benchmark and options. The last result of each is used. `busy` selects processor time instead of wall time."""

    def __init__(self, lines: Sequence[Line], *, busy: bool = False) -> None:
        self.lines = {_key(line): line for line in lines}
        self.busy = busy
        self.ms, self.ratio = ("cpu_ms_median", "ours_cpu_ratio") if busy else ("ms_median", "ours_ratio")

    @classmethod
    def read(cls, path: Path, *, busy: bool = False) -> "BenchmarkResults":
        """Read a file of JSON lines. Exit if a line is not JSON."""
        lines = []
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                lines.append(json.loads(text))
            except ValueError as error:
                sys.exit(f"{path}, line {number}: not JSON ({error}); it must be what benchmarks.suite printed.")
        return cls(lines, busy=busy)

    def of(self, benchmark: str) -> list[Line]:
        """Return the benchmark's lines in order of their first measurement."""
        return [line for line in self.lines.values() if line["benchmark"] == benchmark]

    def latency(self, network: str, threads: int, batch: int) -> Line | None:
        """Return the latency line of that configuration, or None."""
        lines = (line for line in self.of("latency") if (line["network"], line["threads"], line["batch"]) == (network, threads, batch))
        return next(lines, None)

    def footnote(self, command: str) -> list[str]:
        """Return the sentence below a table: command, machine and versions."""
        lines = list(self.lines.values())
        facts, packages = lines[0]["machine"], {name: version for line in lines for name, version in line["versions"].items()}
        kind = "processor time" if self.busy else "time"
        loads = [line["machine"]["load"] for line in lines]
        used = ", ".join(f"{name} {packages[name]}" for name in PACKAGES if name in packages)
        machine = f"{facts['processor']} ({', '.join(facts['instructions'])}), {facts['cores']} cores"
        return ["", f"Medians of {kind}, by `{command}`, on {machine}, load {min(loads):g} to {max(loads):g}; {used}."]


def _key(line: Line) -> tuple[Any, ...]:
    return tuple(line.get(name) for name in ("benchmark", "network", "model", "threads", "batch", "image"))
