"""Files that `boxwright detect` writes: annotated copies of images, and VOC annotations."""

from collections.abc import Iterable
from itertools import count
from pathlib import Path

import numpy as np

from cli.detect.backends import DetectionResult
from cli.detect.inputs import STDIN
from detector.imaging.encode import EncodedImage
from detector.imaging.suffixes import ANNOTATED_COPY
from training.data.voc_writer import annotation_xml
from training.errors import DatasetError
from weights.atomic_files import atomic_write

SUFFIXES = {"image/jpeg": ".jpg", "image/png": ".png"}


class AnnotatedCopyWriter:
    """Writes copies with boxes into an existing folder.

    dog.jpg becomes dog.boxes.jpg; a dog.png of the same run becomes dog-2.boxes.jpg. A copy of an earlier run is replaced.
    """

    def __init__(self, folder: Path, images: Iterable[Path]) -> None:
        self._folder = folder
        self._taken = {image.resolve() for image in images}  # input files are never overwritten

    def write(self, image: Path, copy: EncodedImage) -> Path:
        """Write the copy of `image` and return its path. Raises OSError."""
        path = self._free_path("stdin" if image == STDIN else image.stem, SUFFIXES[copy.media_type])
        with atomic_write(path) as file:
            file.write(copy.data)
        return path

    def _free_path(self, stem: str, suffix: str) -> Path:
        names = (f"{stem}{'' if number == 1 else f'-{number}'}{ANNOTATED_COPY}{suffix}" for number in count(1))
        path = next(path for name in names if (path := self._folder / name).resolve() not in self._taken)
        self._taken.add(path.resolve())
        return path


class VocAnnotationWriter:
    """Writes NAME.xml for each image into an existing folder. It never overwrites a file, which may have manual corrections."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, result: DetectionResult) -> Path:
        """Write the annotation of one image and return its path.

        Raises:
            DatasetError: The file exists already, or a label has characters that XML does not allow.
            OSError: The file cannot be written.
        """
        name = "stdin" if result.path == STDIN else result.path.name
        path = self._folder / f"{Path(name).stem}.xml"
        if path.exists():
            raise DatasetError(f"{path} exists already and is left unchanged. Give another folder, or move the file away.")
        boxes = np.array([list(found.box.model_dump().values()) for found in result.detections], np.float32).reshape(-1, 4)
        xml = annotation_xml(name, (result.width, result.height), boxes, [found.label for found in result.detections])
        with atomic_write(path) as file:
            file.write(xml)
        return path
