"""Race of engines on one model: time them in interleaved rounds, each in its own process, and store the winner.

Interleaving matters more than the number of rounds: the speed of a machine drifts, and other programs use it too. Each engine has its own
process, so that its memory can be measured and is freed at the end. The images are noise, because the speed of a network does not depend on
them.
"""

import hashlib
import json
import logging
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from threading import Timer
from typing import Any

from detector.engines.cores import usable_cores
from detector.engines.support import Device, Precision
from weights.atomic_files import atomic_write
from weights.engines import disk_cache
from weights.engines.factory import Choice
from weights.engines.options import EngineKind

logger = logging.getLogger(__name__)

RACE_SECONDS = 1.0  # Total time of all calls in a race.
MIN_ROUNDS, MAX_ROUNDS = 5, 100
TIMEOUT_SECONDS = 120.0  # A process that takes longer to load or to compute is stopped.
WINNER_SUFFIX = ".winner"


@dataclass(frozen=True)
class Job:
    """A model, and the engine that runs it in one process."""

    model: str  # name or file
    engine: EngineKind
    precision: Precision
    input_size: int | None = None
    device: Device = "auto"
    threads: int | None = None  # of one call; None: one per core

    @classmethod
    def of(cls, choice: Choice) -> "Job":
        """Return the job that runs a choice."""
        source, options = choice.source, choice.options
        name = source.entry.name if source.entry else str(source.path)
        return cls(name, choice.engine, choice.precision, options.input_size, options.device)


@dataclass(frozen=True)
class JobResult:
    """The measurements of one job, or its error."""

    job: Job
    input_size: int = 0
    latency_ms: float = 0.0  # median time of one image
    images_per_second: float = 0.0  # with as many parallel calls as the engine and the threads permit
    memory_mib: float = 0.0  # resident memory of the process
    start_seconds: float = 0.0  # from loading the library to the first result
    error: str | None = None


class JobFailed(Exception):
    """The process of a job ended, or reported an error."""


def race(jobs: Sequence[Job], *, seconds: float = RACE_SECONDS, throughput_seconds: float = 0.0) -> list[JobResult]:
    """Run jobs in interleaved rounds.

    Args:
        jobs: What to compare.
        seconds: Time of all calls together. Every job makes at least MIN_ROUNDS calls.
        throughput_seconds: Time of each job's parallel calls; 0 omits them.

    Returns:
        A result for each job, in their order.
    """
    results: dict[Job, JobResult] = {}
    with ExitStack() as stack:
        processes: dict[Job, _Process] = {}
        for job in jobs:
            try:
                processes[job] = stack.enter_context(_start(job))
            except JobFailed as error:
                results[job] = JobResult(job, error=str(error))
        times: dict[Job, list[float]] = {job: [] for job in processes}
        first = sum(_time_call(processes, job, times) for job in processes)
        rounds = min(MAX_ROUNDS, max(MIN_ROUNDS, int(seconds / first))) if first else 0
        for _ in range(rounds):
            for job in processes:
                _time_call(processes, job, times)
        for job, process in processes.items():
            try:
                rate = process.ask(f"throughput {throughput_seconds}") if throughput_seconds else 0.0
                facts = process.facts
                median = 1000 * statistics.median(times[job][1:])
                results[job] = JobResult(job, facts["input_size"], median, rate, facts["memory_mib"], facts["start_seconds"])
            except (JobFailed, statistics.StatisticsError) as error:
                results[job] = JobResult(job, error=str(error))
    return [results[job] for job in jobs]


def race_and_store(choices: Sequence[Choice]) -> Choice | None:
    """Return the stored winner, or race the choices and store it. Return None if no engine ran or the winner cannot be stored."""
    if (known := read_winner(choices)) is not None:
        return known
    path = _winner_path(choices)
    try:
        disk_cache.make_private_folder(path.parent)
        _store(path, {})  # if the winner cannot be stored, the race would be repeated at every start
    except OSError as error:
        logger.warning("the engines are not raced, because the winner cannot be stored: %s", error)
        return None
    results = race([Job.of(choice) for choice in choices])
    timed = [(result.latency_ms, index) for index, result in enumerate(results) if result.error is None]
    for result in results:
        if result.error is not None:
            logger.warning("the engine %s in %s did not run: %s", result.job.engine, result.job.precision, result.error)
    if not timed:
        return None
    winner = choices[min(timed)[1]]
    table = ", ".join(f"{choices[index].engine} {choices[index].precision} {ms:.1f} ms" for ms, index in sorted(timed))
    _store(path, {"engine": winner.engine, "precision": winner.precision, "measured": table})
    logger.info("fastest engine for the next start: %s in %s (%s)", winner.engine, winner.precision, table)
    return winner


def read_winner(choices: Sequence[Choice]) -> Choice | None:
    """Return the stored winner among these choices, or None."""
    path = _winner_path(choices)
    if not path.is_file() or not disk_cache.is_private(path.parent):
        return None
    try:
        stored = json.loads(path.read_bytes())
        engine, precision = stored.get("engine"), stored.get("precision")  # absent while a race runs
    except (OSError, ValueError, AttributeError):
        logger.warning("%s is damaged; the engines are raced again", path)
        return None
    return next((choice for choice in choices if (choice.engine, choice.precision) == (engine, precision)), None)


def _store(path: Path, winner: dict[str, str]) -> None:
    with atomic_write(path) as file:
        file.write(json.dumps(winner).encode())


def _winner_path(choices: Sequence[Choice]) -> Path:
    """Return the path of the winner. Its name is a hash of everything that the race depends on, such as model, libraries and processor."""
    content = [choices[0].source.content_key(), str(choices[0].options.input_size), str(usable_cores())]
    content += [f"{choice.engine} {metadata.version(choice.engine)} {choice.precision}" for choice in choices]
    key = hashlib.blake2b(disk_cache.engine_key(" ".join(content)).encode(), digest_size=16).hexdigest()
    return disk_cache.engines_folder() / f"{key}{WINNER_SUFFIX}"


class _Process:
    """A process that computes on request; see `race_worker`."""

    def __init__(self, job: Job, process: "subprocess.Popen[str]") -> None:
        self._job, self._process = job, process
        self.facts: dict[str, Any] = self.ask(json.dumps(asdict(job)))

    def ask(self, request: str) -> Any:
        """Send one line and return the reply. Raises JobFailed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timer = Timer(TIMEOUT_SECONDS, self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            self._process.stdin.write(f"{request}\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if not line:
            raise JobFailed(f"its process ended with code {self._process.wait()}, or took more than {TIMEOUT_SECONDS:.0f} seconds")
        reply = json.loads(line)
        if isinstance(reply, dict) and "error" in reply:
            raise JobFailed(reply["error"])
        return reply


@contextmanager
def _start(job: Job) -> Iterator[_Process]:
    command = [sys.executable, "-m", "weights.engines.race_worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield _Process(job, process)
        finally:
            process.kill()


def _time_call(processes: dict[Job, _Process], job: Job, times: dict[Job, list[float]]) -> float:
    """Measure one call and return its seconds; 0 if the process has ended, which `race` reports at the end."""
    try:
        seconds = float(processes[job].ask("latency"))
    except JobFailed:
        return 0.0
    times[job].append(seconds)
    return seconds
