"""Start or continue a batch run, and summarise its results."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.batch.manifest import MANIFEST_NAME, BatchTask, Manifest
from cli.batch.parquet import BatchSummary, done_chunks, remove_unfinished_files, summarise_batch
from cli.checks import match_labels
from cli.detect.backends import DetectionOptions
from cli.errors import BatchInterrupted
from detector.engines.support import Precision
from detector.errors import NetworkError, SettingError
from detector.network.spec import Model
from weights.engines.options import EngineOptions
from weights.formats.spec_json import spec_to_json


def new_task(model: Model, precision: Precision, options: DetectionOptions) -> BatchTask:
    """Return the task for this model and these options. Raises UnknownLabel, and NetworkError for a model without a detection head."""
    if not model.spec.is_detector:
        raise NetworkError(f"{model.name} is a backbone without a detection head. Fine-tune it first.")
    classes = match_labels(options.classes, model.spec.labels, model.name)
    digest = hashlib.sha256(spec_to_json(model.spec).encode())
    for name in sorted(model.arrays):
        digest.update(name.encode() + model.arrays[name].tobytes())
    if precision != "float32":
        digest.update(precision.encode())
    confidence = cast(float, options.confidence)  # the command refuses "auto" with --ray
    return BatchTask(model.name, digest.hexdigest(), confidence, options.iou, tuple(classes), str(Path.cwd()))


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Create the output folder, and lock it against other runs. Raises SettingError, OSError."""
    if folder.is_file():
        raise SettingError(f"{folder} is a file. The results need a folder: move the file away, or give another name.")
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / MANIFEST_NAME).exists() and (others := [path.name for path in folder.iterdir() if not path.name.startswith(".")]):
        raise SettingError(f"{folder} has other files, such as {others[0]}. Give a new or empty folder, or that of a run to continue.")
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        with lock:
            yield
    except Timeout as error:
        raise SettingError(f"another run is writing to {folder}. Wait for it, or give another folder.") from error


def open_manifest(folder: Path, task: BatchTask, images: Sequence[Path]) -> Manifest:
    """Read the folder's manifest, or create one. Raises SettingError if its options are not those of `task`."""
    if not (folder / MANIFEST_NAME).exists():
        return Manifest.create(folder, task, images)
    manifest = Manifest.read(folder)
    task.check_same(manifest.task, folder)
    remove_unfinished_files(folder)
    return manifest


def run_batch(folder: Path, manifest: Manifest, model: str | None, engine: EngineOptions, *, console: Console) -> BatchSummary:
    """Process every chunk that has no results yet. Raises BatchInterrupted if Ray cannot continue."""
    from cli.batch.ray_pool import process_chunks  # importing Ray takes seconds

    done = done_chunks(folder)
    remaining = [chunk for chunk in range(manifest.chunks) if chunk not in done]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, redirect_stdout=False) as bar:
        task = bar.add_task("detecting", total=manifest.images)
        bar.update(task, completed=manifest.images - manifest.count(remaining))
        for images in process_chunks(folder, remaining, model, engine) if remaining else ():
            bar.advance(task, images)
    summary = summarise_batch(folder)
    if summary.images != manifest.images:
        raise BatchInterrupted(f"{folder} has {summary.images:,} of {manifest.images:,} results. The same command continues the run.")
    return summary
