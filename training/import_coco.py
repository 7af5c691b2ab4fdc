"""COCO's JSON -> VOC's layout (cocodataset.org, format-data: object detection).

A box is [x, y, width, height] in continuous pixels, which is our frame but for its third and fourth number. Crowds (iscrowd) become
difficult and crowd: counted neither for nor against a detector. Masks and keypoints are left out.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.errors import DatasetError
from training.import_annotations import Imported, name_of, upright_size
from training.photo_frame import Size
from training.voc_folder import inside

_Id = int | str
_Pixels = Annotated[float, Field(ge=-5e5, le=5e5, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Image(_Part):
    id: _Id
    file_name: str
    width: int = Field(0, le=1_000_000)
    height: int = Field(0, le=1_000_000)


class _Annotation(_Part):
    image_id: _Id
    category_id: _Id
    bbox: tuple[_Pixels, _Pixels, _Pixels, _Pixels]  # x, y, width, height
    iscrowd: bool = False


class _Category(_Part):
    id: _Id
    name: str


class _CocoFile(_Part):
    images: tuple[_Image, ...]
    annotations: tuple[_Annotation, ...]
    categories: tuple[_Category, ...]


def read_coco(annotations: Path, photos: Path, *, image_set: str) -> tuple[list[Imported], int]:
    """The pictures of a COCO file whose photos are in the folder `photos`, and how many others the file names.

    A photo is at `photos`/file_name, or else there under the last part of file_name. Raises DatasetError for a file that is not COCO's,
    refers to what it does not have, or has none of its photos there; OSError.
    """
    file = _parse(annotations)
    labels = {category.id: category.name for category in file.categories}
    boxes: dict[_Id, list[_Annotation]] = defaultdict(list)
    for each in file.annotations:
        boxes[each.image_id].append(each)
    _check_references(annotations, file, labels)
    pictures = [picture for image in file.images if (picture := _picture(image, boxes[image.id], labels, photos, image_set))]
    if not pictures:
        raise DatasetError(f"{annotations}: of its {len(file.images)} photos none is in {photos}.")
    return pictures, len(file.images) - len(pictures)


def _parse(path: Path) -> _CocoFile:
    try:
        return _CocoFile.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise DatasetError(f"{path} is not a COCO file of boxes: {place}: {first['msg']}.") from error


def _check_references(path: Path, file: _CocoFile, labels: dict[_Id, str]) -> None:
    known = {image.id for image in file.images}
    if len(known) < len(file.images):
        raise DatasetError(f"{path}: two images have the same id.")
    for number, each in enumerate(file.annotations):
        if each.image_id not in known:
            raise DatasetError(f"{path}: annotations.{number} is of image {each.image_id!r}, which is not in the file.")
        if each.category_id not in labels:
            raise DatasetError(f"{path}: annotations.{number} is of category {each.category_id!r}, which is not in the file.")


def _picture(image: _Image, found: list[_Annotation], labels: dict[_Id, str], photos: Path, image_set: str) -> Imported | None:
    place = next(((relative, path) for relative in _places(image.file_name) if (path := inside(photos, relative))), None)
    if place is None:
        return None
    relative, photo = place
    size: Size = (image.width, image.height) if image.width > 0 and image.height > 0 else upright_size(photo)
    corners = np.array([each.bbox for each in found], np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    crowd = np.array([each.iscrowd for each in found], np.bool_)
    names = tuple(labels[each.category_id] for each in found)
    return Imported(name_of(photos, relative), photo, size, corners.astype(np.float32), names, crowd, crowd, image_set)


def _places(file_name: str) -> Iterator[PurePosixPath]:
    path = PurePosixPath(file_name.replace("\\", "/"))
    if path.name and "\0" not in file_name:
        if not path.is_absolute() and ".." not in path.parts:
            yield path
        yield PurePosixPath(path.name)
