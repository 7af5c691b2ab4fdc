"""The network's threads: who is computed when, and with what, batches of what is ready, and failures that stay where they are."""

import random
import threading
import time

import numpy as np
import pytest
from service.inference.lanes import Lanes

from service.inference.admission_queue import Dropped
from service.inference.executor import BatchingOptions, InferenceExecutor

SIZE = 4


def picture(number):
    return np.full((SIZE, SIZE, 3), number, np.float32)


class Network:
    """Answers each photo's number; waits for the gate; fails for what holds a 13."""

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
    return Network()


@pytest.fixture
def turns(network):
    pools = []

    def make(size=1, wait=0.0):
        pools.append(Lanes(1))
        return InferenceExecutor(network, pools[-1], BatchingOptions(size, wait))

    yield make
    network.gate.set()
    for pool in pools:
        pool.shutdown()


def wanted():
    return False


def submit_behind(network, turns, numbers, dropped=wanted):
    """The futures of these numbers, which got ready while the network had a 0 to compute."""
    network.gate.clear()
    first = turns.submit(picture(0), wanted)
    assert network.entered.wait(30)
    futures = [turns.submit(picture(number), dropped) for number in numbers]
    network.gate.set()
    first.result(30)
    return futures


def test_photos_go_one_by_one_unless_batches_are_wanted(network, turns):
    futures = submit_behind(network, turns(), [1, 2, 3])
    assert [future.result(30).raw.item() for future in futures] == [1, 2, 3]
    assert network.batches == [[0], [1], [2], [3]]


def test_a_batch_takes_what_is_ready_and_no_more_than_its_size(network, turns):
    futures = submit_behind(network, turns(size=3), [1, 2, 3, 4, 5])
    told = [future.result(30) for future in futures]
    assert network.batches == [[0], [1, 2, 3], [4, 5]]
    assert [one.raw.item() for one in told] == [1, 2, 3, 4, 5]
    assert [one.batch for one in told] == [3, 3, 3, 2, 2]
    assert [one.first for one in told] == [True, False, False, True, False]


def test_the_first_of_a_batch_waits_for_the_others(network, turns):
    patient = turns(size=2, wait=60)
    futures = [patient.submit(picture(number), wanted) for number in (1, 2)]
    assert [future.result(30).batch for future in futures] == [2, 2]
    assert network.batches == [[1, 2]]


def test_one_photo_that_fails_spoils_no_other_of_its_batch(network, turns):
    futures = submit_behind(network, turns(size=3), [1, 13, 2])
    assert futures[0].result(30).raw.item() == 1
    assert futures[2].result(30).raw.item() == 2
    with pytest.raises(RuntimeError, match="thirteen"):
        futures[1].result(30)


def test_what_nobody_waits_for_is_not_computed(network, turns):
    for future in submit_behind(network, turns(size=2), [1, 2, 3], dropped=lambda: True):
        with pytest.raises(Dropped):
            future.result(30)
    assert network.batches == [[0]]


class Watched:
    """A network and its narrow twin that note what goes on at a time; each call waits for as many permits as it is told."""

    def __init__(self):
        self.lock, self.now, self.most, self.said = threading.Lock(), [], [], []
        self.permits = threading.Semaphore(0)

    def _call(self, kind, images):
        number = int(images[0, 0, 0, 0])
        with self.lock:
            self.now.append(kind)
            self.most.append(tuple(self.now))
            self.said.append((kind, number))
        assert self.permits.acquire(timeout=30)
        with self.lock:
            self.now.remove(kind)
        return images[:, :1, :1, :1]

    def wide(self, images):
        return self._call("wide", images)

    def narrow(self, images):
        return self._call("narrow", images)

    def begun(self, count):
        """Wait until so many calls have begun."""
        end = time.monotonic() + 30
        while len(self.said) < count:
            assert time.monotonic() < end


@pytest.fixture
def watched():
    watched, pools = Watched(), []

    def make(lanes, batching=None, *, parallel=True):
        pools.append(Lanes(lanes))
        return InferenceExecutor(watched.wide, pools[-1], batching or BatchingOptions(), watched.narrow if parallel else None)

    watched.turns = make
    yield watched
    watched.permits.release(10_000)
    for pool in pools:
        pool.shutdown()


def test_a_photo_that_is_alone_has_all_cores_and_those_that_wait_for_it_get_one_each(watched):
    turns = watched.turns(2)
    futures = [turns.submit(picture(0), wanted)]
    watched.begun(1)
    futures += [turns.submit(picture(number), wanted) for number in (1, 2, 3)]
    watched.permits.release()
    watched.begun(3)
    assert watched.said[0] == ("wide", 0)
    assert sorted(watched.said[1:3]) == [("narrow", 1), ("narrow", 2)]
    watched.permits.release()  # one of the two goes on, so that the next is not alone
    watched.begun(4)
    assert watched.said[3] == ("narrow", 3)
    watched.permits.release(2)
    assert [future.result(30).raw.item() for future in futures] == [0, 1, 2, 3]
    assert set(watched.most) <= {("wide",), ("narrow",), ("narrow", "narrow")}


def test_on_many_cores_few_photos_go_one_by_one_with_all_of_them(watched):
    turns = watched.turns(4)
    futures = [turns.submit(picture(0), wanted)]
    watched.begun(1)
    futures += [turns.submit(picture(number), wanted) for number in (1, 2, 3)]
    watched.permits.release(4)
    assert [future.result(30).raw.item() for future in futures] == [0, 1, 2, 3]
    assert watched.said == [("wide", number) for number in range(4)]


@pytest.mark.parametrize("options", [{"parallel": False}, {"batching": BatchingOptions(3, 0.001)}])
def test_a_network_that_may_not_be_called_twice_is_not_and_batches_are_alone(watched, options):
    turns = watched.turns(3, **options)
    watched.permits.release(1000)
    futures = [turns.submit(picture(number), wanted) for number in range(40)]
    assert [future.result(30).raw.item() for future in futures] == list(range(40))
    assert set(watched.most) == {("wide",)}


def test_at_no_moment_has_a_photo_all_cores_while_another_is_computed(watched):
    turns, dice = watched.turns(2), random.Random(3)
    watched.permits.release(10_000)
    futures = []
    for number in range(300):
        futures.append(turns.submit(picture(number), wanted))
        if dice.random() < 0.3:
            futures[-1].result(30)
    assert [future.result(30).raw.item() for future in futures] == list(range(300))
    assert set(watched.most) <= {("wide",), ("narrow",), ("narrow", "narrow")}
    assert watched.said[0] == ("wide", 0)


def test_a_photo_that_fails_beside_another_spoils_nothing(watched):
    def failing(images):
        watched.narrow(images)
        raise RuntimeError("thirteen")

    turns = InferenceExecutor(watched.wide, Lanes(2), BatchingOptions(), failing)
    first = turns.submit(picture(0), wanted)
    watched.begun(1)
    others = [turns.submit(picture(number), wanted) for number in (1, 2)]
    watched.permits.release()
    watched.begun(3)
    watched.permits.release(3)
    assert first.result(30).raw.item() == 0
    for future in others:
        with pytest.raises(RuntimeError, match="thirteen"):
            future.result(30)
    assert turns.submit(picture(7), wanted).result(30).raw.item() == 7
