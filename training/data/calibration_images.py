"""Choose the images for calibrating a quantized model. Images of the evaluation set are never chosen."""

import re
from collections.abc import Iterator
from pathlib import Path

from training.data.voc_layout import ALL, find_annotation, find_image, find_images
from training.data.voc_lists import image_lists, image_names, image_sets
from training.errors import DatasetError

TRAINING_SET = "train"
_HELD_OUT_FOLDER = re.compile(r"(val|test)", re.IGNORECASE)  # val, valid, validation, val2017, Testing


def calibration_images(folder: Path, count: int, *, val_set: str = "val") -> list[Path]:
    """Choose training images, evenly spread over the sorted list.

    They come from the list of the image set "train". If there is no such list, or if "train" is the evaluated set, they come from
    `find_images`. Images of evaluation sets, and of folders such as val, valid or test, are then excluded.

    Args:
        folder: VOC-style data, or a folder of images.
        count: The largest number of images.
        val_set: The image set that the model is evaluated on.

    Returns:
        Paths of images.

    Raises:
        DatasetError: There are no such images, or a list is invalid.
    """
    has_lists = bool(image_lists(folder))
    known = image_sets(folder) if has_lists else (ALL,)
    if TRAINING_SET in known and val_set != TRAINING_SET:
        evaluated = set(_images_of(folder, val_set)) if val_set in known else set()
        found = sorted(set(_images_of(folder, TRAINING_SET)) - evaluated)
    else:
        held_out = {path for name in known if name in (val_set, "val", "test") for path in _images_of(folder, name)} if has_lists else set()
        found = [
            path
            for path in find_images(folder, subfolders=True)
            if path not in held_out and not _is_in_held_out_folder(path.relative_to(folder))
        ]
    if not found:
        raise DatasetError(f"{folder}: there are no training images for calibration. Give a folder with a few hundred images.")
    return [found[index * len(found) // count] for index in range(count)] if len(found) > count else found


def _images_of(folder: Path, image_set: str) -> Iterator[Path]:
    for name in image_names(folder, image_set):
        path = find_image(folder, name)
        if path is None and find_annotation(folder, name):
            from training.data.voc_reader import read_annotation

            path = find_image(folder, name, read_annotation(folder, name).filename)
        if path is not None:
            yield path


def _is_in_held_out_folder(relative: Path) -> bool:
    return any(_HELD_OUT_FOLDER.match(part) for part in relative.parts[:-1])
