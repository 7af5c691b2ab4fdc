"""Find annotations that no command reads, because a data set has them outside of its annotation folder: two layouts in one folder."""

from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from shlex import quote

from detector.imaging.suffixes import IMAGE_SUFFIXES
from detector.messages import count_of
from training.data.voc_layout import (
    ANNOTATION_SUFFIX,
    IMAGE_FOLDERS,
    all_annotations,
    annotation_files,
    visible_files,
)
from training.data.voc_lists import image_names, image_sets
from training.errors import DatasetError


def unread_annotations(folder: Path) -> list[Path]:
    """Return the annotations that belong to an image but to no image set, not even to "all", sorted. Raises OSError."""
    _, read = annotation_files(folder)
    files = list(visible_files(folder, nested=True, strict=False))
    others = {path for path in files if path.suffix.lower() == ANNOTATION_SUFFIX}.difference(read)
    if not others:
        return []  # the usual case; lists are not read
    images = {path.with_suffix("") for path in files if path.suffix.lower() in IMAGE_SUFFIXES}
    used = {_image_of(folder, name, images) for name in {*all_annotations(folder), *_listed_names(folder)}}
    return sorted(path for path in others if (image := _image_of_file(folder, path, images)) and image not in used)


def describe_unread(folder: Path, unread: Collection[Path]) -> str:
    """Return sentences about the result of `unread_annotations`, and the steps that help."""
    root, read = annotation_files(folder)
    in_sets = root == folder and not any(path.parent == folder for path in read)
    place = root.name if root != folder else "the folders of image sets" if in_sets else "the folder itself"
    rename = "Rename their folder to train, val or test. Or move" if in_sets else "Move"
    return (
        f"only annotations in {place} are read. Ignored: {count_of(len(unread), 'other')}, such as {min(unread).relative_to(folder)}. "
        f"{rename} them and their images to a new folder OTHER, and run `boxwright data merge {quote(str(folder))} OTHER --out NEW`."
    )


def _listed_names(folder: Path) -> Iterator[str]:
    for image_set in image_sets(folder):
        with suppress(DatasetError):  # commands that use the list report its errors
            yield from image_names(folder, image_set)


def _image_of(root: Path, name: str, images: Collection[Path]) -> Path | None:
    """Return the path, without its suffix, of the image with an annotation's name."""
    return next((path for place in IMAGE_FOLDERS if (path := root / place / name) in images), None)


def _image_of_file(folder: Path, annotation: Path, images: Collection[Path]) -> Path | None:
    """Return the path, without its suffix, of the image next to an annotation, or else in an image folder next to one of its folders."""
    path = annotation.with_suffix("")
    if path in images:
        return path
    places = [folder / parent for parent in annotation.relative_to(folder).parents if parent.name]
    return next((image for place in places if (image := _image_of(place.parent, path.relative_to(place).as_posix(), images))), None)
