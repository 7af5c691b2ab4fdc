"""Mutated tensors and JSON: refused in the format of the protocol, never an internal error."""

import asyncio
import base64
import json
import logging
import random
import struct

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import BadJson
from service.request.images import MAX_REQUEST_IMAGES
from service.routes.open_inference.inputs import parse_infer

INFER = "/v2/models/tiny-random/infer"
LENGTH = "Inference-Header-Content-Length"


def mutate(data, rng):
    """Flip bits, remove or repeat a piece, or replace a few bytes."""
    body = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        kind, position = rng.random(), rng.randrange(len(body) or 1)
        if kind < 0.4 and body:
            body[position] ^= 1 << rng.randrange(8)
        elif kind < 0.6:
            del body[position : position + rng.randint(1, 30)]
        elif kind < 0.8:
            body[position:position] = body[position : position + rng.randint(1, 30)]
        else:
            body[position : position + 4] = rng.choice((b"\xff\xff\xff\xff", b"-1", b"1e9", b"null", b"[[", b"}}", b'"', b"\x00" * 4))
    return bytes(body)


def check_all(app, requests, caplog):
    """Check that every (path, content, headers) is answered 200 or refused, and that nothing is logged."""

    async def send_all():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return [await client.post(path, content=content, headers=headers) for path, content, headers in requests]

    with caplog.at_level(logging.ERROR):
        responses = asyncio.run(send_all())
    assert {response.status_code for response in responses} <= {200, 400, 413, 415, 422}
    assert len({response.status_code for response in responses}) > 1
    assert all(len(response.content) < 2000 for response in responses if response.status_code != 200)
    assert not [record for record in caplog.records if record.name.startswith("boxwright")]


@pytest.fixture(scope="module")
def small_image(make_image_bytes):
    return make_image_bytes(9, 7, form="GIF")


def test_mutated_binary_tensors_cause_no_internal_error(tiny_app, small_image, caplog):
    rng = random.Random(3)
    element = struct.pack("<I", len(small_image)) + small_image
    requests = []
    for tensor, rest in (
        ({"name": "image", "shape": [2], "datatype": "BYTES"}, element * 2),
        ({"name": "pixels", "shape": [2, 3, 5, 3], "datatype": "UINT8"}, bytes(range(90))),
    ):
        text = json.dumps({"id": "x", "inputs": [tensor | {"parameters": {"binary_data_size": len(rest)}}]}).encode()
        for _ in range(150):
            head, tail = (mutate(text, rng), rest) if rng.random() < 0.4 else (text, mutate(rest, rng))
            fixed = head.replace(b'"binary_data_size": %d' % len(rest), b'"binary_data_size": %d' % len(tail))
            length = rng.choice([len(fixed)] * 8 + [len(text), rng.randint(0, 10**6)])
            requests.append((INFER, fixed + tail, {LENGTH: str(length)}))
    check_all(tiny_app, requests, caplog)


def test_mutated_json_causes_no_internal_error(tiny_app, small_image, caplog):
    rng, text = random.Random(4), base64.b64encode(small_image).decode()
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [text]}
    parameters = {"confidence": 0.5, "max_detections": 3, "binary_data_output": False}
    valid = [
        ("/detect", {"images": [text, text]}),
        ("/v1/models/tiny-random:predict", {"signature_name": "serving_default", "instances": [{"image_bytes": {"b64": text}}]}),
        ("/v1/models/tiny-random:predict", {"inputs": {"image_bytes": [{"b64": text}]}}),
        (INFER, {"id": "1", "inputs": [tensor], "outputs": [{"name": "boxes"}], "parameters": parameters}),
        (INFER, {"inputs": [{"name": "pixels", "shape": [1, 2, 2, 3], "datatype": "UINT8", "data": list(range(12))}]}),
    ]
    requests = [
        (path, mutate(json.dumps(body).encode(), rng), {"content-type": "application/json"}) for path, body in valid for _ in range(80)
    ]
    check_all(tiny_app, requests, caplog)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.sampled_from(["data", "b64", "name", "x"]), values, max_size=3),
    max_leaves=12,
)


@settings(max_examples=150)
@given(
    name=st.sampled_from(["image", "pixels"]),
    kind=st.sampled_from(["BYTES", "UINT8"]),
    shape=st.lists(st.integers(-1, 2**40) | st.integers(1, 3) | st.just(3), max_size=5),
    data=JSON,
    rest=st.binary(max_size=40),
    size=st.none() | st.integers(-1, 50),
)
def test_any_tensor_is_parsed_or_refused(name, kind, shape, data, rest, size):
    tensor = {"name": name, "datatype": kind, "shape": shape, "data": data}
    tensor |= {} if size is None else {"parameters": {"binary_data_size": size}}
    text = json.dumps({"inputs": [tensor]}).encode()
    try:
        _, images = parse_infer(text + rest, str(len(text)))
    except BadJson as error:
        images, message = [], str(error)
    else:
        message = None
    assert 1 <= len(images) <= MAX_REQUEST_IMAGES if message is None else 20 < len(message) < 600


@settings(max_examples=150)
@given(elements=st.lists(st.binary(max_size=30), min_size=1, max_size=MAX_REQUEST_IMAGES))
def test_written_elements_are_read_back(elements):
    rest = b"".join(struct.pack("<I", len(element)) + element for element in elements)
    tensor = {"name": "image", "datatype": "BYTES", "shape": [len(elements)], "parameters": {"binary_data_size": len(rest)}}
    text = json.dumps({"inputs": [tensor]}).encode()
    assert parse_infer(text + rest, str(len(text)))[1] == elements


@pytest.mark.parametrize("unit", [b"[],", b"1,", b'"",', b'{"a":[1]},', b'{"":', b"[", b"1"])
@pytest.mark.parametrize("path", ["/detect", INFER, "/v1/models/tiny-random:predict"])
def test_megabytes_of_json_need_little_memory(served, path, unit):
    body = b'{"inputs": [' + unit * (5_000_000 // len(unit)) + b"0]}"
    before = served.memory()
    response = httpx.post(f"{served.url}{path}", content=body, headers={"content-type": "application/json"}, timeout=60)
    assert response.status_code == 400
    assert served.memory() - before < 150 * 1024**2
