"""`boxwright evaluate`: measure the average precision of a model."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import DatasetArgument, DeviceOption, EngineOption, InputSizeOption, JsonOption, ModelOption, PrecisionName
from detector.messages import count_of

if TYPE_CHECKING:
    from detector.detector import Detector
    from detector.engines.support import Precision
    from training.data.voc_reader import Sample
    from training.evaluation.evaluate import Evaluation
    from training.evaluation.false_alarms import FalseAlarms


def evaluate_command(
    dataset: DatasetArgument,
    *,
    image_set: Annotated[str, typer.Option("--set", metavar="NAME", help="Evaluate on this image set of ImageSets/Main.")] = "val",
    model: ModelOption = None,
    engine: EngineOption = None,
    device: DeviceOption = None,
    precision: Annotated[
        PrecisionName | None,
        typer.Option(
            "--precision",
            help="Compute in this precision; auto is the one that 'detect' uses. [dim]\\[default: that of the file][/dim]",
            rich_help_panel="Model",
        ),
    ] = None,
    input_size: InputSizeOption = None,
    plots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write precision-recall curves and the confusion matrix to DIR.")
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Write AP50 into the model file, for '--precision auto'. Requires a .safetensors file.")
    ] = False,
    background: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Also count false alarms on these images, which must show no object of the data set's classes.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the average precision of a model on annotated images, as PASCAL VOC and COCO define it.

    In a pipe, stdout has tab-separated lines: class, boxes, AP50, AP50 (11 points).
    """
    from cli.checks import check_common_labels, check_output_folder
    from cli.extras import require_packages, start_engine_library
    from cli.output.evaluation import print_evaluation, print_evaluation_json
    from cli.output.progress import choose_named_engine
    from detector.detector import Detector
    from training.data.voc_reader import read_set
    from training.evaluation.false_alarms import background_images
    from weights.engines.options import EngineOptions
    from weights.formats.provenance import recorded_confidence

    if record and (model is None or not Path(model).is_file() or input_size is not None):
        raise typer.BadParameter("requires --model FILE.safetensors, and no --input-size.", param_hint="--record")
    check_output_folder("--plots", plots)
    require_packages("boxwright evaluate", "pycocotools", *(("matplotlib",) if plots else ()))
    samples = read_set(dataset, image_set)
    if background:
        background_images(background)  # an error before the evaluation, which can take long
    choice = choose_named_engine(model, EngineOptions(engine or "auto", device or "auto", precision, input_size))
    loaded = choice.load()
    check_common_labels(samples, loaded.spec.labels, loaded.name)
    start_engine_library(engine)
    detector = Detector(loaded.spec, choice.build(loaded))
    result = _evaluate(detector, samples)
    false_alarms = _false_alarms(detector, result, background) if background else {}
    if as_json:
        print_evaluation_json(result, loaded.name, detector.engine, false_alarms)
    else:
        suggested = recorded_confidence(loaded.provenance, list(result.classes))
        print_evaluation(result, false_alarms, model or loaded.name, suggests_confidence=bool(suggested))
    if record:
        _record(result, Path(str(model)), detector.engine.precision, f"({dataset.resolve().name}, {image_set})")
    if plots is not None:
        _write_plots(result, plots)


def _evaluate(detector: "Detector", samples: Sequence["Sample"]) -> "Evaluation":
    """Run the detector on the samples with a progress bar, and print a warning about unusable boxes."""
    from cli.output.progress import progress_bar
    from cli.output.progress_events import ProgressEvents
    from cli.output.terminal import print_note
    from training.evaluation.evaluate import evaluate_detector

    with progress_bar("evaluating", len(samples)) as advance:
        result = evaluate_detector(detector, samples, events=ProgressEvents(advance))
    if result.warning:
        print_note(result.warning)
    return result


def _false_alarms(detector: "Detector", result: "Evaluation", folder: Path) -> "dict[str, FalseAlarms]":
    """Count false alarms in background images: of each class of the data set, and of all of them together."""
    from cli.output.progress import progress_bar
    from cli.output.progress_events import ProgressEvents
    from training.evaluation.false_alarms import count_false_alarms, detect_in_background

    with progress_bar("background") as advance:
        found = detect_in_background(detector, folder, events=ProgressEvents(advance))
    class_ids = {label: [result.labels.index(label)] for label in result.classes}
    class_ids |= {"any of them": [index for each in class_ids.values() for index in each]} if len(class_ids) > 1 else {}
    return {label: count_false_alarms(found, each) for label, each in class_ids.items()}


def _record(result: "Evaluation", model: Path, precision: "Precision", source: str) -> None:
    from cli.output.terminal import print_note
    from weights.engines.precision import add_provenance, ap_record

    number = count_of(len(result.truths), "image").replace(",", "")  # records are compared with those of earlier versions, without commas
    add_provenance(model, ap_record(precision, result.ap50, result.ap50_frequent, f"{number} {source}"))
    print_note(f"AP50 in {precision} is recorded in {model}")


def _write_plots(result: "Evaluation", folder: Path) -> None:
    from cli.output.terminal import print_note
    from training.evaluation.plots import plot_evaluation

    folder.mkdir(parents=True, exist_ok=True)
    plot_evaluation(result, folder)
    print_note(f"Plots in {folder}")
