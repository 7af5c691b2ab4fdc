"""Images of a folder that need no annotations: background images, and images for the memory."""

import logging
from pathlib import Path

from detector.messages import count_of
from training.data.voc_layout import find_images, unsupported_images
from training.errors import DatasetError

logger = logging.getLogger("boxwright.training")


def unlabelled_images(folder: Path, advice: str) -> list[Path]:
    """Return the images in a folder and below it, sorted. Log a warning about images of formats that cannot be decoded, such as HEIC.

    Args:
        folder: A folder of images, or a VOC-style data set.
        advice: A sentence for the error, which states what the folder must contain.

    Raises:
        DatasetError: There are no images that can be decoded.
    """
    images, unsupported = find_images(folder, subfolders=True), unsupported_images(folder)
    skipped = f"{count_of(len(unsupported), 'image')} of unsupported formats, such as {unsupported[0]}" if unsupported else ""
    if not images:
        found = f"there is no image that can be read, but {skipped}. Convert them to JPEG." if skipped else f"there are no images. {advice}"
        raise DatasetError(f"{folder}: {found}")
    if skipped:
        logger.warning("%s: %s: skipped. Convert them to JPEG.", folder, skipped)
    return images
