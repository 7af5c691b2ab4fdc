"""Files of small YOLO data sets, and the check of their import."""

from dataclasses import dataclass, field

import pytest

from training.datasets.importers.base import write_imported
from training.datasets.importers.yolo import read_yolo
from training.errors import DatasetError

BOX = "0 0.5 0.5 0.5 0.5\n"
NAMES = "names: [dog, cat]\n"


@dataclass(frozen=True)
class Layout:
    """Files of a YOLO data set, and the expected import."""

    name: str
    files: dict[str, str | None]  # path -> text; None: an image
    sets: dict[str, int] = field(default_factory=dict)  # images by set
    boxes: int = 0
    notes: tuple[str, ...] = ()  # parts of notes
    error: str = ""  # part of the message


def images(*paths):
    return dict.fromkeys(paths)


def write_files(root, files, save_image):
    for seed, (path, text) in enumerate(files.items()):
        if text is None:
            save_image(root / path, seed, format="PNG" if path.lower().endswith("png") else "JPEG")
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
    return root


def check_layout(folder, save_image, layout):
    """Import the files of a layout, and assert its images, boxes and notes, or its error."""
    root = folder / "source"
    write_files(root, layout.files, save_image)
    if layout.error:
        with pytest.raises(DatasetError) as caught:
            write_imported(read_yolo(root, image_set="default"), folder / "made")
        assert layout.error in str(caught.value)
        return
    dataset = read_yolo(root, image_set="default")
    summary = write_imported(dataset, folder / "made")
    assert (summary.images_by_set, summary.boxes) == (layout.sets, layout.boxes)
    for part, note in zip(layout.notes, dataset.notes, strict=True):
        assert part in note
