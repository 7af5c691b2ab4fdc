"""Mutated images and forms: never an internal error, and no growth of threads or memory.

python -m pytest tests/service/security/test_untrusted_input.py --untrusted-inputs 10000      sends 10,000 images and 10,000 forms
"""

import asyncio
import random
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.service.security import untrusted_input

ALLOWED = {200, 400, 413, 415, 422, 503, 504}
CLIENTS = 8
MAX_GROWTH = 1.03
"""Maximum growth of resident memory when the same requests are sent again."""


@pytest.fixture(params=[pytest.param(4, id="a quarter"), pytest.param(1, id="all", marks=pytest.mark.slow)])
def count(request):
    return request.config.getoption("--untrusted-inputs") // request.param


def state_of(process):
    """Return the number of threads and the resident bytes."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines())
    return int(lines["Threads"]), int(lines["VmRSS"].split()[0]) * 1024


def send_all(url, requests):
    """Send each (path, content, headers), a few at a time. Return number -> status. A response must arrive within 30 s."""

    async def run():
        numbered, statuses_by_request = enumerate(requests), {}

        async def client():
            async with httpx.AsyncClient(base_url=url, timeout=30) as session:
                for number, (path, content, headers) in numbered:
                    statuses_by_request[number] = (await session.post(path, content=content, headers=headers)).status_code

        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(client())
        return statuses_by_request

    return asyncio.run(run())


def check_all(service, requests):
    """Check all statuses, that repeated requests need no more threads and memory, and that nothing unexpected is logged."""
    start = len(service.log)
    statuses_by_request = send_all(service.url, requests)
    expected = {number: statuses_by_request[2 * number] for number in range(len(requests[::2]))}
    assert send_all(service.url, requests[::2]) == expected
    threads, resident = state_of(service.process)
    assert send_all(service.url, requests[::2]) == expected
    threads_after, resident_after = state_of(service.process)
    counted = Counter(statuses_by_request.values())
    assert set(counted) <= ALLOWED, counted
    assert len(counted) > 2
    assert set(send_all(service.url, [("/detect", untrusted_input.valid_images()["PNG"][0], {})] * 64).values()) == {200}
    assert threads_after <= threads + CLIENTS  # thread pools start their threads on demand; a leak would add one per request
    assert resident_after < MAX_GROWTH * resident, (resident, resident_after)
    assert not [line for line in service.log[start:] if "Traceback" in line or "boxwright.service" in line]
    print(f"\n{len(requests)} requests: {dict(counted)}; {threads} threads; resident {resident:,} bytes, in the end {resident_after:,}")


def test_mutated_images_cause_no_internal_error(served, count):
    queries, headers = ("", "", "?format=both", "?format=image&confidence=0.01"), {"content-type": "image/jpeg"}
    check_all(served, [(f"/detect{queries[number % 4]}", untrusted_input.make_image_bytes(number), headers) for number in range(count)])


def test_mutated_forms_cause_no_internal_error(served, count):
    paths = ("/detect", "/v1/vision/detection")
    requests = []
    for number in range(count):
        body, content_type = untrusted_input.form(number)
        printable = bytes(byte for byte in content_type if 32 <= byte < 127).strip()  # httpx sends no other header
        requests.append((paths[number % 2], body, {"content-type": printable.decode()}))
    check_all(served, requests)


def test_mutated_queries_cause_no_internal_error(tiny_app, send_request):
    rng = random.Random(11)
    query = b"confidence=0.5&iou=0.4&classes=dog&classes=cat&max_detections=5&format=both&model=tiny-random"
    queries = [quote(untrusted_input.mutate(query, query[::-1], rng), safe="&=") for _ in range(150)]
    image_bytes = untrusted_input.valid_images()["PNG"][0]
    statuses = {send_request(tiny_app, "POST", f"/detect?{query}", content=image_bytes).status_code for query in queries}
    assert statuses <= {200, 404, 422}
    assert len(statuses) > 1


@pytest.mark.parametrize("form", untrusted_input.FORMS)
def test_the_images_are_valid_before_mutation(tiny_app, send_request, form):
    assert len(untrusted_input.valid_images()[form]) >= 4
    for image_bytes in untrusted_input.valid_images()[form]:
        assert send_request(tiny_app, "POST", "/detect", content=image_bytes).status_code == 200


def test_most_mutations_are_distinct():
    valid = {image_bytes for images in untrusted_input.valid_images().values() for image_bytes in images}
    images = {untrusted_input.make_image_bytes(number) for number in range(300)}
    assert len(images - valid) > 290
    assert len({untrusted_input.form(number) for number in range(300)}) > 290
