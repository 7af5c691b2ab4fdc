"""Boxes that COCO files give only as masks."""

import numpy as np
import pytest

from tests.training.datasets.importers.coco_files import write_coco
from training.datasets.importers.coco import read_coco
from training.errors import DatasetError

MASK = {"size": [4, 5], "counts": [5, 2, 2, 3, 8]}  # columns 1 to 2: rows 1 to 2, then rows 1 to 3
MASK_IN_LETTERS = {"size": [4, 5], "counts": "52216"}


@pytest.mark.parametrize(
    ("segmentation", "box"),
    [
        (MASK, [1, 1, 3, 4]),
        ({"size": [4, 5], "counts": [6, 4, 10]}, [1, 0, 3, 4]),
        ({"size": [4, 5], "counts": [0, 20]}, [0, 0, 5, 4]),
    ],
)
def test_a_box_is_derived_from_a_mask_of_runs(tmp_path, save_image, segmentation, box):
    for number, empty in enumerate(({}, {"bbox": [0, 0, 0, 0]})):
        file = write_coco(tmp_path / str(number), save_image, {"segmentation": segmentation} | empty)
        np.testing.assert_array_equal(read_coco(file, None, image_set="train").images[0].boxes, [box])


def test_a_box_is_derived_from_a_compressed_mask(tmp_path, save_image):
    file = write_coco(tmp_path, save_image, {"segmentation": MASK_IN_LETTERS})
    np.testing.assert_array_equal(read_coco(file, None, image_set="train").images[0].boxes, [[1, 1, 3, 4]])


@pytest.mark.parametrize(
    "segmentation",
    [
        {},
        {"size": [4, 5], "counts": []},
        {"size": [0, 5], "counts": [1, 2]},
        {"counts": "\u00ff"},
        [[1, 2, 5]],
        {"size": [40, 60], "counts": "abc"},
        {"size": [40, 60], "counts": "o" * 1_000_000},
        {"size": 4, "counts": [-1, 2]},
    ],
)
def test_annotations_that_all_lack_a_box_are_refused(tmp_path, save_image, segmentation):
    file = write_coco(tmp_path, save_image, {"segmentation": segmentation})
    with pytest.raises(DatasetError, match="none of its 1 annotation has a box, a polygon or a mask"):
        read_coco(file, None, image_set="train")
