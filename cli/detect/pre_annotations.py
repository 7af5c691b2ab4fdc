"""What was found as VOC annotations, for a person to correct in a labelling tool."""

from pathlib import Path

import numpy as np

from cli.detect.found import Found
from cli.detect.inputs import STDIN
from training.data.voc_writer import annotation_xml
from training.errors import DatasetError
from weights.atomic_files import atomic_write


class PreAnnotations:
    """Writes NAME.xml for each photo into `folder`, which is there. What is there already may be a person's work and is left alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, found: Found) -> Path:
        """The file's path. Raises DatasetError where there is one of that name, or a label is none that XML can hold; OSError."""
        name = "stdin" if found.photo == STDIN else found.photo.name
        path = self._folder / f"{Path(name).stem}.xml"
        if path.exists():
            raise DatasetError(f"{path} is there already, and is left as it is. Give another folder, or move that file away.")
        boxes = np.array([list(one.box.model_dump().values()) for one in found.detections], np.float32).reshape(-1, 4)
        xml = annotation_xml(name, (found.width, found.height), boxes, [one.label for one in found.detections])
        with atomic_write(path) as file:
            file.write(xml)
        return path
