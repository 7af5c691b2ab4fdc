"""Import YOLO data sets (docs.ultralytics.com/datasets/detect, and Darknet's own layout)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from detector.messages import count_of
from training.data.exif_orientation import ExifFrame
from training.data.voc_layout import set_of_path
from training.datasets.importers.base import ImageFrames, ImportedDataset, ImportedImage, name_of, undecided_notes
from training.datasets.importers.yolo_config import YoloConfig
from training.datasets.importers.yolo_labels import Classes, LabelProblems, have_keypoints, read_label_file
from training.datasets.importers.yolo_layout import YOLO_IMAGE_FOLDERS, YoloFolder
from training.datasets.importers.yolo_sets import check_folds, resolve_sets
from training.errors import DatasetError
from training.events import SILENT, Events


def read_yolo(folder: Path, *, image_set: str, events: Events = SILENT) -> ImportedDataset:
    """Read a YOLO data set.

    Args:
        folder: The folder with images, label files and data.yaml or a file of class names.
        image_set: The set for images that neither data.yaml, nor lists, nor folder names assign to a set.
        events: Receives an event for each decoded image.

    Returns:
        The images in path order, and notes about what was skipped or changed. An image without a label file has no objects.

    Raises:
        DatasetError: A text file is unreadable, or lines of label files are invalid. A named image set cannot be found. No label file
            belongs to an image. No image is readable.
        OSError: A file cannot be read.
    """
    _check_folder(folder)
    files = YoloFolder.scan(folder)
    config = YoloConfig.read(files)
    _check_any_image(files)
    images, foreign = files.images()
    sets, notes = resolve_sets(files, config)
    check_folds(files, config, sets)
    if config.sets:
        images, unlisted = tuple(sorted(sets)), len(set(images) - set(sets))
        notes += [f"{count_of(unlisted, 'image')} outside of the named sets: skipped."] if unlisted else []
    elif foreign:
        notes.append(f"{count_of(foreign, 'image')} outside of the image folders, without labels: skipped.")
    frames = ImageFrames.read([folder / path for path in images], events)
    frames.check_any(folder)
    images = tuple(path for path in images if folder / path in frames.readable)
    problems = LabelProblems()
    classes = config.classes
    if not classes.has_keypoints and have_keypoints(map(files.text_path, files.label_files.values())):
        classes = replace(classes, has_keypoints=True)
    own_sets, set_notes = _sets_by_image(images, sets, image_set)
    imported = [_read_image(files, classes, path, frames.readable[folder / path], own_sets[path], problems) for path in images]
    problems.raise_errors()
    _check_labels_used(files, imported)
    notes += set_notes
    return ImportedDataset(imported, (*notes, *frames.notes(), *_notes(files, images, imported, problems)))


def _sets_by_image(
    images: Sequence[PurePosixPath], named: Mapping[PurePosixPath, Sequence[str]], default: str
) -> tuple[dict[PurePosixPath, tuple[str, ...]], list[str]]:
    """Return the sets of each image: those that the data set names, or the one in the image's path, or the default. Also return notes."""
    decided = {path: tuple(named.get(path, ())) or tuple(filter(None, [set_of_path(path.parts[:-1])])) for path in images}
    undecided = [path for path, own in decided.items() if not own]
    notes = undecided_notes(undecided, len(images) - len(undecided), default)
    return decided | dict.fromkeys(undecided, (default,)), notes


def _check_folder(folder: Path) -> None:
    if folder.is_file():
        archive = folder.suffix.lower() in (".zip", ".rar", ".7z", ".gz", ".tar", ".tgz")
        advice = "Unpack it, and give the folder." if archive else f"Give the folder of the data set: {folder.parent}"
        raise DatasetError(f"{folder} is a file. {advice}")


def _check_any_image(files: YoloFolder) -> None:
    if not files.all_images:
        if unsupported := files.unsupported_images:
            raise DatasetError(f"{files.folder}: there is no image that can be read. {_unsupported(unsupported)}")
        linked = ", ".join(files.linked_folders[:3])
        advice = f"Linked folders are not followed: {linked}." if linked else "Export the data set together with its images."
        raise DatasetError(f"{files.folder}: there is no image. {advice}")


def _unsupported(paths: Sequence[PurePosixPath]) -> str:
    if len(paths) == 1:
        return f"1 image of an unsupported format, {paths[0]}: convert it to JPEG."
    return f"{count_of(len(paths), 'image')} of unsupported formats, such as {paths[0]}: convert them to JPEG."


def _read_image(
    files: YoloFolder, classes: Classes, path: PurePosixPath, frame: ExifFrame, image_sets: tuple[str, ...], problems: LabelProblems
) -> ImportedImage:
    label_file = files.label_files.get(path)
    boxes, names = read_label_file(files.text_path(label_file), classes, problems) if label_file else (np.zeros((0, 4)), [])
    pixels = (boxes * np.tile(np.array(frame.upright, np.float64), 2)).astype(np.float32)  # (N, 4)
    none = np.zeros(len(names), np.bool_)
    size = None if frame.is_rotated else frame.upright  # without a size, `boxwright data check` warns of the orientation
    name = name_of(files.folder, _without_image_folders(path))
    return ImportedImage(name, files.folder / path, size, pixels, tuple(names), none, none, image_sets)


def _without_image_folders(path: PurePosixPath) -> PurePosixPath:
    """images/train/a.jpg -> train/a.jpg; train/images/a.jpg -> train/a.jpg."""
    return PurePosixPath(*(part for part in path.parts[:-1] if part.lower() not in YOLO_IMAGE_FOLDERS), path.name)


def _check_labels_used(files: YoloFolder, imported: list[ImportedImage]) -> None:
    unused = files.unused_label_files
    if unused and not any(image.labels for image in imported):
        raise DatasetError(
            f"{files.folder}: {count_of(len(unused), 'label file')} found, such as {unused[0]}, but none belongs to an image. "
            "A label file has the name of its image (labels/a.txt for images/a.jpg), in the folder of the image or in the same place "
            "under `labels`."
        )
    if files.other_label_files and not files.label_files:
        raise DatasetError(
            f"{files.folder}: no image has a label file (.txt), but {files.other_label_files[0]} has the name of an image. "
            "Export the labels in YOLO's format."
        )


def _notes(files: YoloFolder, images: tuple[PurePosixPath, ...], imported: list[ImportedImage], problems: LabelProblems) -> list[str]:
    notes = []
    unlabelled = [path for path in images if path not in files.label_files]
    if unlabelled:
        notes.append(f"{count_of(len(unlabelled), 'image')} without a label file, such as {unlabelled[0]}: imported without boxes.")
    if unused := files.unused_label_files:
        notes.append(f"{count_of(len(unused), 'label file')} without an image, such as {unused[0]}: skipped.")
    if unsupported := files.unsupported_images:
        notes.append(_unsupported(unsupported))
    if problems.clipped:
        notes.append(f"{count_of(problems.clipped, 'box')} clipped to the image.")
    if problems.polygons:
        notes.append(
            f"{count_of(problems.polygons, 'polygon')}: imported as the upright rectangle around it. "
            "If these are keypoints, add kpt_shape to data.yaml."
        )
    if problems.poses:
        notes.append(f"{count_of(problems.poses, 'box')} imported without its keypoints.")
    if turned := [image.path.name for image in imported if image.size is None]:
        notes.append(
            f"{count_of(len(turned), 'image')} stored rotated (EXIF), such as {turned[0]}: check that the boxes fit the upright image."
        )
    if several := [image.path.name for image in imported if len(image.image_sets) > 1]:
        notes.append(f"{count_of(len(several), 'image')} in several sets, such as {several[0]}.")
    if files.linked_folders:
        notes.append(f"{count_of(len(files.linked_folders), 'linked folder')} not followed: {', '.join(files.linked_folders[:3])}.")
    return notes
