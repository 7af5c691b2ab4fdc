"""The division of the cores, simulated for 1 to 64 cores with a model of how long a call with t threads takes."""

import heapq
import random

import pytest

from service.inference.core_allocator import CoreAllocator

FINISH, ARRIVE = 0, 1  # Order of simultaneous events: calls end before new images arrive.
CORES = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]


def call_seconds(threads, serial):
    """Amdahl's law: the serial share of a call is not divided among its threads."""
    return serial + (1 - serial) / threads


def simulate(cores, clients, *, serial, pause=0.0, max_calls=None, responses=400, seed=0):
    """Simulate clients that send their next image as soon as they have a response, or after a random pause.

    Return images per second, mean seconds per image, and the largest number of cores that were idle while images waited.
    """
    allocator, rng = CoreAllocator(cores, max_calls or cores), random.Random(seed)
    events = [(0.0, ARRIVE, client, 0) for client in range(clients)]
    waiting, latencies, time, idle = [], [], 0.0, 0
    while len(latencies) < responses:
        time, kind, client, threads = heapq.heappop(events)
        if kind == FINISH:
            allocator.finish(threads)
        if kind == ARRIVE:
            waiting.append((time, client))
            allocator.arrive(len(waiting))
        if events and events[0][0] == time:
            continue  # images that arrive at the same time share the cores
        while waiting and allocator.can_start:
            threads = allocator.start(len(waiting))
            arrived, sender = waiting.pop(0)
            done = time + call_seconds(threads, serial)
            latencies.append(done - arrived)
            heapq.heappush(events, (done, FINISH, sender, threads))
            heapq.heappush(events, (done + rng.expovariate(1 / pause) if pause else done, ARRIVE, sender, 0))
        if waiting:
            idle = max(idle, allocator.free)
    return responses / time, sum(latencies) / len(latencies), idle


def best_fixed_throughput(cores, clients, serial):
    """Return the images per second of the best fixed number of parallel calls, each with an equal share of the cores."""
    return max(calls / call_seconds(cores // calls, serial) for calls in range(1, min(cores, clients) + 1))


@pytest.mark.parametrize("serial", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("cores", CORES)
def test_throughput_is_close_to_the_best_fixed_division(cores, serial):
    for clients in {1, 2, 3, cores // 2 or 1, max(1, cores - 1), cores, cores + 1, 2 * cores}:
        throughput, _, _ = simulate(cores, clients, serial=serial)
        assert throughput >= 0.8 * best_fixed_throughput(cores, clients, serial), clients


@pytest.mark.parametrize("cores", CORES)
def test_no_core_is_idle_while_images_wait(cores):
    for clients in (1, 2, cores - 1, cores, 3 * cores):
        for pause in (0.0, 0.2):
            assert simulate(cores, max(1, clients), serial=0.1, pause=pause)[2] == 0


@pytest.mark.parametrize("cores", CORES)
def test_lone_client_gets_all_cores(cores):
    _, latency, _ = simulate(cores, 1, serial=0.1)
    assert latency == pytest.approx(call_seconds(cores, 0.1))


@pytest.mark.parametrize("cores", CORES)
def test_latency_is_never_worse_than_with_sequential_calls_that_use_all_cores(cores):
    for clients in (2, 3, cores, 2 * cores):
        _, latency, _ = simulate(cores, clients, serial=0.1)
        assert latency <= 1.05 * clients * call_seconds(cores, 0.1)


def test_fifteen_clients_use_all_of_sixteen_cores():
    allocator = CoreAllocator(16, 16)
    calls = [allocator.start(waiting) for waiting in range(15, 0, -1)]
    assert sorted(calls) == [1] * 14 + [2]
    assert allocator.free == 0


def test_three_images_share_sixteen_cores():
    allocator = CoreAllocator(16, 16)
    assert [allocator.start(waiting) for waiting in (3, 2, 1)] == [5, 5, 6]


def test_all_cores_return_to_a_lone_client_soon_after_others_have_left():
    allocator = CoreAllocator(16, 16)
    for waiting in range(1, 17):
        allocator.arrive(waiting)
    for cores in [allocator.start(waiting) for waiting in range(16, 0, -1)]:
        allocator.finish(cores)
    cores_per_call = []
    for _ in range(8):
        allocator.arrive(1)
        cores_per_call.append(allocator.start(1))
        allocator.finish(cores_per_call[-1])
    assert cores_per_call == sorted(cores_per_call)
    assert cores_per_call[-1] == 16


@pytest.mark.parametrize("max_calls", [1, 2, 3, 5])
def test_number_of_parallel_calls_is_limited(max_calls):
    allocator = CoreAllocator(16, max_calls)
    calls = []
    while allocator.can_start:
        calls.append(allocator.start(40))
    assert len(calls) == max_calls
    assert sum(calls) == 16
