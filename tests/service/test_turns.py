"""The network's thread: one call at a time, batches of what is ready, and failures that stay where they are."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from service.scheduler import Dropped
from service.turns import Batching, Turns

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
        pools.append(ThreadPoolExecutor(1))
        return Turns(network, pools[-1], Batching(size, wait))

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
