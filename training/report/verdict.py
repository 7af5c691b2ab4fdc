"""The beginning of the report: how good the model is, how reliable that number is, and what to do next."""

from collections.abc import Iterator
from math import isnan
from shlex import quote

from detector.messages import count_of
from training.evaluation.false_alarms import SOURCES, few_boxes_warning, suggested_confidence
from training.evaluation.new_classes import advise_longer_run
from training.evaluation.self_check import describe_self_check, has_passed, is_self_check
from training.report.content import NextStep, Results
from training.run.record import RunRecord


def headline(record: RunRecord, results: Results | None) -> list[tuple[str, str]]:
    """Return the most important numbers with descriptions: AP50, size of the validation set, false alarms, and steps."""
    facts = []
    best = record.best
    step = f" (step {best['step']:,})" if best else ""
    if results:
        value = "no boxes" if isnan(results.ap50) else f"{results.ap50:.3f}"
        source = (
            f"of {results.image_set!r}, to train and to validate"
            if record.config.overfit
            else f"in the validation set {results.image_set!r}"
        )
        facts += [(value, f"AP50 of best.safetensors{step}"), (_size(results), source)]
    elif best:
        facts.append((f"{best['ap50']:.3f}", f"AP50 of best.safetensors{step}"))
    if results and len(results.boxes) > 1:
        facts += _single_new_class(record)
    facts += [*_found(record), *_false_alarms(record)]
    done = record.metrics[-1]["step"] if record.metrics else 0
    facts.append((f"{done:,}", f"steps of {record.steps:,}" if record.steps else "steps"))
    if record.outcome:
        facts.append((_duration(record.outcome["seconds"]), "training time since the last start"))
    return facts


def reliability_warning(record: RunRecord, results: Results | None) -> str | None:
    """Return a sentence if a class has so few boxes in the validation set that its AP50 is not reliable, or the result of a self-check."""
    if record.config.overfit:
        conclusion = record.folder.conclusion()
        return describe_self_check(conclusion) if is_self_check(conclusion) else "This run is a self-check. It is not complete."
    warning = few_boxes_warning(results.boxes) if results else None
    return f"{warning[:1].upper()}{warning[1:]}" if warning else None


def next_steps(record: RunRecord, results: Results | None) -> Iterator[NextStep]:
    """Yield advice with the commands to run, most useful first."""
    run, data = quote(str(record.folder.path)), quote(record.task.dataset)
    model = quote(str(record.folder.path / "best.safetensors"))
    if record.outcome is None or record.outcome["why"].lower().startswith("interrupted"):
        yield NextStep("Continue this run from its last checkpoint:", f"boxwright finetune --resume {run}")
    if results is None:
        return
    divergence = record.folder.conclusion().get("divergence")
    if divergence:
        command = f"boxwright finetune {data} --learning-rate {divergence['learning_rate']}"
        yield NextStep(f"{divergence['reason']}. Start a new run:", command)
    elif any(results.mistakes) and not record.config.overfit:
        yield NextStep(
            "Look at the worst mistakes. If a box is missing or wrong in the data, correct the annotation, check the data and train again:",
            f"boxwright data check {data}\nboxwright finetune {data}",
        )
    if record.config.overfit:
        yield from _steps_after_self_check(record)
        return
    last = record.validations[-1]["step"] if record.validations else None
    if advice := advise_longer_run(record.folder.conclusion(), steps=record.steps or 0, steps_per_epoch=record.steps_per_epoch or 1):
        yield NextStep(f"{advice.reason}:", f"boxwright finetune {data} --epochs {advice.epochs}")
    elif not divergence and record.best and record.best["step"] == last and len(record.validations) > 1:
        epochs = 2 * record.config.epochs
        yield NextStep("The last validation was the best one, so longer training may help:", f"boxwright finetune {data} --epochs {epochs}")
    thresholds = suggested_confidence(record.folder.conclusion())
    confidence = f" at the suggested confidence ({thresholds})" if thresholds else ""
    yield NextStep(
        f"Try the model on new images{confidence}:", f"boxwright detect IMAGE_OR_FOLDER --model {model} --confidence auto --out annotated"
    )
    yield NextStep("Serve it over HTTP, with a page to try it:", f"boxwright serve --model {model}")


def _steps_after_self_check(record: RunRecord) -> Iterator[NextStep]:
    data, conclusion = quote(record.task.dataset), record.folder.conclusion()
    if is_self_check(conclusion) and has_passed(conclusion):
        yield NextStep("Train on all images:", f"boxwright finetune {data}")
        return
    yield NextStep("Look at the images and their boxes:", f"boxwright data check {data}\nboxwright data preview {data}")
    command = f"boxwright finetune {data} --overfit {record.config.overfit} --epochs {2 * record.config.epochs}"
    yield NextStep("If the boxes are right, repeat the self-check with more epochs:", command)


def _single_new_class(record: RunRecord) -> list[tuple[str, str]]:
    """Return the AP50 of the new class, which the mean over all classes hides. Several new classes are in the table by class."""
    measured = record.folder.conclusion().get("new_ap50", {})
    return [(f"{ap50:.3f}", f"AP50 of the new class {label}") for label, ap50 in measured.items()] if len(measured) == 1 else []


def _found(record: RunRecord) -> list[tuple[str, str]]:
    """Return how many validation boxes of the new classes are found, which AP50 does not show."""
    found = record.folder.conclusion().get("found", {}).values()
    boxes, default, suggested = (sum(each[key] for each in found) for key in ("boxes", "0.25", "suggested"))
    text = "objects of new classes found at confidence 0.25"
    if suggested_confidence(record.folder.conclusion()):
        text += f" ({suggested:,} at the suggested confidence)"
    return [(f"{default:,} of {boxes:,}", text)] if boxes else []


def _false_alarms(record: RunRecord) -> list[tuple[str, str]]:
    """Return the false alarms that the run measured at its end, if any."""
    measured = record.folder.conclusion().get("false_alarms", {})
    return [
        (
            f"{shares['0.25']:.1%}",
            f"false alarms at confidence 0.25 in {shares['images']:,} {SOURCES[source]} ({shares['0.5']:.1%} at 0.5)",
        )
        for source, shares in measured.items()
    ]


def _size(results: Results) -> str:
    return f"{count_of(results.images, 'image')}, {count_of(sum(results.boxes.values()), 'box')}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
