"""Convert the protocol's tensors to images. Each length that a client states is checked before it is used."""

import struct
from collections.abc import Iterator, Sequence
from itertools import chain
from math import prod
from typing import Any

import numpy as np

from detector.boxes.placement import ImageArray
from detector.errors import ImageTooLarge
from detector.imaging.image import MAX_PIXELS, MAX_SIDE
from detector.messages import count_of
from service.errors import BadJson
from service.request.base64_image import decode_base64
from service.request.context import JSON_LENGTH_HEADER
from service.request.images import MAX_REQUEST_IMAGES
from service.request.json_body import parse_json
from service.routes.open_inference.schemas import FILES_INPUT, PIXELS_INPUT, InferInput, InferRequest

MAX_SEARCHED_BYTES = 4096  # JSON that precedes tensors is shorter
MAX_RANK = 4  # Dimensions of the largest tensor, `pixels`.
EXPECTED_INPUT = f"{FILES_INPUT!r} BYTES [N] or {PIXELS_INPUT!r} UINT8 [N, H, W, 3]"


def parse_infer(body: bytes, json_length: str | None, max_pixels: int = MAX_PIXELS) -> tuple[InferRequest, Sequence[bytes | ImageArray]]:
    """Parse the body of an inference request.

    Args:
        body: JSON, then binary tensors.
        json_length: Value of the header Inference-Header-Content-Length, the length of the JSON. 0: the body is one image file.
        max_pixels: Pixel limit of one image in a `pixels` tensor.

    Returns:
        The request, and its images: the content of files, or arrays (H, W, 3).

    Raises:
        BadJson: The JSON or a tensor is not valid.
        ImageTooLarge: The images of a `pixels` tensor are too large.
    """
    length = _parse_json_length(json_length, len(body))
    if length == 0 and body:
        return InferRequest(inputs=[InferInput(name=FILES_INPUT, shape=[1], datatype="BYTES")]), [body]
    if json_length is None and b'"binary_data_size"' in body[:MAX_SEARCHED_BYTES] and not body[-100:].rstrip().endswith(b"}"):
        raise BadJson(f"The JSON is followed by tensors, so the header {JSON_LENGTH_HEADER} is required. It is the length of the JSON.")
    request = parse_json(body[:length], InferRequest)
    (tensor,) = request.inputs
    rest = memoryview(body)[length:]
    size = tensor.parameters.binary_data_size
    if len(rest) != (size or 0):
        raise BadJson(
            f"The JSON is followed by {count_of(len(rest), 'byte')}, but binary_data_size is {size or 0:,}. "
            f"The header {JSON_LENGTH_HEADER} must be the length of the JSON."
        )
    if (size is None) == (tensor.data is None):
        raise BadJson(f"input {tensor.name[:80]!r} must have either data or binary_data_size.")
    images = _images(tensor, None if size is None else rest, max_pixels)
    tensor.data = None  # frees up to millions of numbers: the request itself is kept until its response is written
    return request, images


def _parse_json_length(header: str | None, body_length: int) -> int:
    if header is None:
        return body_length
    if not header.isdecimal() or len(header) > 12 or int(header) > body_length:
        raise BadJson(f"{JSON_LENGTH_HEADER} must be the length of the JSON, 0 to {body_length:,} bytes, got {header[:20]!r}.")
    return int(header)


def _images(tensor: InferInput, binary: memoryview | None, max_pixels: int) -> Sequence[bytes | ImageArray]:
    kind, shape = (tensor.name, tensor.datatype), tensor.shape
    if kind == (FILES_INPUT, "BYTES") and len(shape) in (1, 2) and shape[1:] in ([], [1]):
        _check_count(shape[0])
        files = _decode_strings(_flatten(tensor.data)) if binary is None else list(_split_elements(binary))
        if len(files) != shape[0]:
            raise BadJson(f"input {FILES_INPUT!r} has {count_of(len(files), 'element')}, but its shape is {shape}.")
        return [_decode(file) for file in files] if binary is not None and tensor.parameters.content_type == "base64" else files
    if kind == (PIXELS_INPUT, "UINT8") and len(shape) == 4 and shape[3] == 3 and min(shape[1:3]) >= 1:
        _check_count(shape[0])
        return _pixel_arrays(shape, _parse_numbers(tensor.data) if binary is None else bytes(binary), max_pixels)
    raise BadJson(f"the input must be {EXPECTED_INPUT}, got {tensor.name[:80]!r} {tensor.datatype[:20]} {shape}.")


def _check_count(count: int) -> None:
    if not 1 <= count <= MAX_REQUEST_IMAGES:
        raise BadJson(f"a request must have 1 to {MAX_REQUEST_IMAGES} images, got {count:,}. Send several requests.")


def _split_elements(binary: memoryview) -> Iterator[bytes]:
    """Yield the elements of a BYTES tensor: a length in 4 bytes, little-endian, then the bytes."""
    position = 0
    for _ in range(MAX_REQUEST_IMAGES + 1):
        left = len(binary) - position
        if left == 0:
            return
        if left < 4:
            raise BadJson(f"byte {position:,} of input {FILES_INPUT!r}: the length of an element has 4 bytes, but only {left} follow.")
        (length,) = struct.unpack_from("<I", binary, position)
        if length > left - 4:
            raise BadJson(
                f"byte {position:,} of input {FILES_INPUT!r}: an element states {count_of(length, 'byte')}, but only {left - 4:,} follow. "
                "Each element is its length in 4 bytes, little-endian, and then the image file."
            )
        yield bytes(binary[position + 4 : position + 4 + length])
        position += 4 + length
    raise BadJson(f"input {FILES_INPUT!r} has more than {MAX_REQUEST_IMAGES} elements.")


def _flatten(data: Any) -> Sequence[Any]:
    """Flatten nested lists. A single value, such as base64, becomes a list of one. Lists nested deeper than MAX_RANK stay lists."""
    values = data if isinstance(data, list) else [data]
    for _ in range(MAX_RANK - 1):
        if not values or not all(isinstance(value, list) for value in values):
            break
        values = list(chain.from_iterable(values))
    return values


def _decode_strings(values: Sequence[Any]) -> list[bytes]:
    if len(values) > MAX_REQUEST_IMAGES:
        _check_count(len(values))
    return [_decode(value) for value in values]


def _decode(value: Any) -> bytes:
    try:
        return decode_base64(value.decode("latin-1") if isinstance(value, bytes) else value)
    except ValueError as error:
        raise BadJson(f"input {FILES_INPUT!r}: an element {error}.") from error


def _parse_numbers(data: Any) -> bytes:
    values = _flatten(data)
    if len(values) == 1 and isinstance(values[0], str):
        return _decode(values[0])
    try:
        return bytes(values)
    except (TypeError, ValueError) as error:
        raise BadJson(f"input {PIXELS_INPUT!r}: the data must be whole numbers from 0 to 255 ({error}).") from error


def _pixel_arrays(shape: Sequence[int], values: bytes, max_pixels: int) -> Sequence[ImageArray]:
    if prod(shape) != len(values):
        raise BadJson(f"input {PIXELS_INPUT!r} has {count_of(len(values), 'byte')}, but its shape {list(shape)} needs {prod(shape):,}.")
    height, width = shape[1:3]
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        raise ImageTooLarge(
            f"the images have {width:,} x {height:,} pixels. The limits are {max_pixels:,} pixels per image and {MAX_SIDE:,} per side."
        )
    return list(np.frombuffer(values, np.uint8).reshape(shape))
