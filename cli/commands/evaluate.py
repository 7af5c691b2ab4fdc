"""`boxwright evaluate`: measure the average precision of a model."""

from pathlib import Path
from typing import Annotated

import typer

from cli.options import DatasetArgument, EngineOption, JsonOption, ModelOption


def evaluate_command(
    dataset: DatasetArgument,
    *,
    image_set: Annotated[str, typer.Option("--set", metavar="NAME", help="Evaluate on this image set of ImageSets/Main.")] = "val",
    model: ModelOption = None,
    engine: EngineOption = None,
    plots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write precision-recall curves and the confusion matrix to DIR.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the average precision of a model on annotated images, as PASCAL VOC and COCO define it.

    In a pipe, stdout has tab-separated lines: class, boxes, AP50, AP50 (11 points).
    """
    import json

    from cli.checks import check_common_labels, check_output_folder, read_samples
    from cli.extras import require_packages, start_tensorflow
    from cli.output.evaluation import evaluation_facts, print_evaluation
    from cli.output.progress import load_named_model, progress_bar
    from cli.output.progress_events import ProgressEvents
    from cli.output.terminal import print_note
    from detector.detector import Detector
    from training.evaluation.evaluate import evaluate_detector
    from weights.engines.factory import build_engine

    check_output_folder("--plots", plots)
    require_packages("boxwright evaluate", "pycocotools", *(("matplotlib",) if plots else ()))
    samples = read_samples(dataset, image_set)
    loaded = load_named_model(model)
    check_common_labels(samples, loaded.spec.labels, loaded.name)
    if engine in ("tensorflow", "tensornets"):
        start_tensorflow(f"--engine {engine}")
    detector = Detector(loaded.spec, build_engine(loaded, engine or "auto"))
    with progress_bar("evaluating", len(samples)) as advance:
        result = evaluate_detector(detector, samples, events=ProgressEvents(advance))
    if result.warning:
        print_note(result.warning)
    if as_json:
        typer.echo(json.dumps({"model": loaded.name, "engine": detector.engine.name} | evaluation_facts(result), indent=2))
    else:
        print_evaluation(result)
    if plots is not None:
        from training.evaluation.plots import plot_evaluation

        plots.mkdir(parents=True, exist_ok=True)
        plot_evaluation(result, plots)
        print_note(f"Plots in {plots}")
