"""Hostile paths: matching them against the routes takes linear time."""

import asyncio
import time

import pytest

from service.app import create_app
from service.models.registry import Registry
from service.settings import Settings
from tests.service.asgi import async_client

LENGTH = 15_000


@pytest.fixture(scope="module")
def app():
    return create_app(Registry(), Settings())


@pytest.mark.parametrize("start", ["/v1/models/", "/v1/models/m/versions/", "/v2/models/m/versions/", "/web/"])
@pytest.mark.parametrize("part", [":", "a:", "%2f"])
def test_a_long_path_is_matched_in_linear_time(app, start, part):
    async def measure():
        async with async_client(app) as http:
            await http.get("/livez")  # the first request prepares the routes
            before = time.process_time()
            assert (await http.get(start + part * (LENGTH // len(part)) + "/x")).status_code == 404
            return time.process_time() - before

    assert asyncio.run(measure()) < 0.1  # quadratic time is 0.7 s for colons
