"""runs/NAME-001: what a run was told, where it ran, what it measured, and what came of it.

config.toml  run.json  environment.json  metrics.csv  metrics.jsonl  checkpoints/  best.safetensors  last.safetensors  outcome.json
tensorboard/  report.html
"""

import csv
import errno
import hashlib
import io
import json
import logging
import platform
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from detector.shapes import Arrays
from training.config import Config
from training.errors import TrainingError
from training.voc import Sample
from weights.atomic import replacing

PACKAGES = ("boxwright", "numpy", "pillow", "tensorflow", "keras", "onnxruntime")
COLUMNS = ("step", "epoch", "size", "learning_rate", "loss", "box", "object", "no_object", "class", "prior", "l2", "gradient")
CHECKED = ("val_loss", "ap50", "ap50_frequent", "ap50_weighted")
"""Columns of metrics.csv; these are filled where a check followed the step. metrics.jsonl says more then."""

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
        begun = out / f".{secrets.token_hex(8)}.part"
        begun.mkdir()
        _write(begun / "config.toml", config.to_toml())
        _write(begun / "run.json", json.dumps(asdict(task), indent=2) + "\n")
        return cls(_numbered(begun, out / name))

    @classmethod
    def open(cls, path: Path) -> tuple["RunFolder", Task, Config]:
        """A run to go on with. Raises TrainingError where the folder is none, ConfigError."""
        try:
            task = Task(**json.loads((path / "run.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise TrainingError(f"{path}: not the folder of a run ({error}). Give one that `boxwright finetune` made.") from error
        return cls(path), task, Config.read(path / "config.toml")

    def relocate(self, task: Task) -> None:
        """Note where the data and the model are now, after the run has been moved to another machine."""
        _write(self.path / "run.json", json.dumps(asdict(task), indent=2) + "\n")

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def was_saved(self) -> bool:
        """Whether there is a checkpoint, damaged or not."""
        return any(self.checkpoints.glob("*.safetensors"))

    def describe(self, train: Sequence[Sample], val: Sequence[Sample], start: Arrays, threads: int) -> None:
        """Write environment.json, or compare with what it says. start: the arrays that the run begins with.

        Raises TrainingError where they or the data have changed since; tells the log where other versions, or another number of threads,
        compute, which changes the last bits.
        """
        facts = {"python": platform.python_version(), "machine": platform.platform(), "threads": threads, "packages": versions()}
        facts |= {"start": _digest(start), "data": {"train": fingerprint(train), "val": fingerprint(val)}}
        before = self.environment()
        if not before:
            _write(self._environment, json.dumps(facts, indent=2) + "\n")
        for name, what in (("data", "the data set"), ("start", "the model that it starts with")):
            if before.get(name, facts[name]) != facts[name]:
                raise TrainingError(f"{self.path}: {what} has changed since this run began, so it cannot go on. Start a new run.")
        self._compare(before, facts)

    def _compare(self, before: Row, now: Row) -> None:
        """Tell the log of what changes the last bits of the weights."""
        was: Row = before.get("packages", {})
        changed = [f"{name} {was[name]} and now {found}" for name, found in now["packages"].items() if was.get(name, found) != found]
        threads = before.get("threads", now["threads"])
        if threads != now["threads"]:
            cure = f"TF_NUM_INTRAOP_THREADS={threads} makes them so."
            changed.append(f"{threads} threads and goes on with {now['threads']}: {cure}")
        if changed:
            _log.warning("%s began with %s. The last bits of its weights may not be those of a run that nothing interrupted.",
                         self.path, "; ".join(changed))  # fmt: skip

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

    def describe(self, train: Sequence[Sample], val: Sequence[Sample], start: Arrays, threads: int) -> None:
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


def _numbered(begun: Path, name: Path) -> Path:
    """Give the folder its name and the next free number. Other processes may be doing so, too."""
    number = 0
    while True:
        number += 1
        path = name.with_name(f"{name.name}-{number:03d}")
        if path.exists():  # an empty folder would be replaced
            continue
        try:
            return begun.rename(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


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
        if sample.labelled is not None or sample.crowd.any():  # otherwise the digest is that of runs that began without these
            digest.update(f"{sample.labelled and sorted(sample.labelled)}".encode() + sample.crowd.tobytes())
    return {"photos": len(samples), "boxes": sum(len(sample.boxes) for sample in samples), "sha256": digest.hexdigest()}


def _digest(arrays: Arrays) -> str:
    """A sha256 of names and numbers."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}\0".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


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
