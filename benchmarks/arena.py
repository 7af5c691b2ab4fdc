"""Contenders in turn: each in its own process, woken for its calls and stopped while another computes, over and over.

A machine's speed drifts and others use it too. What is measured within the same second, again and again, can be compared all the same;
so a round calls every contender once, and a ratio is the median of the rounds' ratios.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contenders import BLAS_THREADS, RIVALS

ROOT = Path(__file__).resolve().parents[1]
LARGE = 16  # photos, in whose time that of warming up does not count
RIVALS_PYTHON = ROOT / ".venv-rivals" / "bin" / "python"


@dataclass(frozen=True)
class Contender:
    """A process that computes when it is told to, and is stopped otherwise."""

    name: str
    process: "subprocess.Popen[str]"
    facts: Mapping[str, Any]  # what it said of itself: seconds, resident_mib, versions, ...

    def seconds(self, calls: int) -> list[tuple[float, float]]:
        """Of each of that many calls, on the clock and of the processor."""
        self.process.send_signal(signal.SIGCONT)
        try:
            return [(clock, busy) for clock, busy in _told(self.name, self.process, f"{calls}\n")]
        finally:
            self.process.send_signal(signal.SIGSTOP)


@contextmanager
def contender(name: str, folder: Path, threads: int, batch: int) -> Iterator[Contender]:
    """A contender that has loaded the network in that folder and computed once. Exits, naming it, where it ends before."""
    python = str(RIVALS_PYTHON) if name in RIVALS else sys.executable
    command = [python, "-m", "benchmarks.contenders", name, str(folder), str(threads), str(batch)]
    pipe, environment = subprocess.PIPE, os.environ | {BLAS_THREADS: str(threads)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            facts = _told(name, process)
            process.send_signal(signal.SIGSTOP)
            yield Contender(name, process, facts)
        finally:
            process.kill()


def _told(name: str, process: "subprocess.Popen[str]", order: str = "") -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(order)
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        sys.exit(f"{name} ended: run {' '.join(map(str, process.args))} to see why.")  # type: ignore[arg-type]
    return json.loads(line)


def interleave(names: Sequence[str], folder: Path, *, threads: int, batch: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Facts of each contender, with "ms" and "cpu_ms" of its rounds.

    A round is the second of two calls, the first of which warms caches up; of large batches it is the only one.
    """
    calls = 1 if batch >= LARGE else 2
    with ExitStack() as stack:
        contenders = [stack.enter_context(contender(name, folder, threads, batch)) for name in names]
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for _ in range(rounds):
            for each in contenders:
                times[each.name].append(each.seconds(calls)[-1])
        clock = {name: [seconds * 1000 for seconds, _ in each] for name, each in times.items()}
        busy = {name: [seconds * 1000 for _, seconds in each] for name, each in times.items()}
        return {each.name: dict(each.facts) | {"ms": clock[each.name], "cpu_ms": busy[each.name]} for each in contenders}


def compared(facts: Mapping[str, Mapping[str, Sequence[float]]], ours: str) -> dict[str, dict[str, float]]:
    """Of what `interleave` gives: median and least on the clock, and the processor's median, which a busy machine disturbs less.

    ours_ratio: the median over the rounds of our time divided by its; ours_cpu_ratio: of the medians of the processor's time.
    """
    busy = {name: statistics.median(each["cpu_ms"]) for name, each in facts.items()}
    return {
        name: {
            "ms_median": round(statistics.median(each["ms"]), 2),
            "ms_least": round(min(each["ms"]), 2),
            "cpu_ms_median": round(busy[name], 2),
            "ours_ratio": round(statistics.median(o / t for o, t in zip(facts[ours]["ms"], each["ms"], strict=True)), 3),
            "ours_cpu_ratio": round(busy[ours] / busy[name], 3),
        }
        for name, each in facts.items()
    }
