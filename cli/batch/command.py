"""`boxwright detect --ray` on the terminal: what is asked, what came of it."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from cli.batch.manifest import NAME, Plan
from cli.batch.parquet import Summary, done_chunks, unread
from cli.batch.run import asked_of, claimed, planned, run
from cli.detect.found import Wanted
from cli.detect.inputs import STDIN
from cli.detect.photo_paths import photo_paths
from cli.output.download_bar import load_model
from detector.errors import SettingError
from weights.engines.factory import EngineKind

SHOWN = 20
"""Photos that could not be read are told of, one by one, up to so many; the answers have them all."""


def detect_archive(photos: Sequence[Path], folder: Path, model: str | None, engine: EngineKind, *, wanted: Wanted, as_json: bool) -> bool:
    """Whether every photo was answered. Raises SettingError, UnknownModel, UnknownLabel, Interrupted, OSError."""
    if STDIN in photos:
        raise SettingError("--ray reads no photo from standard input; name files, folders, patterns or a list (NAME.txt).")
    if model and Path(model).is_file():
        model = str(Path(model).resolve())  # for processes that are somewhere else
    console = Console(stderr=True)
    asked = asked_of(load_model(model), wanted)
    with claimed(folder):
        paths, missing = ([], []) if (folder / NAME).exists() else photo_paths(photos, lists=True)
        for sentence in missing:
            console.print(Text(sentence, style="red"), soft_wrap=True)
        if missing and not paths:
            return False
        plan = planned(folder, asked, paths)
        console.print(_beginning(folder, plan), soft_wrap=True)
        summary = run(folder, plan, model, engine, console=console)
    _tell(folder, summary, console, as_json=as_json)
    return not summary.unread and not missing


def _beginning(folder: Path, plan: Plan) -> str:
    done = len(done_chunks(folder))
    return f"{folder}: {plan.photos:,} photos in {plan.chunks:,} files" + (f", {done:,} of which are there already" if done else "")


def _tell(folder: Path, summary: Summary, console: Console, *, as_json: bool) -> None:
    for photo, problem in unread(folder, SHOWN):
        console.print(Text(f"{photo}: {problem}", style="red"), soft_wrap=True)
    if as_json:
        typer.echo(json.dumps(asdict(summary) | {"unread": summary.unread, "out": str(folder)}))
        return
    typer.echo(f"{summary.photos - summary.unread:,} photos answered, {summary.boxes:,} boxes, in {folder}.")
    if summary.unread:
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in summary.problems.items())
        typer.echo(f"{summary.unread:,} photos could not be read ({kinds}); their rows have the reason in the column 'problem'.")
