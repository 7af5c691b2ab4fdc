"""A run folder such as runs/NAME-001: its options, environment, metrics, checkpoints, models and outcome.

config.toml  run.json  environment.json  metrics.csv  metrics.jsonl  checkpoints/  best.safetensors  last.safetensors  outcome.json
conclusion.json  tensorboard/  report.html
"""

import errno
import json
import logging
import platform
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from detector.network.shapes import Arrays
from training.config.environment import intra_op_threads, package_versions
from training.config.options import Config
from training.config.task import Task
from training.data.voc_reader import Sample, data_fingerprint, label_partially
from training.errors import TrainingError
from training.run.metrics_log import MetricsLog
from weights.atomic_files import atomic_write
from weights.formats.safetensors_header import arrays_digest

logger = logging.getLogger("boxwright.training")


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @classmethod
    def create(cls, out: Path, task: Task, config: Config) -> "RunFolder":
        """Create a folder under `out`, named after the data set and the next free number. Raises OSError."""
        out.mkdir(parents=True, exist_ok=True)
        temporary = out / f".{secrets.token_hex(8)}.part"
        temporary.mkdir()
        _write(temporary / "config.toml", config.to_toml())
        _write(temporary / "run.json", _json(asdict(task)))
        return cls(_rename_numbered(temporary, out / Path(task.dataset).resolve().name))

    @classmethod
    def open(cls, path: Path) -> tuple["RunFolder", Task, Config]:
        """Open the folder of an existing run. Raises TrainingError if it is not a run folder, ConfigError."""
        try:
            task = Task(**json.loads((path / "run.json").read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            problem = "it has no run.json" if path.is_dir() else "there is no such folder"
            raise TrainingError(f"{path}: not a run folder: {problem}. Give a folder that 'boxwright finetune' created.") from error
        except (OSError, ValueError, TypeError) as error:
            raise TrainingError(f"{path}: not a run folder ({error}). Give a folder that 'boxwright finetune' created.") from error
        return cls(path), task, Config.read(path / "config.toml")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder inside the context, so that only one process trains the run. Raises TrainingError if another one does."""
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(blocking=False)
        except Timeout as error:
            raise TrainingError(f"{self.path}: another process is training this run. Wait until it ends, or end it.") from error
        try:
            yield
        finally:
            lock.release()

    def check_unlocked(self) -> None:
        """Raise TrainingError if another process is training the run."""
        with self.locked():
            pass

    def relocate(self, task: Task) -> None:
        """Rewrite run.json with the current paths of data and model, after the run has been moved to another machine."""
        _write(self.path / "run.json", _json(asdict(task)))

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> MetricsLog:
        """metrics.jsonl and metrics.csv."""
        return MetricsLog(self.path)

    @property
    def has_checkpoint(self) -> bool:
        """True if there is a checkpoint, intact or damaged."""
        return any(self.checkpoints.glob("*.safetensors"))

    @property
    def resume_hint(self) -> str:
        """Last sentence of a message about an interrupted or failed run."""
        return f"The last checkpoint is in {self.checkpoints}. Resume with --resume {self.path}."

    def record_environment(
        self,
        train: Sequence[Sample],
        val: Sequence[Sample],
        initial_arrays: Arrays,
        *,
        memory: str | None = None,
        labelled: Sequence[str] | None = None,
        task: Task | None = None,
    ) -> None:
        """Write environment.json, or compare this environment with the recorded one.

        Logs a warning if package versions or the number of threads have changed, since both affect the last bits of the weights.

        Args:
            train: Training set as read.
            val: Validation set as read.
            initial_arrays: Weights that the run starts with.
            memory: Checksum of the memory that the run trains on.
            labelled: Exhaustive labels of the samples without `labelled`. None: all labels.
            task: Data set and model that a resumed run is given. Default: those of run.json.

        Raises:
            TrainingError: Data, initial weights or memory have changed since the run began.
        """
        now = {"python": platform.python_version(), "machine": platform.platform(), "threads": intra_op_threads()}
        now |= {"packages": package_versions(), "start": arrays_digest(dict(sorted(initial_arrays.items())))}
        now |= {"data": _fingerprints(train, val)}
        now |= {name: value for name, value in (("memory", memory), ("labelled", labelled)) if value is not None}
        recorded = self.environment()
        if not recorded:
            _write(self.path / "environment.json", _json(now))
            return
        if labelled is not None and recorded.get("data") == _fingerprints(label_partially(train, labelled), label_partially(val, labelled)):
            now["data"] = recorded["data"]  # earlier versions included the exhaustive labels
        self._check_inputs(recorded, now, task)
        self._warn_of_changes(recorded, now)

    def _check_inputs(self, recorded: Mapping[str, Any], now: Mapping[str, Any], given: Task | None) -> None:
        """Raise TrainingError if data, initial weights or memory are not those of the run."""
        _, used, _ = RunFolder.open(self.path)
        data, model = (used.dataset, (given or used).dataset), (used.model or "everyday", (given or used).model or "everyday")
        for key, description, (old, new) in (
            ("data", "the data set", data),
            ("start", "the initial model", model),
            ("memory", "the memory of the initial model", model),
        ):
            if recorded.get(key) == now.get(key):
                continue
            if old != new:
                advice = f"Resume with {old}, or start a new run."
                raise TrainingError(f"{self.path}: this run used {description} {old}. {new} has other content. {advice}")
            raise TrainingError(f"{self.path}: {description} has changed since this run began, so it cannot be resumed. Start a new run.")

    def _warn_of_changes(self, recorded: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        versions: Mapping[str, str] = recorded.get("packages", {})
        changes = [f"{name} {versions[name]} -> {new}" for name, new in now["packages"].items() if versions.get(name, new) != new]
        threads = recorded.get("threads", now["threads"])
        if threads != now["threads"]:
            changes.append(f"threads {threads} -> {now['threads']} (set TF_NUM_INTRAOP_THREADS={threads} to restore)")
        if changes:
            logger.warning(
                "%s: the environment has changed since the run began: %s. The last bits of the weights may differ.",
                self.path, "; ".join(changes),
            )  # fmt: skip

    def environment(self) -> dict[str, Any]:
        """Return the content of environment.json, or {} if the run ended before it was written."""
        return self._read("environment.json") or {}

    def clear_outcome(self) -> None:
        """Delete outcome.json and conclusion.json, because the run continues."""
        (self.path / "outcome.json").unlink(missing_ok=True)
        (self.path / "conclusion.json").unlink(missing_ok=True)

    def write_outcome(self, reason: str, *, step: int, seconds: float) -> None:
        """Write outcome.json.

        Args:
            reason: Why the run ended, as a sentence.
            step: The last step.
            seconds: Duration since the run began or was last resumed.
        """
        _write(self.path / "outcome.json", _json({"why": reason, "step": step, "seconds": round(seconds, 1)}))

    def outcome(self) -> dict[str, Any] | None:
        """Return the content of outcome.json, or None if the run is in progress or was killed."""
        return self._read("outcome.json")

    def write_conclusion(self, conclusion: Mapping[str, Any]) -> None:
        """Write conclusion.json: false alarms, confidence thresholds, and facts about the new memory."""
        _write(self.path / "conclusion.json", _json(conclusion))

    def conclusion(self) -> dict[str, Any]:
        """Return the content of conclusion.json, or {} if it does not exist: the run is not complete, or was never validated."""
        return self._read("conclusion.json") or {}

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


class WorkerFolder(RunFolder):
    """The run folder of a worker that is not the chief. Nothing is written."""

    def __init__(self) -> None:
        super().__init__(Path("run"))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Do nothing: the chief locks its folder."""
        yield

    def record_environment(self, *_: object, **__: object) -> None:
        """Do nothing."""

    def clear_outcome(self) -> None:
        """Do nothing."""

    def write_outcome(self, reason: str, *, step: int, seconds: float) -> None:
        """Do nothing."""

    @property
    def resume_hint(self) -> str:
        """Last sentence of a message about an interrupted or failed run."""
        return "The last checkpoint is on worker 0. Resume there with --resume."


def _fingerprints(train: Sequence[Sample], val: Sequence[Sample]) -> dict[str, Any]:
    return {"train": data_fingerprint(train), "val": data_fingerprint(val)}


def _rename_numbered(temporary: Path, name: Path) -> Path:
    """Rename the folder to NAME-001, or to the next free number. It is safe if other processes do the same."""
    number = 0
    while True:
        number += 1
        path = name.with_name(f"{name.name}-{number:03d}")
        if path.exists():  # rename would replace an empty folder
            continue
        try:
            return temporary.rename(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode())
