"""What the importers of other formats have in common: pictures of a data set on their way to VOC's layout."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from detector.detections import Boxes
from detector.errors import ImageError
from training.errors import DatasetError
from training.photo_frame import PhotoFrame, Size
from training.voc_folder import PHOTO_ENDINGS, check_name
from training.voc_write import annotation_xml, new_dataset


@dataclass(frozen=True, eq=False)
class Imported:
    """A photo and its boxes, as another format has them."""

    name: str  # without ending, with subfolders
    photo: Path
    size: Size  # that the boxes refer to
    boxes: Boxes  # (N, 4) xyxy, image pixels
    labels: tuple[str, ...]  # (N,)
    difficult: NDArray[np.bool_]  # (N,)
    crowd: NDArray[np.bool_]  # (N,) COCO's iscrowd
    image_set: str


@dataclass(frozen=True)
class ImportSummary:
    """What was written."""

    photos: dict[str, int]  # by image set
    boxes: int
    labels: tuple[str, ...]  # sorted


def write_imported(pictures: Iterable[Imported], out: Path) -> ImportSummary:
    """The pictures as a new data set in VOC's layout, with a list for each image set; photos are copied byte for byte.

    Raises DatasetError where `out` is there already, a name or label cannot be written, or there are no pictures; OSError.
    """
    lists: dict[str, list[str]] = {}
    labels: list[str] = []
    with new_dataset(out) as new:
        for picture in pictures:
            filename = f"{PurePosixPath(picture.name).name}{picture.photo.suffix}"
            flags = {"difficult": picture.difficult, "crowd": picture.crowd}
            xml = annotation_xml(filename, picture.size, picture.boxes, picture.labels, **flags)
            new.add(picture.name, picture.photo, xml)
            lists.setdefault(picture.image_set, []).append(picture.name)
            labels += picture.labels
        if not lists:
            raise DatasetError("no photo was found to import.")
        for image_set, names in lists.items():
            new.write_list(image_set, names)
    return ImportSummary({image_set: len(names) for image_set, names in lists.items()}, len(labels), tuple(sorted(set(labels))))


def name_of(folder: Path, relative: PurePosixPath) -> str:
    """The photo's path without its ending. Raises DatasetError where an image set could not list it."""
    name = str(relative).removesuffix(relative.suffix if relative.suffix in PHOTO_ENDINGS else "")
    check_name(folder, name)
    return name


def upright_size(photo: Path) -> Size:
    """width, height of a photo as it is shown. Raises DatasetError for a file that is none, OSError."""
    try:
        return PhotoFrame.of(photo.read_bytes()).upright
    except ImageError as error:
        raise DatasetError(f"{photo}: {error}") from error
