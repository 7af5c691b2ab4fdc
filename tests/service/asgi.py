"""Helpers for tests that send concurrent requests to a service in this process."""

import asyncio

import httpx


def async_client(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", timeout=60)


async def wait_until(condition):
    """Let other tasks run until `condition()` is true."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


def without_timing(response):
    """Return the JSON response without its measured times."""
    return {name: value for name, value in response.items() if name not in ("timing_ms", "inferenceMs", "processMs")}
