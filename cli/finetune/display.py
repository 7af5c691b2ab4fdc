"""A training run on the terminal: a progress bar, a line for each validation, and the results at the end."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from cli.finetune.remaining_time import RemainingTime
from cli.output.terminal import print_next_step
from detector.messages import count_of
from training.events import CacheProgress, Events

if TYPE_CHECKING:
    from training.run.run import Run, RunOutcome


def train(run: "Run") -> "RunOutcome":
    """Train to the end, write the report, and print where the results are. Raises what `Run.train` raises."""
    from training.errors import TrainingError
    from training.evaluation.false_alarms import describe_conclusion
    from training.evaluation.new_classes import advise_longer_run
    from training.report.write import write_report

    try:
        outcome = _train_with_display(run)
    except TrainingError:  # a failed run needs its report most
        if run.setup.group.is_chief:
            write_report(run.folder.path)
        raise
    reason = f"{outcome.reason[:1].upper()}{outcome.reason[1:]}"
    if not run.setup.group.is_chief:
        typer.echo(f"{reason} Worker 0 has the results.")
        return outcome
    report = write_report(outcome.folder)
    best = describe_best(outcome, run.setup.config.watch)
    typer.echo(f"{reason} {best}")
    batches, conclusion = run.setup.batches, run.folder.conclusion()
    for sentence in describe_conclusion(conclusion):
        typer.echo(sentence)
    advice = advise_longer_run(conclusion, steps=batches.steps, steps_per_epoch=batches.steps_per_epoch)
    if advice:
        typer.echo(f"Warning: {advice.reason}: --epochs {advice.epochs}.")
    typer.echo(f"Report: {report}")
    if outcome.interrupted:
        print_next_step("boxwright", "finetune", "--resume", outcome.folder)
    elif outcome.best is not None and not conclusion.get("divergence"):
        _suggest_after_run(run, outcome.folder, conclusion)
    return outcome


def _suggest_after_run(run: "Run", folder: Path, conclusion: Mapping[str, Any]) -> None:
    from training.evaluation.self_check import has_passed, is_self_check

    task = run.setup.task
    if not is_self_check(conclusion):
        print_next_step("boxwright", "detect", "IMAGE", "--model", folder / "best.safetensors", "--confidence", "auto")
    elif has_passed(conclusion):
        print_next_step("boxwright", "finetune", task.dataset, *(("--model", task.model) if task.model else ()))
    else:
        print_next_step("boxwright", "data", "preview", task.dataset, "--set", task.train_set)


def find_rate(run: "Run") -> None:
    """Train with rising learning rates, and print the rate to use."""
    from training.run.lr_finder import find_learning_rate

    search = find_learning_rate(run.trainer, run.setup.batches)
    _, plot = search.write(run.folder.path)
    typer.echo(f"Suggested: --learning-rate {search.suggestion:.1e}")
    typer.echo(f"Loss at each learning rate: {plot}")


def describe_best(outcome: "RunOutcome", watch: str) -> str:
    """Return a sentence about the best validation.

    Args:
        outcome: How the run ended.
        watch: `Config.watch`.
    """
    if outcome.best is None:
        return "The run was never validated."
    measure, value = WATCHED[watch], -outcome.best if watch == "loss" else outcome.best
    return f"Best {measure} {value:.3f} at step {outcome.best_step}: {outcome.folder / 'best.safetensors'}"


def _train_with_display(run: "Run") -> "RunOutcome":
    console = Console(stderr=True)
    where = run.folder.path if run.setup.group.is_chief else f"worker {run.setup.group.shard.index}"
    steps = f"{count_of(run.setup.batches.steps, 'step')}, {run.setup.batches.steps_per_epoch:,} per epoch"
    console.print(f"{where}: {count_of(run.setup.config.epochs, 'epoch')}, {steps}", highlight=False, soft_wrap=True)
    console.print(run.setup.kept.describe(), highlight=False, soft_wrap=True)
    description, steps_done, time_left = (TextColumn(f"{{task.{name}}}") for name in ("description", "completed", "fields[left]"))
    columns = (description, BarColumn(), steps_done, TextColumn("of {task.total} steps"), time_left)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        display = TrainingDisplay(run, console, bar)
        return run.train(display)


WATCHED = {"ap": "AP50", "ap-frequent": "AP50 of frequent classes", "ap-weighted": "AP50 weighted by boxes", "loss": "validation loss"}
"""How the measure of `Config.watch` is printed."""


class TrainingDisplay(Events):
    """Shows the progress of one run."""

    def __init__(self, run: "Run", console: Console, bar: Progress) -> None:
        self._config, self._batches = run.setup.config, run.setup.batches
        self._console, self._bar = console, bar
        self._remaining = RemainingTime(run.state.step, run.setup.batches.steps, time.monotonic())
        self._ap50 = ""
        self._task = bar.add_task("starting", total=run.setup.batches.steps, completed=run.state.step, left="")

    def step_finished(self, metrics: Mapping[str, Any]) -> None:
        """Advance the bar. After a validation, print its line and the warnings about layers."""
        step = metrics["step"]
        epoch, left = f"epoch {metrics['epoch'] + 1}/{self._config.epochs}", self._remaining.describe(step, time.monotonic())
        if "ap50" in metrics:
            self._ap50 = f" · AP50 {metrics['ap50']:.3f}"
            self._ap50 += f" · false alarms {metrics['false_alarms']:.1%}" if "false_alarms" in metrics else ""
            line = f"{epoch}, step {step}{self._ap50} · loss {metrics['loss']:.3f} · validation loss {metrics['val_loss']:.3f} · {left}"
            self._console.print(line, highlight=False, soft_wrap=True)
            for sentence in metrics["sentences"]:
                self._console.print(Text(f"  {sentence}", style="yellow"), soft_wrap=True)
        state = "validating" if self._is_validated(step + 1) else f"loss {metrics['loss']:.2f}"
        self._bar.update(self._task, completed=step, description=f"{epoch}{self._ap50} · {state}", left=left)

    def features_cached(self, progress: CacheProgress) -> None:
        """Show how many features are computed; print a line at the start and at the end."""
        self._bar.update(self._task, description=f"features {progress.done:,}/{progress.total:,}")
        if progress.done == 0:
            self._remaining.pause(time.monotonic())
        if progress.done in (0, progress.total):
            action = "Computing" if progress.done == 0 else "Cached"
            size = f"{progress.file_size / 1e6:,.0f} MB in {progress.path}"
            self._console.print(f"{action} features of {count_of(progress.total, 'view')}: {size}", highlight=False, soft_wrap=True)
        if progress.done == progress.total:
            self._remaining.resume(time.monotonic())

    def _is_validated(self, step: int) -> bool:
        return step % (self._config.check_every * self._batches.steps_per_epoch) == 0 or step == self._batches.steps
