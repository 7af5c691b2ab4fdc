import numpy as np
import pytest

from detector.imaging.image import read_image
from training.data.voc_reader import read_set
from training.errors import DatasetError
from training.modeling.anchors import box_sizes, cluster_anchors


def test_clustering_finds_the_centres_of_the_box_sizes():
    rng = np.random.default_rng(0)
    centres = np.array([(1, 2), (3, 1), (6, 6)], np.float32)
    sizes = np.concatenate([centre * rng.uniform(0.95, 1.05, (40, 2)) for centre in centres]).astype(np.float32)
    np.testing.assert_allclose(cluster_anchors(sizes, 3, seed=5), [(1, 2), (3, 1), (6, 6)], rtol=0.03)


def test_too_few_boxes_are_refused():
    with pytest.raises(DatasetError, match="2 anchors cannot be made from 1 different box size"):
        cluster_anchors(np.ones((5, 2), np.float32), 2, seed=0)


def test_box_sizes_are_in_grid_cells_of_the_network_input(rectangles, small_model):
    samples = read_set(rectangles, "train")
    sizes = box_sizes(samples, small_model.spec, small_model.spec.stride)
    assert len(sizes) == sum(len(sample.boxes) for sample in samples)
    height, width = read_image(samples[0].image_path.read_bytes()).shape[:2]
    first = (samples[0].boxes[0, 2:4] - samples[0].boxes[0, 0:2]) * (64 / max(width, height)) / small_model.spec.stride
    np.testing.assert_allclose(sizes[0], first, rtol=0.03)  # a letterbox rounds to whole pixels
