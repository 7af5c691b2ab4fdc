"""Limits of JSON bodies: the number of values by kind, one parser at a time, and what is kept of a request."""

import asyncio
import gc
import json
import threading

import pytest

from service.errors import BadJson
from service.request.base64_image import EXAMPLE_IMAGE
from service.request.json_body import run_in_json_thread
from service.routes.open_inference.inputs import parse_infer

IMAGE = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [EXAMPLE_IMAGE]}
IGNORED = ("sequence_id", "sequence_start", "sequence_end", "priority", "timeout")


@pytest.mark.parametrize(
    "flood",
    [b"{}," * 10_001 + b"{}", b'"",' * 20_001 + b'""', b"1," * 2_000_001 + b"1", b"[" * 600_001 + b"]" * 600_001],
    ids=["objects", "strings", "numbers", "lists"],
)
def test_values_are_counted_by_kind_before_they_are_parsed(flood):
    body = json.dumps({"inputs": [IMAGE], "parameters": {"sequence_id": []}}).encode().replace(b"[]", b"[" + flood + b"]")
    with pytest.raises(BadJson, match="limits are 2,000,000, 600,000, 20,000 and 10,000"):
        parse_infer(body, None)


@pytest.mark.parametrize("end", [b"]", b""], ids=["valid", "truncated"])
def test_nested_lists_are_parsed_without_garbage_collections(end):
    collections = []

    def count(*event):
        collections.append(event)

    body = b'{"inputs": [' + b",".join([b"[" * 100 + b"]" * 100] * 1000) + end + b"}"
    gc.callbacks.append(count)
    try:
        with pytest.raises(BadJson):
            parse_infer(body, None)
    finally:
        gc.callbacks.remove(count)
    assert len(collections) < 20  # the parser alone would cause more than 100
    assert gc.isenabled()


def test_ignored_parameters_and_the_data_of_tensors_are_not_kept():
    body = json.dumps({"inputs": [IMAGE], "parameters": {name: [1, 2] for name in IGNORED}}).encode()
    request, images = parse_infer(body, None)
    assert [getattr(request.parameters, name) for name in IGNORED] == [None] * len(IGNORED)
    assert request.inputs[0].data is None
    assert images[0].startswith(b"GIF87a")


def test_one_body_is_parsed_at_a_time():
    running, lock, most = 0, threading.Lock(), 0

    def parse(number):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        sum(range(100_000))  # gives other threads a chance to run
        with lock:
            running -= 1
        return number

    async def parse_all():
        return await asyncio.gather(*(run_in_json_thread(parse, number) for number in range(20)))

    assert asyncio.run(parse_all()) == list(range(20))
    assert most == 1
