"""The memory budget for decoding images in several threads."""

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from threading import Barrier

import pytest
from PIL import Image

from detector.errors import NotAnImage
from training.data.parallel_decoding import MAX_DECODING_BYTES, MemoryBudget, read_image_in_budget


def test_threads_hold_at_most_the_limit_together():
    budget, held, seen = MemoryBudget(100), [], []
    start = Barrier(8)

    def work(count):
        start.wait()
        for _ in range(200):
            with budget.hold(count):
                held.append(count)
                seen.append(sum(held))
                held.remove(count)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [60, 60, 60, 60, 40, 40, 30, 10]))
    assert len(seen) == 1600
    assert max(seen) <= 100


def test_two_small_images_are_decoded_at_the_same_time():
    budget, both = MemoryBudget(100), Barrier(2, timeout=60)

    def work(count):
        with budget.hold(count):
            both.wait()  # fails unless both threads hold their memory

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, [50, 50]))


def test_more_than_the_limit_is_held_alone():
    budget = MemoryBudget(100)
    for _ in range(2):
        with budget.hold(500):
            pass


def test_memory_is_released_after_an_error():
    budget = MemoryBudget(100)
    for _ in range(2):
        with pytest.raises(ValueError, match="damaged"), budget.hold(100):
            raise ValueError("damaged")
    with budget.hold(100):
        pass


def test_an_image_is_decoded_and_a_text_is_refused():
    file = BytesIO()
    Image.new("RGB", (30, 20), (255, 0, 0)).save(file, "PNG")
    assert read_image_in_budget(file.getvalue()).shape == (20, 30, 3)
    with pytest.raises(NotAnImage):
        read_image_in_budget(b"text")
    assert MAX_DECODING_BYTES > 21 * 64_000_000
