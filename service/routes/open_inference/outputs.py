"""Convert detections to the protocol's tensors, in JSON or as binary data after it."""

import json
import struct
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from service.inference.types import DetectionTensors
from service.routes.open_inference.schemas import OUTPUT_TENSORS, InferRequest


def write_infer(detections: DetectionTensors, request: InferRequest, first_fields: Mapping[str, Any]) -> tuple[bytes, int | None]:
    """Write the body of an inference response.

    Args:
        detections: The detections in all images.
        request: States which outputs are requested, and their encoding.
        first_fields: Fields of the JSON before the outputs.

    Returns:
        The body, and the length of its JSON if binary tensors follow.
    """
    arrays = _arrays(detections)
    requested: dict[str, bool | None] = {output.name: output.parameters.binary_data for output in request.outputs}
    tensors, binary_parts = [], []
    for name, binary_data in (requested or dict.fromkeys(OUTPUT_TENSORS)).items():
        tensor: dict[str, Any] = {"name": name, "datatype": OUTPUT_TENSORS[name][0], "shape": list(arrays[name].shape)}
        if request.parameters.binary_data_output if binary_data is None else binary_data:
            binary_parts.append(_binary(arrays[name]))
            tensors.append(tensor | {"parameters": {"binary_data_size": len(binary_parts[-1])}})
        else:
            tensors.append(tensor | {"data": arrays[name].ravel().tolist()})
    text = json.dumps({**first_fields, **({} if request.id is None else {"id": request.id}), "outputs": tensors}).encode()
    return b"".join((text, *binary_parts)), len(text) if binary_parts else None


def _arrays(detections: DetectionTensors) -> Mapping[str, NDArray[Any]]:
    return {
        "boxes": detections.boxes,
        "scores": detections.scores,
        "classes": detections.class_ids,
        "labels": detections.labels,
        "num_detections": detections.counts,
    }


def _binary(array: NDArray[Any]) -> bytes:
    """Write the values row by row, little-endian. A string is its length in 4 bytes, then its UTF-8."""
    if array.dtype != object:
        return array.astype(array.dtype.newbyteorder("<")).tobytes()
    strings = [str(value).encode() for value in array.ravel()]
    return b"".join(struct.pack("<I", len(string)) + string for string in strings)
