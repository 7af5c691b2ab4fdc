"""Peak memory of a service process and its children while it receives many large images at the same time."""

import io
import re
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

MIB = 2**20
PROCESS_BYTES = 250 * MIB
"""Memory growth that the limit for images does not include: threads, heaps, JSON, base64 and socket buffers."""


def memory_of(process, field):
    """Return a field of /proc/PID/status in bytes, or 0 if the process has ended."""
    try:
        return 1024 * int(re.search(rf"{field}:\s+(\d+)", Path(f"/proc/{process}/status").read_text())[1])
    except (OSError, TypeError):
        return 0


def children_of(process):
    return [child for thread in Path(f"/proc/{process}/task").iterdir() for child in (thread / "children").read_text().split()]


@contextmanager
def peak_memory(process):
    """Yield a list. At the end it contains the peak of the resident memory of the process and its children."""
    peak, ended = [0], threading.Event()

    def watch():
        while not ended.wait(0.02):
            children = sum(memory_of(child, "VmHWM") for child in children_of(process))
            peak[0] = max(peak[0], memory_of(process, "VmRSS") + children)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def encode_image_with_noise(form, side):
    """Encode a large image with noise in one corner, so that its file is small but its annotated PNG is not trivial."""
    image = Image.new("RGB", (side, side), (90, 120, 150))
    image.paste(Image.fromarray(np.random.default_rng(0).integers(0, 256, (800, 800, 3), np.uint8)), (side - 900, side - 900))
    out = io.BytesIO()
    image.save(out, form, **({"lossless": True, "method": 0} if form == "WEBP" else {"compress_level": 1} if form == "PNG" else {}))
    return out.getvalue()


def send_all(url, files, clients):
    def send(image_bytes):
        return httpx.post(
            f"{url}/detect?format=both", content=image_bytes, headers={"Accept": "image/png", "X-Request-Timeout": "3000"}, timeout=3000
        )

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(send, files))


def check_memory(start_service, model_file, files, limit, clients):
    """Send all files with many clients. The process stays within its limit, and answers afterwards."""
    service = start_service(
        model_file, BOXWRIGHT_MAX_IMAGE_BYTES=str(limit), BOXWRIGHT_REQUEST_SECONDS="3000", BOXWRIGHT_BODY_SECONDS="600"
    )
    try:
        before = service.memory()
        with peak_memory(service.process.pid) as peak:
            responses = send_all(service.url, files, clients)
        growth = peak[0] - before
        print(f"memory grew by {growth / MIB:,.0f} MiB")
        alive = httpx.post(f"{service.url}/detect", content=encode_image_with_noise("JPEG", 1000), timeout=600).status_code
    finally:
        service.stop()
    counts = Counter(response.status_code for response in responses)
    assert set(counts) <= {200, 413, 503}, counts
    assert counts[200] > 0
    assert alive == 200
    assert growth < limit + PROCESS_BYTES, f"{growth / MIB:,.0f} MiB; {counts}"
    return responses


def test_many_large_images_are_answered_and_one_that_can_never_fit_is_refused(start_service, model_file):
    files = [
        encode_image_with_noise("PNG", 3000),
        *2 * [encode_image_with_noise("PNG", 2000), encode_image_with_noise("JPEG", 2000)],
        encode_image_with_noise("BMP", 2000),
    ]
    first, *others = check_memory(start_service, model_file, files, 128 * MIB, clients=6)
    assert [response.status_code for response in others] == [200] * 5
    assert first.status_code == 413
    assert first.json()["type"] == "urn:boxwright:problem:image-too-large"
    assert "BOXWRIGHT_MAX_IMAGE_BYTES" in first.json()["detail"]


@pytest.mark.slow
def test_many_images_of_64_megapixels_at_once_stay_within_the_memory_limit(start_service, model_file):
    files = [encode_image_with_noise(form, 8000) for form in ("PNG", "JPEG", "WEBP")]
    responses = check_memory(start_service, model_file, 10 * files, 1800 * MIB, clients=30)
    assert Counter(response.status_code for response in responses)[503] > 0
