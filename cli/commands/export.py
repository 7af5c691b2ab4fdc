"""`boxwright export`: a model in another program's format, compared with the model before it is handed over."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Target = Literal["darknet", "onnx", "keras", "savedmodel", "tflite", "safetensors"]
"""The same names as `weights.formats.export.ExportFormat`, without importing what is behind them."""


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's name, or its .safetensors file.")],
    *,
    to: Annotated[Target, typer.Option("--to", help="The format.")],
    out: Annotated[Path | None, typer.Option(help="What to write; MODEL with the format's suffix, if not given.")] = None,
    photo: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Compare on this photo, not on one of a cat.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
) -> None:
    """Write a model for Darknet, ONNX, Keras, TensorFlow or TFLite, and print how far its raw output is from ours."""
    from cli.output.download_bar import load_model
    from detector.imaging.image import read_image
    from detector.placement import Placement
    from weights.embedded import SAMPLE_PHOTO
    from weights.formats.export import EXPORTERS, export_model

    loaded = load_model(model)
    picture = read_image((photo or SAMPLE_PHOTO).read_bytes())
    pixels = Placement.fit(loaded.spec, picture).apply(picture)
    path = out or Path(f"{Path(model).stem}{EXPORTERS[to].suffix[0]}")  # not the name within the file, which a stranger may have chosen
    written = export_model(loaded, to, path, pixels=pixels, force=force)
    typer.echo(f"{', '.join(str(each) for each in written.paths)}: the raw output is within {written.difference:.1e} of the model's")
    typer.echo(f"on {photo or 'a photo of a cat'} (its largest value is {written.largest:.1f}).")
    placement = (loaded.spec.fit, loaded.spec.resample, loaded.spec.edges)
    if to == "darknet" and placement != ("letterbox", "darknet", "inclusive"):
        typer.echo(f"This model wants photos placed by {', '.join(placement)}; a .cfg cannot say that, and Darknet does it its own way.")
