"""From detections to the protocol's tensors, in JSON or after it."""

import json
import struct
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from service.inference.types import DetectionTensors
from service.routes.open_inference.schemas import OUTPUTS, InferRequest


def write_answer(padded: DetectionTensors, request: InferRequest, head: Mapping[str, Any]) -> tuple[bytes, int | None]:
    """(the body, the length of its JSON where tensors come after it). `head` is what comes before the outputs."""
    arrays = _arrays(padded)
    wanted: dict[str, bool | None] = {output.name: output.parameters.binary_data for output in request.outputs}
    tensors, rest = [], []
    for name, said in (wanted or dict.fromkeys(OUTPUTS)).items():
        binary = request.parameters.binary_data_output if said is None else said
        tensor: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name][0], "shape": list(arrays[name].shape)}
        if binary:
            rest.append(_bytes(arrays[name]))
            tensors.append(tensor | {"parameters": {"binary_data_size": len(rest[-1])}})
        else:
            tensors.append(tensor | {"data": arrays[name].ravel().tolist()})
    text = json.dumps({**head, **({} if request.id is None else {"id": request.id}), "outputs": tensors}).encode()
    return b"".join((text, *rest)), len(text) if rest else None


def _arrays(padded: DetectionTensors) -> Mapping[str, NDArray[Any]]:
    return {
        "boxes": padded.boxes,
        "scores": padded.scores,
        "classes": padded.class_ids,
        "labels": padded.labels,
        "num_detections": padded.counts,
    }


def _bytes(array: NDArray[Any]) -> bytes:
    """Row by row, little-endian; a string is its length in four bytes, and then itself."""
    if array.dtype != object:
        return array.astype(array.dtype.newbyteorder("<")).tobytes()
    strings = [str(value).encode() for value in array.ravel()]
    return b"".join(struct.pack("<I", len(string)) + string for string in strings)
