"""The full YOLOv2 with random weights."""

import pytest

from detector.network.spec import Model
from tests.weights.formats.tensornets.networks import VOC, with_confident_outputs


@pytest.fixture(scope="module")
def arrays(random_arrays):
    return random_arrays(VOC.network, 3)


@pytest.fixture(scope="module")
def model(arrays):
    """The full YOLOv2 on Darknet19 for VOC. Its boxes are small and hardly overlap, so the order of suppression does not matter."""
    return Model("random", VOC, with_confident_outputs(arrays, -1.4))
