"""Pacing: one request without an API key starts in each round of the event loop, and a request with a key starts at once."""

import asyncio

import pytest

from service.app import create_app
from service.auth.api_keys import HashedKey, new_key
from service.middleware.pacing import Pacer
from service.models.registry import Registry
from service.settings import Settings
from tests.service.asgi import async_client

KEY = new_key()


async def count_rounds(rounds):
    while True:
        rounds[0] += 1
        await asyncio.sleep(0)


async def starts_by_round(cancelled=()):
    """Let 20 tasks wait at once, and return the round in which each of them continued."""
    pacer, rounds, starts = Pacer(), [0], {}

    async def start(number):
        await pacer.wait()
        starts[number] = rounds[0]

    counter = asyncio.create_task(count_rounds(rounds))
    tasks = [asyncio.create_task(start(number)) for number in range(20)]
    await asyncio.sleep(0)
    for number in cancelled:
        tasks[number].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    counter.cancel()
    return starts


def test_one_task_continues_in_each_round_in_the_order_of_arrival():
    starts = asyncio.run(starts_by_round())
    assert list(starts) == list(range(20))
    assert len(set(starts.values())) == 20


def test_a_cancelled_task_does_not_stop_the_others():
    starts = asyncio.run(starts_by_round(cancelled=(5, 6, 19)))
    assert list(starts) == [number for number in range(20) if number not in (5, 6, 19)]


@pytest.mark.parametrize("headers", [{"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"}])
@pytest.mark.parametrize("path", ["/livez", "/openapi.json", "/models", "/nothing", "/web/main.js"])
def test_a_burst_of_requests_without_a_key_does_not_delay_a_request_with_a_key(path, headers):
    """500 connections with 16 requests each delayed it by up to 27 s."""
    app = create_app(Registry(), Settings(key_hashes=str(HashedKey.of("a", KEY))))
    finished = []

    async def send(client, number, path, headers):
        response = await client.get(path, headers=headers)
        finished.append(number)
        return response.status_code

    async def burst():
        async with async_client(app) as client:
            unknown = [{}, {"x-api-key": "unknown"}, {"authorization": "Bearer unknown"}]
            tasks = [send(client, number, path, unknown[number % 3]) for number in range(300)]
            return (await asyncio.gather(*tasks, send(client, "key", "/models", headers)))[-1]

    assert asyncio.run(burst()) == 200
    assert finished.index("key") < 100
