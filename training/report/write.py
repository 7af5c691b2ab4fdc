"""Write report.html: a run on one self-contained page."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from detector.errors import BoxwrightError, MissingExtra
from training.config.options import Config
from training.events import SILENT, Events
from training.report.content import Plot, Results, Table
from training.report.curves import ap_figure, gradient_figure, learning_rate_figure, loss_figure, val_loss_figure
from training.report.layer_heatmaps import dead_units_figure, has_dead_units, ratio_figure
from training.report.results import measure_results
from training.report.svg import figure_svg
from training.report.verdict import headline, next_steps, reliability_warning
from training.run.record import RunRecord
from weights.atomic_files import atomic_write

try:
    from jinja2 import Environment, PackageLoader, StrictUndefined
except ModuleNotFoundError as error:
    raise MissingExtra("reports need jinja2, which is not installed. Install the extra 'train'.") from error

FILE_NAME = "report.html"
MAX_WARNINGS = 100
MAX_LISTED_STEPS = 8  # Steps listed after a warning.


def write_report(folder: Path, events: Events = SILENT) -> Path:
    """Write report.html into a run's folder. The run may be finished, in progress, or killed.

    The report states which parts cannot be shown, for example because images were deleted.

    Args:
        folder: The run's folder.
        events: Receives an event for each evaluated image.

    Returns:
        The path of the report.

    Raises:
        TrainingError: The folder is not a run folder.
        ConfigError: Its config.toml is invalid.
        OSError: A file cannot be read or written.
    """
    record = RunRecord.read(folder)
    environment = Environment(loader=PackageLoader("training.report", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.get_template("report.html.jinja")
    results, no_results = _results(record, events)
    html = template.render(
        title=record.folder.path.resolve().name,
        ending=record.ending,
        headline=headline(record, results),
        reliability_warning=reliability_warning(record, results),
        next_steps=list(next_steps(record, results)),
        curves=_curves(record),
        validated=bool(record.validations),
        warnings=_warnings(record),
        **_layers(record),
        results=results,
        no_results=no_results,
        **_settings(record),
    )
    with atomic_write(folder / FILE_NAME) as file:
        file.write(html.encode())
    return folder / FILE_NAME


def _curves(record: RunRecord) -> list[Plot]:
    if not record.metrics:
        return []
    figures: dict[str, Callable[[RunRecord], Figure]] = {"loss": loss_figure}
    if record.validations:
        figures |= {"val": val_loss_figure, "ap": ap_figure}
    figures |= {"rate": learning_rate_figure, "gradient": gradient_figure}
    return [Plot(figure_svg(name, partial(draw, record))) for name, draw in figures.items()]


def _warnings(record: RunRecord) -> list[str]:
    warnings = [f"{sentence} ({_steps(steps)})" for sentence, steps in record.warnings.items()]
    omitted = len(warnings) - MAX_WARNINGS
    return [*warnings[:MAX_WARNINGS], *([f"and {omitted} more, see metrics.jsonl."] if omitted > 0 else [])]


def _steps(steps: list[int]) -> str:
    more = f" and {len(steps) - MAX_LISTED_STEPS} more" if len(steps) > MAX_LISTED_STEPS else ""
    return f"{'step' if len(steps) == 1 else 'steps'} {', '.join(f'{step:,}' for step in steps[:MAX_LISTED_STEPS])}{more}"


def _layers(record: RunRecord) -> dict[str, Any]:
    validations = record.validations
    if not validations:
        return {"heatmaps": [], "kinds_without_heatmap": []}
    caption = (
        "Gradient norm divided by weight norm of each layer: median of the 50 steps before each validation. Empty: the layer was frozen."
    )
    heatmaps, absent = [Plot(figure_svg("ratios", lambda: ratio_figure(validations)), caption)], []
    for kind in ("dead", "saturated"):
        if has_dead_units(validations, kind):
            svg = figure_svg(kind, partial(dead_units_figure, validations, kind))
            heatmaps.append(Plot(svg, f"Channels that were {kind} on every pixel of a batch of the validation set."))
        else:
            absent.append(kind)
    return {"heatmaps": heatmaps, "kinds_without_heatmap": absent}


def _results(record: RunRecord, events: Events) -> tuple[Results | None, str]:
    """Return the results and "", or None and the reason."""
    if not (record.folder.path / "best.safetensors").is_file():
        return None, "There is no best.safetensors: the run has not completed a validation."
    try:
        return measure_results(record, events), ""
    except (BoxwrightError, OSError) as error:
        return None, f"The best model could not be evaluated: {error}"


def _settings(record: RunRecord) -> dict[str, Table]:
    task = record.task
    sets = f"{task.train_set}, {task.val_set}"
    data = record.environment.get("data", {})
    facts = [(name, record.environment[name]) for name in ("machine", "python") if name in record.environment]
    fingerprints = [(name, f"{each['photos']:,}", f"{each['boxes']:,}", each["sha256"]) for name, each in data.items()]
    return {
        "task": Table(("setting", "value"), [("data", task.dataset), ("sets", sets), ("model", task.model or "everyday")]),
        **_options(record.config),
        "data": Table(("set", "images", "boxes", "SHA-256 of names, sizes, boxes and labels"), fingerprints, numeric=(1, 2)),
        "versions": Table(("component", "version"), [*facts, *record.environment.get("packages", {}).items()]),
    }


def _options(config: Config) -> dict[str, Table]:
    headings = ("option", "value", "default", "description")
    values = {name: (getattr(config, name), field.default, field.description or "") for name, field in Config.model_fields.items()}
    rows = {name: (name, _text(value), _text(default), description) for name, (value, default, description) in values.items()}
    changed = [name for name, (value, default, _) in values.items() if value != default]
    return {
        "changed_options": Table(headings, [rows[name] for name in changed]),
        "options": Table(headings, list(rows.values()), highlighted=[index for index, name in enumerate(rows) if name in changed]),
    }


def _text(value: object) -> str:
    return {True: "yes", False: "no", "": "(empty)"}.get(value, f"{value}") if isinstance(value, bool | str) else f"{value}"
