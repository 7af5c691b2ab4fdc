"""Time several contenders in interleaved rounds. Each runs in its own process, which is stopped while another computes.

The speed of a machine drifts, and other programs use it too. But measurements within the same second are comparable. Therefore each round
calls every contender once, and a reported ratio is the median of the ratios of all rounds.
"""

import json
import os
import random
import shlex
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contenders.adapters import OPENCV_5
from benchmarks.contenders.process import BLAS_THREADS, RIVAL_CONTENDERS
from benchmarks.paths import ROOT

LARGE_BATCH = 16  # from this batch size on, the warm-up is negligible
RIVALS_PYTHON = ROOT / ".venv-rivals" / "bin" / "python"
OPENCV_5_PYTHON = ROOT / ".venv-opencv5" / "bin" / "python"


class ContenderFailedError(Exception):
    """A contender's process ended instead of answering."""


@dataclass(frozen=True)
class Contender:
    """A process that computes on request and is stopped at all other times."""

    name: str
    process: "subprocess.Popen[str]"
    facts: Mapping[str, Any]  # its start-up report: seconds, resident_mib, versions, ...

    def time_calls(self, calls: int) -> list[tuple[float, float]]:
        """Return (wall seconds, processor seconds) of each call."""
        self.process.send_signal(signal.SIGCONT)
        try:
            return [(wall, processor) for wall, processor in _read_reply(self.name, self.process, f"{calls}\n")]
        finally:
            self.process.send_signal(signal.SIGSTOP)


@contextmanager
def contender(name: str, folder: Path, threads: int, batch: int) -> Iterator[Contender]:
    """Start a contender that loads the network of the folder and computes once. Raises ContenderFailedError."""
    command = [python_of(name), "-m", "benchmarks.contenders.process", name, str(folder), str(threads), str(batch)]
    pipe, environment = subprocess.PIPE, os.environ | {BLAS_THREADS: str(threads)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            facts = _read_reply(name, process)
            process.send_signal(signal.SIGSTOP)
            yield Contender(name, process, facts)
        finally:
            process.kill()


def python_of(name: str) -> str:
    """Return the Python of the environment that has the contender's packages."""
    if name == OPENCV_5:
        return str(OPENCV_5_PYTHON)
    return str(RIVALS_PYTHON) if name in RIVAL_CONTENDERS else sys.executable


def _read_reply(name: str, process: "subprocess.Popen[str]", request: str = "") -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(request)
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise ContenderFailedError(f"{name} ended early. To see its error, run: {shlex.join(process.args)}")  # type: ignore[arg-type]
    return json.loads(line)


def interleave(names: Sequence[str], folder: Path, *, threads: int, batch: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Return the facts of each contender, with "ms" and "cpu_ms" of every round.

    A round measures the second of two calls, because the first warms up the caches. For large batches it makes only one call.
    A contender that cannot load the network is absent from the result; its name is printed to stderr.
    """
    calls = 1 if batch >= LARGE_BATCH else 2
    with ExitStack() as stack:
        contenders = []
        for name in names:
            try:
                contenders.append(stack.enter_context(contender(name, folder, threads, batch)))
            except ContenderFailedError as error:
                sys.stderr.write(f"{error}\n")
        times: dict[str, list[tuple[float, float]]] = {each.name: [] for each in contenders}
        rng = random.Random(0)
        for _ in range(rounds):
            # in random order, because each contender finds the cores as warm as the one before it left them
            for each in rng.sample(contenders, len(contenders)):
                times[each.name].append(each.time_calls(calls)[-1])
        wall = {name: [seconds * 1000 for seconds, _ in each] for name, each in times.items()}
        processor = {name: [seconds * 1000 for _, seconds in each] for name, each in times.items()}
        return {each.name: dict(each.facts) | {"ms": wall[each.name], "cpu_ms": processor[each.name]} for each in contenders}


def compare_times(facts: Mapping[str, Mapping[str, Sequence[float]]], ours: str | Callable[[str], str]) -> dict[str, dict[str, float]]:
    """Summarise the result of `interleave`: wall time, and processor time, which other load affects less.

    "ours_ratio" is the median over the rounds of our wall time divided by the contender's.
    "ours_cpu_ratio" is our median processor time divided by the contender's.

    Args:
        facts: The result of `interleave`.
        ours: Our contender, or a function that returns it for each contender.
    """

    def our(name: str) -> Mapping[str, Sequence[float]]:
        return facts[ours if isinstance(ours, str) else ours(name)]

    processor = {name: statistics.median(each["cpu_ms"]) for name, each in facts.items()}
    return {
        name: {
            "ms_median": round(statistics.median(each["ms"]), 2),
            "ms_min": round(min(each["ms"]), 2),
            "cpu_ms_median": round(processor[name], 2),
            "ours_ratio": round(statistics.median(o / t for o, t in zip(our(name)["ms"], each["ms"], strict=True)), 3),
            "ours_cpu_ratio": round(statistics.median(our(name)["cpu_ms"]) / processor[name], 3),
        }
        for name, each in facts.items()
    }
