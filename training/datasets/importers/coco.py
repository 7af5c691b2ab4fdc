"""Import COCO annotation files (cocodataset.org, format-data: object detection).

A box is [x, y, width, height] in continuous pixels, or in fractions of the image in all annotations of the file (Azure Machine Learning).
Crowds (iscrowd) get the flags crowd and difficult, so evaluation ignores them. Masks and keypoints are not imported. If a box is missing or
all zeros, it is derived from the polygon or the mask. A rotated box (CVAT's attribute `rotation`) becomes the upright rectangle around it.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from detector.boxes.detections import Corners
from detector.messages import count_of
from detector.text_encoding import decode_text
from training.data.exif_orientation import Size
from training.data.rotated_boxes import is_rotated, rectangle_around
from training.data.voc_layout import DEFAULT_SET, is_name_of_set, set_of_name, set_of_path
from training.datasets.importers.base import ImageFrames, ImportedDataset, ImportedImage, joined_classes, name_of, undecided_notes
from training.datasets.importers.coco_images import FoundImage, ImageFinder, image_folders
from training.datasets.importers.coco_masks import corners_of_mask
from training.errors import DatasetError
from training.events import SILENT, Events


def _as_number(value: Any) -> Any:
    """Return the number in a string such as "7", because VIA writes image_id as a string and id as a number."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() and str(int(value[:20])) == value else value


FRACTION_TOLERANCE = 0.01
"""By how much a fraction of the image may be below 0 or above 1."""

_Id = Annotated[int | str, BeforeValidator(_as_number)]
_Pixels = Annotated[float, Field(ge=-5e5, le=5e5, allow_inf_nan=False)]
_Box = tuple[_Pixels, _Pixels, _Pixels, _Pixels]  # x, y, width, height


def _box_or_none(value: Any) -> Any:
    """Return None for an empty list. Raises ValueError for a rotated box."""
    if isinstance(value, list) and len(value) == 5:
        raise ValueError(
            "a box has 5 numbers, as in formats of rotated boxes, which cannot be imported. Export upright boxes: x, y, width, height"
        )
    return value or None


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Image(_Part):
    id: _Id
    file_name: Annotated[str, Field(validation_alias=AliasChoices("file_name", "path", "coco_url"))]  # LVIS has only the URL
    width: Annotated[float, Field(le=1_000_000, allow_inf_nan=False)] | None = None
    height: Annotated[float, Field(le=1_000_000, allow_inf_nan=False)] | None = None

    @property
    def size(self) -> Size | None:
        """Width and height in pixels; None if one of them is absent or not positive."""
        width, height = round(self.width or 0), round(self.height or 0)
        return (width, height) if width > 0 and height > 0 else None


class _Annotation(_Part):
    image_id: _Id
    category_id: _Id
    bbox: Annotated[_Box | None, BeforeValidator(_box_or_none)] = None
    segmentation: Any = None
    iscrowd: bool | None = False
    ignore: bool | None = False  # VOC's difficult, in converted data sets
    attributes: Any = None

    @property
    def rotation(self) -> float:
        """Angle of the box in degrees (CVAT)."""
        angle = self.attributes.get("rotation") if isinstance(self.attributes, dict) else None
        try:
            degrees = float(angle) if isinstance(angle, int | float | str) else 0.0
        except (ValueError, OverflowError):
            return 0.0
        return degrees if math.isfinite(degrees) else 0.0

    @cached_property
    def corners(self) -> Corners | None:
        """xmin, ymin, xmax, ymax of the box, or else of the polygons or the mask. None if the annotation has no box, polygon or mask."""
        if self.bbox is None or not any(self.bbox):
            outline = self._corners_of_polygons() or corners_of_mask(self.segmentation)
            if outline or self.bbox is None:
                return outline
        x, y, width, height = self.bbox
        return rectangle_around((x, y, x + width, y + height), self.rotation)

    def _corners_of_polygons(self) -> Corners | None:
        polygons = self.segmentation if isinstance(self.segmentation, list) else []
        numbers = [value for polygon in polygons for value in (polygon if isinstance(polygon, list) else [polygon])]
        if not numbers or len(numbers) % 2 or not all(isinstance(value, int | float) and abs(value) < 5e5 for value in numbers):
            return None
        xs, ys = numbers[0::2], numbers[1::2]
        return min(xs), min(ys), max(xs), max(ys)


class _Category(_Part):
    model_config = ConfigDict(coerce_numbers_to_str=True)  # the name of a class may be a number, such as a digit

    id: _Id
    name: Annotated[str, StringConstraints(strip_whitespace=True)]


class _CocoFile(_Part):
    images: tuple[_Image, ...]
    annotations: tuple[_Annotation, ...]
    categories: tuple[_Category, ...]


def read_coco(annotations: Path, image_folder: Path | None, *, image_set: str | None = None, events: Events = SILENT) -> ImportedDataset:
    """Read a COCO file.

    Args:
        annotations: The JSON file.
        image_folder: The folder of the images. None: the usual folders, see `image_folders`.
        image_set: The image set that gets all images. None: the set in the path of the JSON file, or else that in the path of each image,
            or else "train".
        events: Receives an event for each decoded image.

    Returns:
        The images in the order of the file, and notes about what was skipped.

    Raises:
        DatasetError: The file is not a COCO file of boxes, has broken references, or none of its images exists or can be read.
        OSError: A file cannot be read.
    """
    file = _parse(annotations)
    common_set = image_set or set_of_coco_file(annotations)
    labels = {category.id: category.name for category in file.categories}
    objects: dict[_Id, list[_Annotation]] = defaultdict(list)
    for each in file.annotations:
        objects[each.image_id].append(each)
    _check_references(annotations, file, labels)
    _check_any_box(annotations, file)
    found = _find_images(annotations, file, [image_folder] if image_folder else image_folders(annotations, common_set or DEFAULT_SET))
    _check_distinct(annotations, file, found)
    in_fractions = _are_fractions(file)
    frames = ImageFrames.read([place.path for place in found.values()], events)
    frames.check_any(annotations)
    imported = [
        _read_image(image, objects[image.id], labels, found[image.id], frames, common_set, in_fractions=in_fractions)
        for image in file.images
        if image.id in found and found[image.id].path in frames.readable
    ]
    notes = ["All boxes are in fractions of the image: converted to pixels."] if in_fractions else []
    if common_set and not image_set and not set_of_name(annotations.stem) and not is_name_of_set(annotations.parent.name):
        notes.append(f"The folder name {annotations.parent.name} puts all images into the set {common_set}. --set chooses another set.")
    return ImportedDataset(imported, (*notes, *_set_notes(found.values(), common_set), *_notes(file, found), *frames.notes()))


def _find_images(annotations: Path, file: _CocoFile, folders: Sequence[Path]) -> dict[_Id, FoundImage]:
    finder = ImageFinder(folders)
    found = {image.id: place for image in file.images if (place := finder.find(image.file_name))}
    if not found:
        places = " and ".join(str(folder) for folder in folders)
        raise DatasetError(
            f"{annotations}: none of its images ({_examples(file)}) is in {places}. Name the folder of the images with --photos."
        )
    return found


def _are_fractions(file: _CocoFile) -> bool:
    """Return whether all values are from 0 to 1 and one is not an integer. In pixels, each box would be smaller than a pixel."""
    values = [value for each in file.annotations if each.corners for value in each.corners]
    is_fraction = all(-FRACTION_TOLERANCE <= value <= 1 + FRACTION_TOLERANCE for value in values)
    return is_fraction and not all(float(value).is_integer() for value in values)


def _check_any_box(path: Path, file: _CocoFile) -> None:
    if not file.images:
        raise DatasetError(f"{path}: the list of images is empty.")
    if file.annotations and all(each.corners is None for each in file.annotations):
        raise DatasetError(f"{path}: none of its {count_of(len(file.annotations), 'annotation')} has a box, a polygon or a mask.")


def _examples(file: _CocoFile) -> str:
    names = [repr(image.file_name) for image in file.images[:2]]
    return ", ".join(names) + (f" and {len(file.images) - len(names)} more" if len(file.images) > len(names) else "")


def _check_distinct(annotations: Path, file: _CocoFile, found: Mapping[_Id, FoundImage]) -> None:
    by_path: dict[Path, _Image] = {}
    for image in (image for image in file.images if image.id in found):
        path = found[image.id].path
        if (first := by_path.setdefault(path, image)) is not image:
            raise DatasetError(
                f"{annotations}: the images {first.id!r} ({first.file_name}) and {image.id!r} ({image.file_name}) are one file: {path}. "
                "Give each image its own file, or remove one of the images."
            )


def _notes(file: _CocoFile, found: Mapping[_Id, FoundImage]) -> list[str]:
    notes = joined_classes({category.id: category.name for category in file.categories}.items())
    if absent := [image.file_name for image in file.images if image.id not in found]:
        notes.append(f"{count_of(len(absent), 'image')} named in the file but missing, such as {absent[0]}: skipped.")
    if rotated := sum(is_rotated(each.rotation) for each in file.annotations):
        notes.append(f"{count_of(rotated, 'rotated box')}: imported as the upright rectangle around it.")
    if boxless := sum(each.corners is None for each in file.annotations):
        notes.append(f"{count_of(boxless, 'annotation')} without a box, a polygon or a mask: skipped.")
    return notes


def _set_notes(found: Collection[FoundImage], common_set: str | None) -> list[str]:
    if common_set:
        return []
    undecided = [image.relative for image in found if set_of_path(image.relative.parts[:-1]) is None]
    return undecided_notes(undecided, len(found) - len(undecided), DEFAULT_SET)


def set_of_coco_file(path: Path) -> str | None:
    """Return the image set that a file's name or its folder's name contains: instances_val2017.json, valid/_annotations.coco.json."""
    return set_of_name(path.stem) or set_of_name(path.parent.name)


def _parse(path: Path) -> _CocoFile:
    if path.is_dir():
        example = next((f", such as {each}" for each in sorted(path.rglob("*.json"))), "")
        raise DatasetError(f"{path} is a folder. Give the .json file{example}.")
    content = _read_json_text(path)
    if not content.strip():
        raise DatasetError(f"{path}: the file is empty.")
    try:
        return _CocoFile.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = "".join(f"{part}." for part in first["loc"])[:-1]
        text = first["msg"].removeprefix("Value error, ")
        message = f"{place}: {text}" if place else text
        if first["type"] == "model_type" and not place:
            kind = "a list" if isinstance(first["input"], list) else "another value"
            message = f"expected an object with images, annotations and categories, got {kind}"
        raise DatasetError(f"{path} is not a COCO file of boxes: {message}.") from error


def _read_json_text(path: Path) -> str:
    """Return the text of the file. Its bytes, of which COCO has 450 million, are freed before the text is parsed."""
    data = path.read_bytes()
    if data.startswith((b"\x1f\x8b", b"PK\x03\x04")):
        raise DatasetError(f"{path} is compressed. Unpack it, and give the .json file.")
    try:
        return decode_text(data)
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error


def _check_references(path: Path, file: _CocoFile, labels: dict[_Id, str]) -> None:
    known = {image.id for image in file.images}
    if len(known) < len(file.images):
        raise DatasetError(f"{path}: two images have the same id.")
    by_id: dict[_Id, str] = {}
    for category in file.categories:
        if by_id.setdefault(category.id, category.name) != category.name:
            names = f"{by_id[category.id]!r} and {category.name!r}"
            raise DatasetError(f"{path}: the categories {names} have the same id {category.id!r}.")
    for number, each in enumerate(file.annotations):
        if each.image_id not in known:
            raise DatasetError(f"{path}: annotations.{number} refers to image {each.image_id!r}, which is not in the file.")
        if each.category_id not in labels:
            raise DatasetError(f"{path}: annotations.{number} refers to category {each.category_id!r}, which is not in the file.")


def _read_image(
    image: _Image,
    objects: Sequence[_Annotation],
    labels: dict[_Id, str],
    found: FoundImage,
    frames: ImageFrames,
    common_set: str | None,
    *,
    in_fractions: bool,
) -> ImportedImage:
    size = image.size or frames.readable[found.path].upright
    boxed = [each for each in objects if each.corners is not None]
    unit = np.tile(np.array(size, np.float64), 2) if in_fractions else 1.0  # pixels
    corners = (np.array([each.corners for each in boxed], np.float64).reshape(-1, 4) * unit).astype(np.float32)
    crowd = np.array([bool(each.iscrowd) for each in boxed], np.bool_)
    difficult = crowd | np.array([bool(each.ignore) for each in boxed], np.bool_)
    names = tuple(labels[each.category_id] for each in boxed)
    own_set = common_set or set_of_path(found.relative.parts[:-1]) or DEFAULT_SET
    return ImportedImage(name_of(found.folder, found.relative), found.path, size, corners, names, difficult, crowd, (own_set,))
