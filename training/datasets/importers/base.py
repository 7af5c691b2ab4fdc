"""Imported data sets in the form that all importers return, and their conversion to VOC layout."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from detector.boxes.detections import Boxes
from detector.errors import ImageError
from detector.imaging.image import read_image_bytes
from detector.imaging.image_files import open_image_file
from detector.imaging.suffixes import IMAGE_SUFFIXES
from detector.messages import count_of
from training.data.exif_orientation import ExifFrame, Size
from training.data.parallel_decoding import read_image_in_budget
from training.data.voc_layout import check_name
from training.data.voc_writer import add_to_dataset, annotation_xml, checked_label
from training.errors import DatasetError
from training.events import Events

MAX_NAMED = 5
"""Maximum number of damaged images that a note names."""


@dataclass(frozen=True, eq=False)
class ImportedImage:
    """An image and its boxes from another format."""

    name: str  # without suffix, with subfolders
    path: Path
    size: Size | None  # of the image that the boxes refer to; None if that may be the stored or the upright image
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
        DatasetError: `out` exists and is not a data set, or already has one of the image sets or images. A name or a label cannot be
            written. There are no images.
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
            suffix = _suffix(image.path)
            filename = f"{PurePosixPath(image.name).name}{suffix}"
            flags = {"difficult": image.difficult, "crowd": image.crowd}
            xml = annotation_xml(filename, image.size, image.boxes, image.labels, **flags)
            new.add(image.name, image.path, xml, suffix=suffix)
        for image_set, names in lists.items():
            new.write_list(image_set, names)
    labels = Counter(checked_label(label) for image in dataset.images for label in image.labels)
    return ImportSummary({image_set: len(names) for image_set, names in lists.items()}, labels.total(), tuple(sorted(labels)))


def _suffix(image: Path) -> str:
    """Return the suffix of a copy: that of the image, or else that of its format, because images are found by their suffix."""
    if image.suffix.lower() in IMAGE_SUFFIXES:
        return image.suffix
    return f".{open_image_file(read_image_bytes(image)).format.lower()}"


def name_of(folder: Path, relative: PurePosixPath) -> str:
    """Return the image's path without suffix. Raises DatasetError if an image set could not list it."""
    name = str(relative).removesuffix(relative.suffix if relative.suffix.lower() in IMAGE_SUFFIXES else "")
    check_name(folder, name)
    return name


def undecided_notes(paths: Sequence[PurePosixPath], decided: int, image_set: str) -> list[str]:
    """Return a sentence about images that are in the default set, although the folders of other images name their set.

    Args:
        paths: The images in the default set.
        decided: Number of the other images.
        image_set: The default set.
    """
    if not paths or not decided:
        return []
    return [f"{count_of(len(paths), 'image')} in folders that name no image set, such as {paths[0]}: imported into {image_set}."]


def joined_classes(classes: Iterable[tuple[int | str, str]]) -> list[str]:
    """Return a sentence about each label that several classes have. classes: numbers and labels."""
    numbers: dict[str, list[str]] = {}
    for number, label in classes:
        numbers.setdefault(label, []).append(str(number))
    return [f"Classes {', '.join(same)} have the same name, {label!r}: joined." for label, same in numbers.items() if len(same) > 1]


@dataclass(frozen=True)
class ImageFrames:
    """Size and orientation of the readable images, and the reasons why others cannot be read."""

    readable: Mapping[Path, ExifFrame]
    damaged: Mapping[Path, str]

    @classmethod
    def read(cls, paths: Sequence[Path], events: Events) -> "ImageFrames":
        """Decode every image, because `boxwright data check` does the same: both must find the same damaged images."""
        frames: dict[Path, ExifFrame] = {}
        damaged: dict[Path, str] = {}
        with ThreadPoolExecutor() as pool:  # decoding releases the GIL
            for path, result in zip(paths, pool.map(_frame_or_reason, paths), strict=True):
                if isinstance(result, str):
                    damaged[path] = result
                else:
                    frames[path] = result
                events.image_checked(len(paths))
        return cls(frames, damaged)

    def check_any(self, source: Path) -> None:
        """Raise DatasetError if no image is readable."""
        if self.damaged and not self.readable:
            path, reason = next(iter(self.damaged.items()))
            raise DatasetError(f"{source}: none of its {count_of(len(self.damaged), 'image')} can be read. {path.name}: {reason}")

    def notes(self) -> list[str]:
        """Return a sentence with the number and the names of the damaged images, or none."""
        if not self.damaged:
            return []
        named = "; ".join(f"{path.name}: {reason.rstrip('.')}" for path, reason in list(self.damaged.items())[:MAX_NAMED])
        more = f"; and {len(self.damaged) - MAX_NAMED} more" if len(self.damaged) > MAX_NAMED else ""
        return [f"{count_of(len(self.damaged), 'image')} that cannot be read: skipped ({named}{more})."]


def _frame_or_reason(path: Path) -> ExifFrame | str:
    try:
        data = read_image_bytes(path)
        if not data:
            return "the image file is empty."
        read_image_in_budget(data)
        return ExifFrame.of(data)
    except OSError as error:
        return f"{error.strerror or error}."
    except ImageError as error:
        return str(error)
