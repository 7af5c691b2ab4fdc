"""`boxwright detect --ray` on the terminal: arguments and messages."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import typer
from rich.console import Console

from cli.batch.manifest import MANIFEST_NAME, Manifest
from cli.batch.parquet import BatchSummary, done_chunks, failed_images
from cli.batch.run import locked_folder, new_task, open_manifest, run_batch
from cli.detect.backends import DetectionOptions
from cli.detect.inputs import STDIN, expand_image_paths
from cli.output.progress import choose_named_engine
from cli.output.terminal import print_image_error
from detector.errors import SettingError
from detector.messages import count_of
from weights.engines.options import EngineOptions

MAX_LISTED_FAILURES = 20  # Failed images that are listed on the terminal. The Parquet files list all of them.


def detect_batch(
    arguments: Sequence[Path], folder: Path, model: str | None, engine: EngineOptions, options: DetectionOptions, *, as_json: bool
) -> bool:
    """Process an archive, or continue where an earlier run ended. Return whether every image was processed.

    Raises:
        SettingError: The arguments contradict each other, or differ from those of the run that is continued.
        UnknownModel, UnknownLabel: There is no such model or label.
        BatchInterrupted: Ray ended the run.
        OSError: A file cannot be read or written.
    """
    if STDIN in arguments:
        raise SettingError("--ray cannot read from standard input. Give files, folders, patterns or a list (NAME.txt).")
    if model and Path(model).is_file():
        model = str(Path(model).resolve())  # the current folder of the worker processes differs
    console = Console(stderr=True)
    choice = choose_named_engine(model, engine)
    engine = replace(engine, engine=choice.engine, precision=choice.precision)  # the same on every machine of a cluster
    task = new_task(choice.load(), choice.precision, options)
    with locked_folder(folder):
        paths, messages = ([], []) if (folder / MANIFEST_NAME).exists() else expand_image_paths(arguments, lists=True)
        for message in messages:
            print_image_error(console, message)
        if messages and not paths:
            return False
        manifest = open_manifest(folder, task, paths)
        console.print(_start_message(folder, manifest), soft_wrap=True, highlight=False)
        summary = run_batch(folder, manifest, model, engine, console=console)
    _print_summary(folder, summary, console, as_json=as_json)
    return not summary.failed and not messages


def _start_message(folder: Path, manifest: Manifest) -> str:
    done = len(done_chunks(folder))
    total = f"{count_of(manifest.images, 'image')} in {count_of(manifest.chunks, 'file')}"
    return f"{folder}: {total}" + (f", {done:,} of them done already" if done else "")


def _print_summary(folder: Path, summary: BatchSummary, console: Console, *, as_json: bool) -> None:
    for image, problem in failed_images(folder, MAX_LISTED_FAILURES):
        print_image_error(console, f"{image}: {problem}")
    if as_json:
        facts = {"photos": summary.images, "boxes": summary.boxes, "problems": summary.problems}
        typer.echo(json.dumps(facts | {"unread": summary.failed, "out": str(folder)}))
        return
    typer.echo(f"{count_of(summary.images - summary.failed, 'image')} processed, {count_of(summary.boxes, 'box')} found: {folder}")
    if summary.failed:
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in summary.problems.items())
        typer.echo(f"{count_of(summary.failed, 'image')} could not be read ({kinds}). The column 'problem' has the reasons.")
