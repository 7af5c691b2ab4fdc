"""Data sets of another format, as every importer returns them, and their conversion to VOC layout."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from detector.detections import Boxes
from detector.imaging.suffixes import IMAGE_SUFFIXES
from training.data.exif_orientation import Size
from training.data.voc_layout import check_name
from training.data.voc_writer import add_to_dataset, annotation_xml
from training.errors import DatasetError


@dataclass(frozen=True, eq=False)
class ImportedImage:
    """An image and its boxes from another format."""

    name: str  # without suffix, with subfolders
    path: Path
    size: Size | None  # that the boxes refer to; None if the format does not define whether that is the stored or the upright image
    boxes: Boxes  # (N, 4) xyxy, image pixels
    labels: tuple[str, ...]  # (N,)
    difficult: NDArray[np.bool_]  # (N,)
    crowd: NDArray[np.bool_]  # (N,) COCO's iscrowd
    image_sets: tuple[str, ...]


@dataclass(frozen=True)
class ImportedDataset:
    """A data set in another format, ready to be written."""

    images: Sequence[ImportedImage]
    notes: tuple[str, ...] = ()  # sentences about what was skipped or changed


@dataclass(frozen=True)
class ImportSummary:
    """Number of written images and boxes, and the labels."""

    images_by_set: dict[str, int]
    boxes: int
    labels: tuple[str, ...]  # sorted


def write_imported(dataset: ImportedDataset, out: Path) -> ImportSummary:
    """Write a data set in VOC layout, or add image sets to an existing one. Images are copied byte for byte.

    Raises:
        DatasetError: `out` exists and is not a data set, or has one of the image sets or images already; a name or a label cannot be
            written; there are no images.
        OSError: A file cannot be read or written.
    """
    if not dataset.images:
        raise DatasetError("no image was found to import.")
    lists: dict[str, list[str]] = {}
    by_name: dict[str, Path] = {}
    for image in dataset.images:
        if (first := by_name.setdefault(image.name, image.path)) is not image.path:
            raise DatasetError(f"two images would have the name {image.name!r}: {first} and {image.path}. Rename one of them.")
        for image_set in image.image_sets:
            lists.setdefault(image_set, []).append(image.name)
    with add_to_dataset(out, lists) as new:
        for image in dataset.images:
            filename = f"{PurePosixPath(image.name).name}{image.path.suffix}"
            flags = {"difficult": image.difficult, "crowd": image.crowd}
            new.add(image.name, image.path, annotation_xml(filename, image.size, image.boxes, image.labels, **flags))
        for image_set, names in lists.items():
            new.write_list(image_set, names)
    labels = Counter(label for image in dataset.images for label in image.labels)
    return ImportSummary({image_set: len(names) for image_set, names in lists.items()}, labels.total(), tuple(sorted(labels)))


def name_of(folder: Path, relative: PurePosixPath) -> str:
    """Return the image's path without suffix. Raises DatasetError if an image set could not list it."""
    name = str(relative).removesuffix(relative.suffix if relative.suffix.lower() in IMAGE_SUFFIXES else "")
    check_name(folder, name)
    return name
