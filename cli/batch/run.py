"""An archive run from its beginning, or from where it was interrupted, to its summary."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.batch.errors import Interrupted
from cli.batch.manifest import NAME, Asked, Plan
from cli.batch.parquet import Summary, done_chunks, remove_unfinished, summarise
from cli.detect.found import Wanted
from detector.errors import NetworkError, SettingError, UnknownLabel
from detector.spec import Model
from weights.engines.factory import EngineKind
from weights.formats.spec_json import spec_to_json


def asked_of(model: Model, wanted: Wanted) -> Asked:
    """What is asked of every photo. Raises UnknownLabel, and NetworkError for a stem."""
    if not model.spec.is_detector:
        raise NetworkError(f"{model.name} has no anchors: it is a stem to train upon, not a detector.")
    if unknown := set(wanted.classes) - set(model.spec.labels):
        raise UnknownLabel(f"{model.name} has no class {min(unknown)[:80]!r}; it knows {', '.join(model.spec.labels)}.")
    digest = hashlib.sha256(spec_to_json(model.spec).encode())
    for name in sorted(model.arrays):
        digest.update(name.encode() + model.arrays[name].tobytes())
    return Asked(model.name, digest.hexdigest(), wanted.confidence, wanted.iou, tuple(wanted.classes), str(Path.cwd()))


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """The folder of answers, made, and this run's alone. Raises SettingError where another run has it, OSError."""
    if folder.is_file():
        raise SettingError(f"{folder} is a file; the answers want a folder of that name. Move it away, or give another name.")
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / NAME).exists() and (others := [path.name for path in folder.iterdir() if not path.name.startswith(".")]):
        raise SettingError(
            f"{folder} has other files in it, such as {others[0]}. Give a folder that is new or empty, or one to go on with."
        )
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        with lock:
            yield
    except Timeout as error:
        raise SettingError(f"another run writes to {folder}. Wait for it, or give another folder.") from error


def planned(folder: Path, asked: Asked, photos: Sequence[Path]) -> Plan:
    """The plan that is there, or a new one. Raises SettingError where the one that is there asks for something else."""
    if not (folder / NAME).exists():
        return Plan.begin(folder, asked, photos)
    plan = Plan.read(folder)
    asked.check_same(plan.asked, folder)
    remove_unfinished(folder)
    return plan


def run(folder: Path, plan: Plan, model: str | None, engine: EngineKind, *, console: Console) -> Summary:
    """Answers every photo that has no answer yet. Raises Interrupted where Ray cannot go on."""
    from cli.batch.ray_pool import answered  # not before there is something to do: it takes seconds

    done = done_chunks(folder)
    left = [chunk for chunk in range(plan.chunks) if chunk not in done]
    with _bar(console) as bar:
        task = bar.add_task("detecting", total=plan.photos)
        bar.update(task, completed=plan.photos - plan.count(left))
        for photos in answered(folder, left, model, engine) if left else ():
            bar.advance(task, photos)
    summary = summarise(folder)
    if summary.photos != plan.photos:
        raise Interrupted(f"{folder} has {summary.photos:,} answers and should have {plan.photos:,}. The same command goes on.")
    return summary


def _bar(console: Console) -> Any:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal, redirect_stdout=False)
