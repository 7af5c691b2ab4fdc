"""runs/NAME-001: what a run was told, where it ran, what it measured, and what came of it.

config.toml  run.json  environment.json  metrics.csv  metrics.jsonl  checkpoints/  best.safetensors  last.safetensors  outcome.json
tensorboard/  report.html
"""

import csv
import hashlib
import io
import json
import logging
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from training.config import Config
from training.errors import TrainingError
from training.voc import Sample
from weights.atomic import replacing

PACKAGES = ("boxwright", "numpy", "pillow", "tensorflow", "keras", "onnxruntime")
COLUMNS = ("step", "epoch", "size", "learning_rate", "loss", "box", "object", "no_object", "class", "prior", "l2", "gradient")
CHECKED = ("val_loss", "ap50")
"""Columns of metrics.csv; these two are filled where a check followed the step. metrics.jsonl says more then."""

_log = logging.getLogger("boxwright.training")

Row = dict[str, Any]
"""A step's numbers, as metrics.jsonl has them."""


@dataclass(frozen=True)
class Task:
    """What is learned from what."""

    dataset: str  # the folder
    train_set: str
    val_set: str
    model: str | None  # a name or file, as `weights.resolve.load` takes it


@dataclass(frozen=True)
class RunFolder:
    """One run on disk."""

    path: Path

    @classmethod
    def create(cls, out: Path, task: Task, config: Config) -> "RunFolder":
        """A new folder under `out`, called as the data set with the next free number."""
        out.mkdir(parents=True, exist_ok=True)
        name = Path(task.dataset).resolve().name
        number = 1
        while True:
            path = out / f"{name}-{number:03d}"
            try:
                path.mkdir()
                break
            except FileExistsError:
                number += 1
        _write(path / "config.toml", config.to_toml())
        _write(path / "run.json", json.dumps(asdict(task), indent=2) + "\n")
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> tuple["RunFolder", Task, Config]:
        """A run to go on with. Raises TrainingError where the folder is none, ConfigError."""
        try:
            task = Task(**json.loads((path / "run.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise TrainingError(f"{path}: not the folder of a run ({error}). Give one that `boxwright finetune` made.") from error
        return cls(path), task, Config.read(path / "config.toml")

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    def describe(self, train: Sequence[Sample], val: Sequence[Sample], threads: int) -> None:
        """Write environment.json, or compare with what it says. Raises TrainingError where the data have changed since; tells the log
        where another number of threads computes, which changes the last bits."""
        data = {"train": fingerprint(train), "val": fingerprint(val)}
        before = self.environment()
        if not before:
            facts = {"python": platform.python_version(), "machine": platform.platform(), "threads": threads, "packages": versions()}
            _write(self._environment, json.dumps(facts | {"data": data}, indent=2) + "\n")
        elif before["data"] != data:
            raise TrainingError(f"{self.path}: the data set has changed since this run began, so it cannot go on. Start a new run.")
        elif before.get("threads", threads) != threads:
            _log.warning(
                "%s began with %d threads and goes on with %d: the last bits of its weights will not be those of a run that nothing "
                "interrupted. TF_NUM_INTRAOP_THREADS=%d makes them so.", self.path, before["threads"], threads, before["threads"],
            )  # fmt: skip

    def rows(self) -> list[Row]:
        """The numbers of every step so far. A line without its end, as a kill may leave it, is left out."""
        path = self.path / "metrics.jsonl"
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        return [json.loads(line) for line in text.split("\n")[:-1]]

    def forget_after(self, step: int) -> None:
        """Keep the metrics of the first `step` steps: those after a checkpoint are made again."""
        kept = [row for row in self.rows() if row["step"] <= step]
        _write(self.path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in kept))
        _write(self.path / "metrics.csv", _csv(kept, heading=True))

    def add(self, row: Row) -> None:
        """Append a step's numbers to metrics.jsonl and metrics.csv."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        path = self.path / "metrics.csv"
        text = _csv([row], heading=not path.is_file())
        with path.open("a", encoding="utf-8", newline="") as file:
            file.write(text)

    def begin(self) -> None:
        """The run goes on: how it once ended is no longer true."""
        self._outcome.unlink(missing_ok=True)

    def end(self, why: str, *, step: int, seconds: float) -> None:
        """Write outcome.json: why the run ended (a sentence), after which step, and how long it went since it began or was resumed."""
        _write(self._outcome, json.dumps({"why": why, "step": step, "seconds": round(seconds, 1)}, indent=2) + "\n")

    def outcome(self) -> dict[str, Any] | None:
        """What `end` wrote; None of a run that goes on or was killed."""
        return json.loads(self._outcome.read_text(encoding="utf-8")) if self._outcome.is_file() else None

    @property
    def how_to_go_on(self) -> str:
        """For the end of a message of what ended the run."""
        return f"The last checkpoint is in {self.checkpoints}; --resume {self.path} goes on from it."

    @property
    def _outcome(self) -> Path:
        return self.path / "outcome.json"

    def environment(self) -> dict[str, Any]:
        """What `describe` wrote; empty where it did not come to that."""
        return json.loads(self._environment.read_text(encoding="utf-8")) if self._environment.is_file() else {}

    @property
    def _environment(self) -> Path:
        return self.path / "environment.json"


class NoFolder(RunFolder):
    """A run on a worker that writes nothing: its chief does."""

    def __init__(self) -> None:
        super().__init__(Path("run"))

    def describe(self, train: Sequence[Sample], val: Sequence[Sample], threads: int) -> None:
        """Nothing."""

    def rows(self) -> list[Row]:
        """None."""
        return []

    def add(self, row: Row) -> None:
        """Nothing."""

    def begin(self) -> None:
        """Nothing."""

    def end(self, why: str, *, step: int, seconds: float) -> None:
        """Nothing."""

    @property
    def how_to_go_on(self) -> str:
        """For the end of a message of what ended the run."""
        return "The last checkpoint is with worker 0; --resume there goes on from it."


def _csv(rows: Iterable[Row], *, heading: bool) -> str:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, (*COLUMNS, *CHECKED), restval="", extrasaction="ignore")
    if heading:
        writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def fingerprint(samples: Sequence[Sample]) -> dict[str, Any]:
    """Photos, boxes, and a sha256 of names, photo sizes in bytes, boxes and labels."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.name}\0{sample.photo.stat().st_size}\0{sample.labels}\0".encode())
        digest.update(sample.boxes.tobytes() + sample.difficult.tobytes())
    return {"photos": len(samples), "boxes": sum(len(sample.boxes) for sample in samples), "sha256": digest.hexdigest()}


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Which versions are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


def _write(path: Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode())
