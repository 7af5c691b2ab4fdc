"""`boxwright data preview`: what training sees of annotated photos."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.config_options import with_config_options
from cli.options import ModelOption

AUGMENTATION = (
    "seed",
    "labels",
    "sizes",
    "multi_scale",
    "mosaic",
    "mosaic_until",
    "scale",
    "aspect",
    "translate",
    "flip",
    "flip_vertical",
    "hue",
    "saturation",
    "exposure",
    "min_visible",
)
"""Options that decide what a picture looks like."""
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}


def preview(
    dataset: Annotated[Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="VOC-style: JPEGImages, Annotations, ...")],
    *,
    image_set: Annotated[str, typer.Option("--set", help="A list in ImageSets/Main.")] = "train",
    count: Annotated[int, typer.Option(min=1, max=256, help="Pictures on the sheet.")] = 16,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The sheet: .jpg or .png.")] = Path("preview.jpg"),
    model: ModelOption = None,
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE_OR_RECIPE", help="Options in a TOML file; those given here come on top.")
    ] = None,
    **options: Any,
) -> None:
    """Draw the first pictures of a run as the network sees them, augmented, with the boxes that it learns."""
    from PIL import Image

    from cli.output.download_bar import load_model
    from training.config import Config
    from training.data.batches import Batches
    from training.data.contact_sheet import contact_sheet, first_examples
    from training.data.ground_truth import Role
    from training.data.voc_reader import read_set
    from training.modeling.initial_model import build_initial_model, labels_to_learn
    from training.recipes import find_recipe
    from weights.atomic_files import atomic_write

    if out.suffix.lower() not in FORMATS:
        raise typer.BadParameter(f"{out} is written as {' or '.join(FORMATS)}; give such a name.", param_hint="--out")
    given = {name: value for name, value in options.items() if value is not None}
    settings = Config.read(find_recipe(config), given) if config else Config.of(given)
    samples = read_set(dataset, image_set)
    labels = labels_to_learn(settings, samples)
    spec = build_initial_model(load_model(model), labels, samples, settings).model.spec
    sights = list(first_examples(Batches(samples, spec, settings), count))
    with atomic_write(out) as file:
        Image.fromarray(contact_sheet(sights, labels)).save(file, FORMATS[out.suffix.lower()], quality=90)
    sizes = sorted({len(sight.pixels) for sight in sights})
    boxes = sum(int((sight.truth.roles == Role.OBJECT).sum()) for sight in sights)
    typer.echo(f"{out}: {len(sights)} pictures of {', '.join(map(str, sizes))} pixels a side, {boxes} boxes.")


with_config_options(preview, AUGMENTATION)
