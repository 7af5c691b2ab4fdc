"""Bodies that nobody would send in good faith: never a 5xx, and the service goes on as before.

python -m pytest tests/service/test_strangers.py --strangers 10000      for so many photos and so many forms, instead of some hundreds
"""

import asyncio
import random
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.service import strangers

ALLOWED = {200, 400, 413, 415, 422, 503, 504}
CLIENTS = 8
FLAT = 1.03
"""Times the memory after all of them and half of them again, when that half has come once more."""


@pytest.fixture(scope="module")
def count(request):
    return request.config.getoption("--strangers")


@pytest.fixture(scope="module")
def service(start_service, model_file):
    service = start_service(model_file)
    yield service
    service.stop()


def state_of(process):
    """Threads and resident bytes."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines())
    return int(lines["Threads"]), int(lines["VmRSS"].split()[0]) * 1024


def send_all(url, requests):
    """What the service says to each (path, content, headers), a few at a time: number -> status. A client that waits 30 s fails."""

    async def run():
        numbered, told = enumerate(requests), {}

        async def client():
            async with httpx.AsyncClient(base_url=url, timeout=30) as session:
                for number, (path, content, headers) in numbered:
                    told[number] = (await session.post(path, content=content, headers=headers)).status_code

        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(client())
        return told

    return asyncio.run(run())


def check_all(service, requests):
    """Each is answered or refused; half of them again, and again, take no more threads and no more memory the second time than the first;
    then all goes on, and nothing was logged."""
    told = send_all(service.url, requests)
    once_more = {number: told[2 * number] for number in range(len(requests[::2]))}
    assert send_all(service.url, requests[::2]) == once_more
    threads, resident = state_of(service.process)
    assert send_all(service.url, requests[::2]) == once_more
    after = state_of(service.process)
    counted = Counter(told.values())
    assert set(counted) <= ALLOWED, counted
    assert len(counted) > 2
    assert set(send_all(service.url, [("/detect", strangers.sound_photos()["PNG"][0], {})] * 64).values()) == {200}
    assert after[0] <= threads  # those that were idle for long have ended
    assert after[1] < FLAT * resident, (resident, after[1])
    assert not [line for line in service.log if "boxwright.service" in line or "Traceback" in line]
    print(f"\n{len(requests)} requests: {dict(counted)}; {threads} threads; resident {resident:,} bytes, in the end {after[1]:,}")


def test_mutated_photos_never_make_it_fail(service, count):
    queries, kind = ("", "", "?format=both", "?format=image&confidence=0.01"), {"content-type": "image/jpeg"}
    check_all(service, [(f"/detect{queries[number % 4]}", strangers.photo(number), kind) for number in range(count)])


def test_mutated_forms_never_make_it_fail(service, count):
    paths = ("/detect", "/v1/vision/detection")
    requests = []
    for number in range(count):
        body, kind = strangers.form(number)
        sendable = bytes(byte for byte in kind if 32 <= byte < 127).strip()  # httpx sends no other header
        requests.append((paths[number % 2], body, {"content-type": sendable.decode()}))
    check_all(service, requests)


def test_mutated_queries_never_make_it_fail(tiny_app, ask):
    dice = random.Random(11)
    query = b"confidence=0.5&iou=0.4&classes=dog&classes=cat&max_detections=5&format=both&model=tiny-random"
    queries = [quote(strangers.mutated(query, query[::-1], dice), safe="&=") for _ in range(150)]
    photo = strangers.sound_photos()["PNG"][0]
    statuses = {ask(tiny_app, "POST", f"/detect?{query}", content=photo).status_code for query in queries}
    assert statuses <= {200, 404, 422}
    assert len(statuses) > 1


@pytest.mark.parametrize("form", strangers.FORMS)
def test_the_photos_are_sound_before_they_are_mutated(tiny_app, ask, form):
    assert len(strangers.sound_photos()[form]) >= 4
    for photo in strangers.sound_photos()[form]:
        assert ask(tiny_app, "POST", "/detect", content=photo).status_code == 200


def test_most_of_them_differ_from_a_sound_one_and_from_one_another():
    sound = {photo for photos in strangers.sound_photos().values() for photo in photos}
    photos = {strangers.photo(number) for number in range(300)}
    assert len(photos - sound) > 290
    assert len({strangers.form(number) for number in range(300)}) > 290
