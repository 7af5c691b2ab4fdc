"""`boxwright quantize`: a model that computes in 8 bits."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from detector.placement import Pixels
    from detector.spec import Model, ModelSpec
    from training.data.voc_reader import Sample

WORTH_TELLING = 0.005
"""AP50 that a model may lose in 8 bits without a word."""


def quantize(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's name, or its .safetensors file.")],
    *,
    calibration: Annotated[Path, typer.Option(metavar="DIR", exists=True, file_okay=False, help="Photos, or VOC-style data.")],
    out: Annotated[Path, typer.Option(help="The .safetensors file to write.")],
    photos: Annotated[int, typer.Option(min=1, max=4096, help="So many of the photos, evenly spread, are looked at.")] = 256,
    val_set: Annotated[str, typer.Option("--val-set", help="AP before and after is measured on this list, if the data has it.")] = "val",
) -> None:
    """Make a model that computes in 8 bits: a quarter of the size, and quicker on processors with VNNI.

    Ranges are taken from the calibration photos. Layers that suffer by it are left in float32.
    """
    from rich.console import Console
    from rich.progress import Progress

    from cli.output.download_bar import load_model
    from detector.errors import SettingError
    from weights.formats.safetensors import save_model
    from weights.hub.resolve import SUFFIX
    from weights.quantization.quantize import quantize as convert

    if out.suffix != SUFFIX:
        raise typer.BadParameter(f"{out} is not the name of a model file; give one that ends in {SUFFIX}.", param_hint="--out")
    loaded = load_model(model)
    if loaded.quantization is not None:
        raise SettingError(f"{model} computes in 8 bits already; quantise the float32 model that it was made from.")
    chosen, samples = _chosen(calibration, photos, val_set), _samples(calibration, val_set)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("calibrating", total=len(chosen))
        result = convert(loaded, list(_pixels(loaded.spec, chosen)), advance=lambda: progress.advance(task))
    named = _with_facts(result.model, out.stem, {"quantised_from": loaded.name, "calibration_photos": str(len(chosen))})
    facts = {"logits_over_error_db": f"{result.decibels:.1f}", "left_in_float32": ", ".join(result.left) or "none"}
    facts |= _measured(loaded, result.model, samples, f"{calibration.resolve().name}, {val_set}")
    named = _with_facts(named, out.stem, facts)
    save_model(named, out)
    for fact, text in facts.items():
        typer.echo(f"{fact}: {text}")
    typer.echo(f"{out}: {out.stat().st_size:,} bytes.")


def _with_facts(model: "Model", name: str, facts: dict[str, str]) -> "Model":
    from dataclasses import replace

    return replace(model, name=name, provenance={**model.provenance, **facts})


def _chosen(folder: Path, count: int, val_set: str) -> Sequence[Path]:
    """Photos of the folder, or of its JPEGImages but those of `val_set`: what is measured on is not calibrated on."""
    from detector.errors import SettingError

    root = folder / "JPEGImages" if (folder / "JPEGImages").is_dir() else folder
    listed = folder / "ImageSets" / "Main" / f"{val_set}.txt"
    held_out = {line.split()[0] for line in listed.read_text().splitlines() if line.strip()} if listed.is_file() else set()
    found = sorted(path for path in root.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png") and path.stem not in held_out)
    if not found:
        raise SettingError(f"{root}: there is no .jpg or .png to calibrate on; give a folder with some hundred photos.")
    return [found[index * len(found) // count] for index in range(count)] if len(found) > count else found


def _pixels(spec: "ModelSpec", photos: Sequence[Path]) -> Iterator["Pixels"]:
    from detector.imaging.image import read_image
    from detector.placement import Placement

    for photo in photos:
        picture = read_image(photo.read_bytes())
        yield Placement.fit(spec, picture).apply(picture)


def _samples(folder: Path, val_set: str) -> "Sequence[Sample]":
    """What AP is measured on: the data's `val_set`, or nothing where the data is but photos."""
    from training.data.voc_reader import read_set

    listed = folder / "ImageSets" / "Main" / f"{val_set}.txt"
    return read_set(folder, val_set) if listed.is_file() else ()


def _measured(before: "Model", after: "Model", samples: "Sequence[Sample]", name: str) -> dict[str, str]:
    """AP50 of both models. Says so on stderr where the second has lost much of it."""
    if not samples:
        return {}
    from detector.detector import Detector
    from training.evaluation.evaluate import evaluate_detector
    from weights.engines.factory import load_engine

    models = {"ap50_before": before, "ap50_after": after}
    measured = {fact: evaluate_detector(Detector(model.spec, load_engine(model)), samples).ap50 for fact, model in models.items()}
    first, second = measured.values()
    if first - second > WORTH_TELLING:
        lost = f"in 8 bits it loses {100 * (first - second):.1f} AP points ({first:.4f} before, {second:.4f} after)"
        typer.echo(f"{before.name}: {lost}; more photos to calibrate on, more like those it is for, may help.", err=True)
    return {fact: f"{ap:.4f} on {len(samples)} photos ({name})" for fact, ap in measured.items()}
