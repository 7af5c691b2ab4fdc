"""report.html: a run on one page that needs nothing else, to be read, kept and sent."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from detector.errors import BoxwrightError
from training.config import Config
from training.report import html as html
from training.report.curves import check_figure, gradient_figure, loss_figure, rate_figure, val_loss_figure
from training.report.layer_heatmaps import flat_figure, is_any, ratio_figure
from training.report.results import results
from training.report.svg import figure_svg
from training.run.record import RunRecord
from weights.atomic_files import atomic_write

NAME = "report.html"
MOST_SENTENCES = 100
MOST_STEPS = 8
"""Steps that are listed behind a sentence."""


def write_report(folder: Path, advance: Callable[[], object] = lambda: None) -> Path:
    """Write report.html into a run's folder: of a run that ended, was killed or still goes on. `advance`: called after each photo.

    What cannot be shown, such as photos that are not there any more, is said in the report. Raises TrainingError where the
    folder is none of a run, ConfigError, OSError.
    """
    record = RunRecord.read(folder)
    text = html.page(f"{folder.name}: fine-tuning", [*_summary(record), *_over_time(record), *_best(record, advance), *_origins(record)])
    with atomic_write(folder / NAME) as file:
        file.write(text.encode())
    return folder / NAME


def _summary(record: RunRecord) -> Iterator[str]:
    yield html.heading(record.folder.path.resolve().name, 1)
    yield html.paragraph(record.ending)
    done = record.rows[-1]["step"] if record.rows else 0
    pairs = [(f"{done:,}", f"steps of {record.steps:,}" if record.steps else "steps")]
    if best := record.best:
        pairs += [(f"{best['ap50']:.3f}", f"AP50 of best.safetensors, step {best['step']:,}"), (f"{best['val_loss']:.3f}", "its val loss")]
    if record.outcome:
        pairs.append((_minutes(record.outcome["seconds"]), "since it began or was last resumed"))
    yield html.facts(pairs)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _over_time(record: RunRecord) -> Iterator[str]:
    yield html.heading("Over the run")
    if not record.rows:
        yield html.paragraph("Not one step was made.")
        return
    figures = {"loss": loss_figure, "rate": rate_figure, "gradient": gradient_figure}
    if record.checks:
        figures = {"loss": loss_figure, "val": val_loss_figure, "ap": check_figure, "rate": rate_figure, "gradient": gradient_figure}
    yield html.grid("plots", (html.plot(figure_svg(name, partial(draw, record))) for name, draw in figures.items()))
    yield html.heading("What the watcher said")
    yield _sentences(record)
    yield from _layers(record)


def _sentences(record: RunRecord) -> str:
    if not record.checks:
        return html.paragraph("There was no check yet; it speaks at checks.")
    if not record.sentences:
        return html.paragraph("Nothing: no layer's gradient vanished or exploded, and in none are most channels dead or saturated.")
    said = [f"{sentence} ({_steps(steps)})" for sentence, steps in record.sentences.items()]
    more = [f"and {len(said) - MOST_SENTENCES} more; metrics.jsonl has them all."] if len(said) > MOST_SENTENCES else []
    return html.listed([*said[:MOST_SENTENCES], *more])


def _steps(steps: list[int]) -> str:
    word = "step" if len(steps) == 1 else "steps"
    more = f" and {len(steps) - MOST_STEPS} more" if len(steps) > MOST_STEPS else ""
    return f"{word} {', '.join(f'{step:,}' for step in steps[:MOST_STEPS])}{more}"


def _layers(record: RunRecord) -> Iterator[str]:
    checks = record.checks
    if not checks:
        return
    yield html.heading("Layer by layer, from the input down")
    yield html.plot(
        figure_svg("ratios", lambda: ratio_figure(checks)),
        "Each layer's gradient as a share of its weights, the median of the 50 steps before each check. Empty: the layer was frozen.",
    )
    for kind in ("dead", "saturated"):
        if is_any(checks, kind):
            drawn = figure_svg(kind, partial(flat_figure, checks, kind))
            yield html.plot(drawn, f"Channels that were {kind} on a whole batch of the validation set.")
        else:
            yield html.paragraph(f"In no layer were as much as 1 % of the channels {kind}, or none has an activation that can be.", "dim")


def _best(record: RunRecord, advance: Callable[[], object]) -> list[str]:
    if not (record.folder.path / "best.safetensors").is_file():
        return [html.heading("Results"), html.paragraph("There is no best.safetensors: the run did not come to its first check.")]
    try:
        return results(record, advance)
    except (BoxwrightError, OSError) as error:
        return [html.heading("Results"), html.paragraph(f"The best model could not be measured again: {error}")]


def _origins(record: RunRecord) -> Iterator[str]:
    yield html.heading("What was asked")
    task = record.task
    yield html.table(
        ("what", "value"), [("data", task.dataset), ("sets", f"{task.train_set}, {task.val_set}"), ("model", task.model or "everyday")]
    )
    yield from _options(record.config)
    yield html.heading("Data and machine")
    data = record.environment.get("data", {})
    rows = [(name, f"{each['photos']:,}", f"{each['boxes']:,}", each["sha256"]) for name, each in data.items()]
    yield html.table(("set", "photos", "boxes", "sha256 of names, sizes, boxes, labels"), rows, numbers=(1, 2))
    packages = record.environment.get("packages", {}).items()
    facts = [(name, record.environment[name]) for name in ("machine", "python") if name in record.environment]
    yield html.table(("what", "version"), [*facts, *packages])


def _options(config: Config) -> Iterator[str]:
    """Those that differ from their defaults, and behind them all."""
    values = {name: (getattr(config, name), field.default, field.description or "") for name, field in Config.model_fields.items()}
    changed = [name for name, (value, default, _) in values.items() if value != default]
    headings = ("option", "value", "default", "what it is")
    rows = {name: (name, _shown(value), _shown(default), what) for name, (value, default, what) in values.items()}
    if changed:
        yield html.paragraph(f"Not as by default: {len(changed)} of {len(rows)} options.")
        yield html.table(headings, [rows[name] for name in changed])
    else:
        yield html.paragraph("Every option as by default.")
    marked = [place for place, name in enumerate(rows) if name in changed]
    yield html.folded("All options", html.table(headings, rows.values(), marked=marked))


def _shown(value: object) -> str:
    return {True: "yes", False: "no", "": "(empty)"}.get(value, f"{value}") if isinstance(value, bool | str) else f"{value}"
