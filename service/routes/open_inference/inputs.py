"""From the protocol's tensors to photos. Every length that a stranger states is checked before it is used."""

import struct
from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import chain
from math import prod
from typing import Any

import numpy as np
from PIL import Image

from service.errors import BadJson
from service.inference.types import MAX_REQUEST_IMAGES
from service.request.base64_image import decode_base64
from service.request.json_body import read_json
from service.routes.open_inference.schemas import PHOTOS, PIXELS, InferInput, InferRequest

WANTED = f"{PHOTOS!r} BYTES [N] or {PIXELS!r} UINT8 [N, H, W, 3]"


def read_infer(body: bytes, json_length: str | None) -> tuple[InferRequest, list[bytes]]:
    """(the request, its photos as files). `json_length` is the header Inference-Header-Content-Length: so many bytes
    are JSON, and the rest is tensor data; 0 for a body that is nothing but one photo. Raises BadJson.
    """
    count = _json_length(json_length, len(body))
    if count == 0 and body:
        return InferRequest(inputs=[InferInput(name=PHOTOS, shape=[1], datatype="BYTES")]), [body]
    request = read_json(body[:count], InferRequest)
    (tensor,) = request.inputs
    rest = memoryview(body)[count:]
    size = tensor.parameters.binary_data_size
    if len(rest) != (size or 0):
        raise BadJson(
            f"{len(rest):,} bytes come after the JSON, and binary_data_size says {size or 0:,}. "
            "The header Inference-Header-Content-Length must be the JSON's length."
        )
    if (size is None) == (tensor.data is None):
        raise BadJson(f"input {tensor.name[:80]!r} must have either data or binary_data_size.")
    return request, _photos(tensor, None if size is None else rest)


def _json_length(header: str | None, length: int) -> int:
    if header is None:
        return length
    if not header.isdecimal() or len(header) > 12 or int(header) > length:
        raise BadJson(f"Inference-Header-Content-Length must be the bytes of JSON, 0 to {length:,}, got {header[:20]!r}.")
    return int(header)


def _photos(tensor: InferInput, binary: memoryview | None) -> list[bytes]:
    kind, shape = (tensor.name, tensor.datatype), tensor.shape
    if kind == (PHOTOS, "BYTES") and len(shape) in (1, 2) and shape[1:] in ([], [1]):
        _check_count(shape[0])
        files = _strings(_flat(tensor.data)) if binary is None else list(_elements(binary))
        if len(files) != shape[0]:
            raise BadJson(f"input {PHOTOS!r} has {len(files)} elements; its shape {shape} says {shape[0]}.")
        return [_decoded(file) for file in files] if binary is not None and tensor.parameters.content_type == "base64" else files
    if kind == (PIXELS, "UINT8") and len(shape) == 4 and shape[3] == 3 and min(shape[1:3]) >= 1:
        _check_count(shape[0])
        return _pictures(shape, _numbers(tensor.data) if binary is None else bytes(binary))
    raise BadJson(f"the input must be {WANTED}; got {tensor.name[:80]!r} {tensor.datatype[:20]} {shape}.")


def _check_count(count: int) -> None:
    if not 1 <= count <= MAX_REQUEST_IMAGES:
        raise BadJson(f"a request has 1 to {MAX_REQUEST_IMAGES} photos, got {count}. Send them in several requests.")


def _elements(binary: memoryview) -> Iterator[bytes]:
    """Each is four bytes, little-endian, that state its length, and so many bytes."""
    place = 0
    for _ in range(MAX_REQUEST_IMAGES + 1):
        if place == len(binary):
            return
        if len(binary) - place < 4:
            raise BadJson(f"byte {place:,} of input {PHOTOS!r}: an element's length takes 4 bytes, {len(binary) - place} are left.")
        (length,) = struct.unpack_from("<I", binary, place)
        if length > len(binary) - place - 4:
            raise BadJson(
                f"byte {place:,} of input {PHOTOS!r}: an element says it has {length:,} bytes, {len(binary) - place - 4:,} are left. "
                "Each element is its length in 4 bytes, little-endian, and then the photo's file."
            )
        yield bytes(binary[place + 4 : place + 4 + length])
        place += 4 + length
    raise BadJson(f"input {PHOTOS!r} has more than {MAX_REQUEST_IMAGES} elements.")


def _flat(data: Any) -> Sequence[Any]:
    """Nested lists -> one list; base64 as one string stays as it is."""
    values = data if isinstance(data, list) else [data]
    while values and all(isinstance(value, list) for value in values):
        values = list(chain.from_iterable(values))
    return values


def _strings(values: Sequence[Any]) -> list[bytes]:
    if len(values) > MAX_REQUEST_IMAGES:
        raise BadJson(f"a request has 1 to {MAX_REQUEST_IMAGES} photos, got {len(values):,}. Send them in several requests.")
    return [_decoded(value) for value in values]


def _decoded(value: Any) -> bytes:
    try:
        return decode_base64(value.decode("latin-1") if isinstance(value, bytes) else value)
    except ValueError as error:
        raise BadJson(f"input {PHOTOS!r}: an element {error}.") from error


def _numbers(data: Any) -> bytes:
    values = _flat(data)
    if len(values) == 1 and isinstance(values[0], str):
        return _decoded(values[0])
    try:
        return bytes(values)
    except (TypeError, ValueError) as error:
        raise BadJson(f"input {PIXELS!r}: its data must be whole numbers from 0 to 255 ({error}).") from error


def _pictures(shape: Sequence[int], values: bytes) -> list[bytes]:
    """Each picture as a file that keeps every pixel as it is: so it goes the one way that photos go, limits and all."""
    if prod(shape) != len(values):
        raise BadJson(f"input {PIXELS!r} has {len(values):,} bytes; its shape {list(shape)} says {prod(shape):,}.")
    files = []
    for picture in np.frombuffer(values, np.uint8).reshape(shape):
        file = BytesIO()
        Image.fromarray(picture).save(file, "TIFF")  # uncompressed, and the quickest there and back
        files.append(file.getvalue())
    return files
