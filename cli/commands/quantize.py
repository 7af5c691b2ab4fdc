"""`boxwright quantize`: convert a model to 8-bit integers."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detector.messages import count_of

if TYPE_CHECKING:
    from detector.boxes.placement import Pixels
    from detector.network.spec import Model, ModelSpec
    from training.data.voc_reader import Sample


def quantize_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's name, or a .safetensors file.", show_default=False)],
    *,
    calibration: Annotated[
        Path, typer.Option(metavar="DIR", exists=True, file_okay=False, help="Calibrate on the images of this folder.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write this .safetensors file. [dim]\\[default: MODEL-int8.safetensors next to MODEL, where '--precision' finds it][/dim]",
        ),
    ] = None,
    max_images: Annotated[int, typer.Option("--photos", metavar="N", min=1, max=4096, help="Use at most N images, evenly spread.")] = 256,
    val_set: Annotated[
        str, typer.Option("--val-set", metavar="NAME", help="Measure AP before and after on this image set, if the folder has it.")
    ] = "val",
) -> None:
    """Convert a model to 8 bits: a quarter of the size, and faster on processors with VNNI.

    Value ranges are measured on the calibration images. Layers that lose too much precision stay in float32.

    '--precision auto' uses the 8-bit file if it loses at most half a point of AP50. AP50 is measured if DIR has the image set of --val-set.
    """
    from cli.checks import check_model_path
    from cli.extras import require_packages
    from cli.output.progress import load_named_model, progress_bar
    from cli.output.terminal import print_next_step
    from detector.errors import SettingError
    from training.data.calibration_images import calibration_images
    from weights.engines.precision import QUANTIZED_FROM_ARRAYS
    from weights.formats.safetensors import arrays_checksum, save_model
    from weights.quantization.quantize import quantize_model

    out = out or _default_path(model)
    check_model_path(out)
    if _list_file(calibration, val_set).is_file():
        require_packages("measuring AP", "pycocotools")
    loaded = load_named_model(model)
    if loaded.quantization is not None:
        raise SettingError(f"{model} is already in 8 bits. Quantize the float32 model that it was made from.")
    images, samples = calibration_images(calibration, max_images, val_set=val_set), _samples(calibration, val_set)
    with progress_bar("calibrating", len(images)) as advance:
        result = quantize_model(loaded, list(_pixels(loaded.spec, images)), on_image=advance)
    origin = {"quantized_from": loaded.name, "calibration_images": str(len(images))}
    if Path(model).is_file():
        origin[QUANTIZED_FROM_ARRAYS] = arrays_checksum(Path(model))
    facts = {"logits_over_error_db": f"{result.snr_db:.1f}", "left_in_float32": ", ".join(result.float_layers) or "none"}
    facts |= _compare_precision(loaded, result.model, samples, f"{calibration.resolve().name}, {val_set}")
    save_model(replace(result.model, name=out.stem, provenance={**result.model.provenance, **origin, **facts}), out)
    for name, text in facts.items():
        typer.echo(f"{name}: {text}")
    typer.echo(f"{out}: {out.stat().st_size:,} bytes.")
    print_next_step("boxwright", "detect", "IMAGE", "--model", out)


def _default_path(model: str) -> Path:
    """Return the path where `weights.engines.precision` looks for the 8-bit version; in the current folder for a model without a file."""
    from weights.engines.precision import INT8_SUFFIX
    from weights.hub.resolve import MODEL_SUFFIX

    path = Path(model)
    return path.with_name(f"{path.name.removesuffix(MODEL_SUFFIX)}{INT8_SUFFIX}{MODEL_SUFFIX}")


def _list_file(folder: Path, image_set: str) -> Path:
    return folder / "ImageSets" / "Main" / f"{image_set}.txt"


def _pixels(spec: "ModelSpec", paths: Sequence[Path]) -> Iterator["Pixels"]:
    from detector.boxes.placement import Placement
    from detector.imaging.image import read_image

    for path in paths:
        image = read_image(path.read_bytes())
        yield Placement.fit(spec, image).apply(image)


def _samples(folder: Path, val_set: str) -> "Sequence[Sample]":
    """Return the samples to measure AP on; none, with a note, if the folder has no such image set."""
    from cli.output.terminal import print_note
    from training.data.voc_reader import read_set

    if _list_file(folder, val_set).is_file():
        return read_set(folder, val_set)
    print_note(f"AP50 is not measured: {folder} has no image set {val_set!r}. So '--precision auto' will not replace float32 by 8 bits.")
    return ()


def _compare_precision(before: "Model", after: "Model", samples: "Sequence[Sample]", name: str) -> dict[str, str]:
    """Return AP50 in float32, in 8 bits, and in bfloat16 if this machine has it. Print a warning about a loss above MAX_AP_LOSS."""
    from cli.output.terminal import print_error

    if not samples:
        return {}
    from detector.detector import Detector
    from detector.engines.support import Precision, installed_engines, unsupported_reason
    from training.evaluation.evaluate import evaluate_detector
    from weights.engines.factory import build_engine
    from weights.engines.precision import MAX_AP_LOSS, ap_record

    models: dict[Precision, Model] = {"float32": before, "int8": after}
    if "openvino" in installed_engines() and unsupported_reason("openvino", "bfloat16", "auto") is None:
        models["bfloat16"] = before
    results = {
        each: evaluate_detector(Detector(model.spec, build_engine(model, precision=each)), samples) for each, model in models.items()
    }
    exact = results["float32"]
    for each, result in results.items():
        loss = exact.ap50_frequent - result.ap50_frequent
        if loss > MAX_AP_LOSS:
            change = f"({exact.ap50_frequent:.4f} before, {result.ap50_frequent:.4f} after)"
            advice = " Calibrate on more images that resemble those of the task." if each == "int8" else ""
            problem = f"in {each} {before.name} loses {100 * loss:.1f} AP points {change}, so '--precision auto' does not use it."
            print_error(f"{problem}{advice}", warning=True)
    number = count_of(len(samples), "image").replace(",", "")  # records are compared with those of earlier versions, without commas
    images = f"{number} ({name})"
    records = [ap_record(each, result.ap50, result.ap50_frequent, images) for each, result in results.items()]
    return {key: text for record in records for key, text in record.items()}
