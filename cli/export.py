"""`boxwright export`: a model in another program's format, compared with the model before it is handed over."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Target = Literal["darknet", "onnx", "keras", "savedmodel", "tflite", "safetensors"]
"""The same names as `weights.export.Target`, without importing what is behind them."""


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's name, or its .safetensors file.")],
    *,
    to: Annotated[Target, typer.Option("--to", help="The format.")],
    out: Annotated[Path | None, typer.Option(help="What to write; MODEL with the format's suffix, if not given.")] = None,
    photo: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Compare on this photo instead of on noise.")] = None,
) -> None:
    """Write a model for Darknet, ONNX, Keras, TensorFlow or TFLite, and print how far its raw output is from ours."""
    import numpy as np

    from cli.download_bar import load_model
    from detector.image import read_image
    from detector.placement import Placement
    from weights.export import FORMATS
    from weights.export import export as write

    loaded = load_model(model)
    size = loaded.spec.input_size
    picture = read_image(photo.read_bytes()) if photo else np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    pixels = Placement.fit(loaded.spec, picture).apply(picture)
    path = out or Path(f"{loaded.name}{FORMATS[to].suffix}")
    written = write(loaded, to, path, pixels=pixels)
    typer.echo(f"{', '.join(str(each) for each in written.paths)}: the raw output is within {written.difference:.1e} of the model's")
    typer.echo(f"on {photo or 'noise'} (its largest value is {written.largest:.1f}).")
    if to == "darknet" and loaded.spec.fit != "letterbox":
        typer.echo(f"Darknet letterboxes photos; this model wants them fitted by {loaded.spec.fit}, which a .cfg cannot say.")
