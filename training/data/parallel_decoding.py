"""Decode images in several threads within a memory budget. Six images of 64 megapixels at the same time would need 8 GB."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from detector.boxes.placement import ImageArray
from detector.imaging.image import read_headers, read_image

MAX_DECODING_BYTES = 3 * 2**29
"""Memory for decoding images at the same time. The largest allowed image needs a little less."""


class MemoryBudget:
    """Lets threads wait until the memory that they need is free. A thread that needs more than the limit waits until all of it is free."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Hold `count` bytes for the `with` block."""
        with self._changed:
            self._changed.wait_for(lambda: self._used == 0 or self._used + count <= self._limit)
            self._used += count
        try:
            yield
        finally:
            with self._changed:
                self._used -= count
                self._changed.notify_all()


_budget = MemoryBudget(MAX_DECODING_BYTES)


def read_image_in_budget(image_bytes: bytes) -> ImageArray:
    """Decode an image like `read_image`. Wait while other threads decode images that need too much memory."""
    with _budget.hold(read_headers(image_bytes).peak_bytes()):
        return read_image(image_bytes)
