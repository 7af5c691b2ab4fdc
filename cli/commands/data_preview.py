"""`boxwright data preview`: draw the augmented images that training uses."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.finetune.options import with_training_options
from cli.options import DatasetArgument, ModelOption, TrainingConfigOption

AUGMENTATION_OPTIONS = (
    *("seed", "labels", "sizes", "multi_scale", "mosaic", "mosaic_until", "scale", "aspect", "translate", "flip", "flip_vertical"),
    *("hue", "saturation", "exposure", "min_visible"),
)
"""Training options that change the appearance of an image."""
PREVIEW_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}


def data_preview(
    dataset: DatasetArgument,
    *,
    image_set: Annotated[str, typer.Option("--set", metavar="NAME", help="Draw images of this image set of ImageSets/Main.")] = "train",
    count: Annotated[int, typer.Option(metavar="N", min=1, max=256, help="Draw this many images.")] = 16,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Write this .jpg or .png file.")] = Path("preview.jpg"),
    model: ModelOption = None,
    config: TrainingConfigOption = None,
    **options: Any,
) -> None:
    """Draw the first images of a training run as the network sees them: augmented, with their boxes."""
    from cli.extras import start_tensorflow
    from cli.finetune.plan import read_config, read_plan
    from cli.output.progress import load_named_model
    from cli.output.terminal import print_next_step
    from detector.messages import count_of

    if out.suffix.lower() not in PREVIEW_FORMATS:
        raise typer.BadParameter(f"{out} cannot be written. Give a name that ends in {', '.join(PREVIEW_FORMATS)}.", param_hint="--out")
    plan = read_plan(dataset, (image_set,), model, read_config(config, options))
    start_tensorflow("boxwright data preview")

    from PIL import Image

    from training.data.batches import Batches
    from training.data.contact_sheet import contact_sheet, first_examples
    from training.data.ground_truth import Role
    from training.modeling.initial_model import build_initial_model, labels_to_learn
    from weights.atomic_files import atomic_write

    samples = plan.samples[image_set]
    labels = labels_to_learn(plan.config, samples)
    spec = build_initial_model(load_named_model(model), labels, samples, plan.config).model.spec
    views = list(first_examples(Batches(samples, spec, plan.config), count))
    with atomic_write(out) as file:
        Image.fromarray(contact_sheet(views, labels)).save(file, PREVIEW_FORMATS[out.suffix.lower()], quality=90)
    sizes = ", ".join(map(str, sorted({len(view.pixels) for view in views})))
    boxes = sum(int((view.truth.roles == Role.OBJECT).sum()) for view in views)
    typer.echo(f"{out}: {count_of(len(views), 'image')} of {sizes} pixels, {count_of(boxes, 'box')}.")
    print_next_step("boxwright", "finetune", dataset)


with_training_options(data_preview, AUGMENTATION_OPTIONS)
