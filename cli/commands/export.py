"""`boxwright export`: convert a model to another format, and compare the result with the model."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.options import InputSizeOption

ExportTarget = Literal["darknet", "onnx", "keras", "savedmodel", "tflite", "safetensors"]
"""The names in `weights.formats.export.ExportFormat`, repeated because that module imports the exporters."""

NEED_TENSORFLOW = ("keras", "savedmodel", "tflite")


def export_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's name, or a .safetensors file.", show_default=False)],
    *,
    to: Annotated[ExportTarget, typer.Option("--to", help="Convert to this format.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Write to this path. [dim]\\[default: MODEL with the format's suffix][/dim]")
    ] = None,
    image_file: Annotated[
        Path | None,
        typer.Option(
            "--photo", metavar="IMAGE", exists=True, dir_okay=False, help="Compare on this image. [dim]\\[default: a photo of a cat][/dim]"
        ),
    ] = None,
    input_size: InputSizeOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
) -> None:
    """Convert a model to Darknet, ONNX, Keras, TensorFlow or TFLite.

    Runs the model and its export on an image, and prints the largest difference of their raw outputs.
    """
    from cli.extras import start_tensorflow
    from cli.output.progress import load_named_model
    from cli.output.terminal import print_next_step
    from detector.boxes.placement import Placement
    from detector.imaging.image import read_image
    from weights.embedded import SAMPLE_IMAGE
    from weights.formats.export import EXPORTERS, check_export_path, export_model

    loaded = load_named_model(model).at_input_size(input_size)
    image = read_image((image_file or SAMPLE_IMAGE).read_bytes())
    pixels = Placement.fit(loaded.spec, image).apply(image)
    path = out or Path(f"{Path(model).stem}{EXPORTERS[to].suffix[0]}")  # the name inside the file is not trusted
    check_export_path(to, path, force=force)
    if to in NEED_TENSORFLOW:
        start_tensorflow(f"boxwright export --to {to}")
    written = export_model(loaded, to, path, pixels=pixels, force=force)
    typer.echo(f"Wrote {', '.join(str(each) for each in written.paths)}")
    typer.echo(
        f"Largest difference of the raw output on {image_file or 'a photo of a cat'}: "
        f"{written.difference:.1e} (largest value {written.largest:.1f})."
    )
    placement = (loaded.spec.fit, loaded.spec.resample, loaded.spec.edges)
    if to == "darknet" and placement != ("letterbox", "darknet", "inclusive"):
        typer.echo(
            f"This model expects images with fit {placement[0]}, resample {placement[1]} and edges {placement[2]}. "
            "A .cfg file cannot express this. Darknet prepares images in its own way, so its scores differ."
        )
    if to == "safetensors":
        print_next_step("boxwright", "detect", "IMAGE", "--model", written.paths[0])
    else:  # shows the labels, the anchors and the input size, which decoding the raw output needs
        print_next_step("boxwright", "weights", "info", model)
