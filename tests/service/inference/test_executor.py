"""The inference executor: order, batches, parallel calls, and failures that affect one image only."""

import random
import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

import numpy as np
import pytest

from service.inference.executor import BatchingOptions, InferenceExecutor

SIZE = 4


def pixels(number):
    return np.full((SIZE, SIZE, 3), number, np.float32)


def submit(executor, *numbers):
    """Submit images that contain these numbers. Return their futures."""
    futures = [Future() for _ in numbers]
    for number, future in zip(numbers, futures, strict=True):
        executor.submit(pixels(number), future)
    return futures


def numbers_of(futures):
    return [future.result(30).logits.item() for future in futures]


class GatedNetwork:
    """A network that waits for the gate and returns the number in each image. A batch with the number 13 fails."""

    def __init__(self):
        self.batches, self.gate, self.entered = [], threading.Event(), threading.Event()
        self.gate.set()

    def __call__(self, images):
        self.entered.set()
        assert self.gate.wait(30)
        numbers = images[:, 0, 0, 0].astype(int).tolist()
        self.batches.append(numbers)
        if 13 in numbers:
            raise RuntimeError("thirteen")
        return images[:, :1, :1, :1]


@pytest.fixture
def network():
    return GatedNetwork()


@pytest.fixture
def make_executor(network):
    """(batch size, wait) -> an executor of the gated network with one thread."""
    pools = []

    def make(size=1, wait=0.0):
        pools.append(ThreadPoolExecutor(1))
        return InferenceExecutor(network, pools[-1], BatchingOptions(size, wait))

    yield make
    network.gate.set()
    for pool in pools:
        pool.shutdown()


def submit_while_busy(network, executor, *numbers):
    """Submit images while the network processes an image of 0. Return the future of that image and those of the others."""
    network.gate.clear()
    (first,) = submit(executor, 0)
    assert network.entered.wait(30)
    return first, submit(executor, *numbers)


def test_images_are_processed_in_order_without_batching(network, make_executor):
    _, futures = submit_while_busy(network, make_executor(), 1, 2, 3)
    network.gate.set()
    assert numbers_of(futures) == [1, 2, 3]
    assert network.batches == [[0], [1], [2], [3]]


def test_batch_contains_the_waiting_images_up_to_its_size(network, make_executor):
    _, futures = submit_while_busy(network, make_executor(size=3), 1, 2, 3, 4, 5)
    network.gate.set()
    outputs = [future.result(30) for future in futures]
    assert network.batches == [[0], [1, 2, 3], [4, 5]]
    assert [output.logits.item() for output in outputs] == [1, 2, 3, 4, 5]
    assert [output.batch_size for output in outputs] == [3, 3, 3, 2, 2]
    assert [output.is_first for output in outputs] == [True, False, False, True, False]


def test_first_image_of_a_batch_waits_for_the_others(network, make_executor):
    futures = submit(make_executor(size=2, wait=60), 1, 2)
    assert [future.result(30).batch_size for future in futures] == [2, 2]
    assert network.batches == [[1, 2]]


def test_image_that_fails_does_not_fail_its_batch(network, make_executor):
    _, futures = submit_while_busy(network, make_executor(size=3), 1, 13, 2)
    network.gate.set()
    assert numbers_of([futures[0], futures[2]]) == [1, 2]
    with pytest.raises(RuntimeError, match="thirteen"):
        futures[1].result(30)


def test_cancelled_image_is_not_processed(network, make_executor):
    first, futures = submit_while_busy(network, make_executor(size=2), 1, 2, 3)
    assert all(future.cancel() for future in futures)
    network.gate.set()
    assert first.result(30).logits.item() == 0
    for future in futures:
        with pytest.raises(CancelledError):
            future.result(30)
    assert network.batches == [[0]]


class RecordingNetwork:
    """A network that records which calls run at the same time. Each call waits for a permit."""

    def __init__(self):
        self.lock, self.running, self.concurrent, self.calls = threading.Lock(), [], [], []
        self.permits = threading.Semaphore(0)

    def _call(self, kind, images):
        number = int(images[0, 0, 0, 0])
        with self.lock:
            self.running.append(kind)
            self.concurrent.append(tuple(sorted(self.running)))
            self.calls.append((kind, number))
        assert self.permits.acquire(timeout=30)
        with self.lock:
            self.running.remove(kind)
        return images[:, :1, :1, :1]

    def multi_threaded(self, images):
        return self._call("multi", images)

    def single_threaded(self, images):
        return self._call("single", images)

    def wait_for_calls(self, count):
        """Wait until this number of calls have begun."""
        end = time.monotonic() + 30
        while len(self.calls) < count:
            assert time.monotonic() < end


@pytest.fixture
def recorder():
    recorder, pools = RecordingNetwork(), []

    def make(cores, batching=None, *, single_threaded=recorder.single_threaded):
        pools.append(ThreadPoolExecutor(cores))
        return InferenceExecutor(
            recorder.multi_threaded,
            pools[-1],
            batching or BatchingOptions(),
            single_threaded=single_threaded,
            cores=cores,
            max_concurrency=cores,
        )

    recorder.executor = make
    yield recorder
    recorder.permits.release(10_000)
    for pool in pools:
        pool.shutdown()


def test_lone_image_uses_all_cores_and_waiting_images_use_one_core_each(recorder):
    executor = recorder.executor(2)
    futures = submit(executor, 0)
    recorder.wait_for_calls(1)
    futures += submit(executor, 1, 2, 3)
    recorder.permits.release()
    recorder.wait_for_calls(3)
    assert recorder.calls[0] == ("multi", 0)
    assert sorted(recorder.calls[1:3]) == [("single", 1), ("single", 2)]
    recorder.permits.release()  # the other call still runs, so only one core is free
    recorder.wait_for_calls(4)
    assert recorder.calls[3] == ("single", 3)
    recorder.permits.release(2)
    assert numbers_of(futures) == [0, 1, 2, 3]
    assert set(recorder.concurrent) <= {("multi",), ("single",), ("single", "single")}


def test_fewer_waiting_images_than_cores_run_in_parallel(recorder):
    """Three images on four cores: one core, one core, and the two that are left."""
    executor = recorder.executor(4)
    futures = submit(executor, 0)
    recorder.wait_for_calls(1)
    futures += submit(executor, 1, 2, 3)
    recorder.permits.release()
    recorder.wait_for_calls(4)
    assert sorted(kind for kind, _ in recorder.calls[1:]) == ["multi", "single", "single"]
    recorder.permits.release(3)
    assert numbers_of(futures) == [0, 1, 2, 3]


def test_fifteen_waiting_images_leave_no_core_of_sixteen_idle(recorder):
    executor = recorder.executor(16)
    futures = submit(executor, 0)
    recorder.wait_for_calls(1)
    futures += submit(executor, *range(1, 16))
    recorder.permits.release()
    recorder.wait_for_calls(16)
    assert len(recorder.concurrent[-1]) == 15
    recorder.permits.release(15)
    assert numbers_of(futures) == list(range(16))


@pytest.mark.parametrize("options", [{"single_threaded": None}, {"batching": BatchingOptions(3, 0.001)}])
def test_calls_are_sequential_with_batching_and_for_engines_without_parallel_calls(recorder, options):
    executor = recorder.executor(3, **options)
    recorder.permits.release(1000)
    assert numbers_of(submit(executor, *range(40))) == list(range(40))
    assert set(recorder.concurrent) == {("multi",)}


def test_call_with_all_cores_never_runs_at_the_same_time_as_another(recorder):
    executor, rng = recorder.executor(2), random.Random(3)
    recorder.permits.release(10_000)
    futures = []
    for number in range(300):
        futures += submit(executor, number)
        if rng.random() < 0.3:
            futures[-1].result(30)
    assert numbers_of(futures) == list(range(300))
    assert set(recorder.concurrent) <= {("multi",), ("single",), ("single", "single")}
    assert recorder.calls[0] == ("multi", 0)


def test_failure_of_a_parallel_call_affects_no_other_image(recorder):
    def failing(images):
        output = recorder.single_threaded(images)
        if images[0, 0, 0, 0] in (1, 2):
            raise RuntimeError("the call failed")
        return output

    executor = recorder.executor(2, single_threaded=failing)
    (first,) = submit(executor, 0)
    recorder.wait_for_calls(1)
    others = submit(executor, 1, 2)
    recorder.permits.release()
    recorder.wait_for_calls(3)
    recorder.permits.release(10)
    assert first.result(30).logits.item() == 0
    for future in others:
        with pytest.raises(RuntimeError, match="the call failed"):
            future.result(30)
    assert numbers_of(submit(executor, 7)) == [7]
