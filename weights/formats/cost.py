"""Limits for the time that the model in a file may take."""

from detector.errors import ModelFileError
from detector.network.shapes import comparisons, operations
from detector.network.spec import ModelSpec

MAX_OPERATIONS = 10**12
"""Limit for the operations per image, 16 times those of YOLOv2 at 608 pixels. A larger model would block a service for minutes."""
COMPARISON_COST = 60
"""Time of a comparison of a max pool in onnxruntime, as a multiple of the time of an operation of a convolution."""
MAX_BOXES = 250_000
"""Limit for the boxes per image, three times those of YOLOv2 at 4,096 pixels. The time of non-maximum suppression is quadratic."""


def check_cost(spec: ModelSpec) -> None:
    """Raise ModelFileError if a model takes too long for one image."""
    needed = operations(spec.network, spec.input_size) + COMPARISON_COST * comparisons(spec.network, spec.input_size)
    if needed > MAX_OPERATIONS:
        raise ModelFileError(f"the network needs {needed:,} operations per image; the limit is {MAX_OPERATIONS:,}. Reduce its input size.")
    if (boxes := spec.grid**2 * len(spec.anchors)) > MAX_BOXES:
        raise ModelFileError(f"the network outputs {boxes:,} boxes per image; the limit is {MAX_BOXES:,}. Reduce its input size.")
