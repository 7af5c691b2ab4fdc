"""The scheduler alone: order, bounds, deadlines, and nothing done for nobody."""

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.errors import DeadlineMissed, Overloaded
from service.inference.admission_queue import AdmissionQueue, Dropped, Job
from service.inference.admission_queue import INITIAL_SERVICE_SECONDS, ServiceTimeEstimate


def run(test):
    """Run a coroutine function, with a pool of one thread and the time in an hour."""

    async def inside():
        with ThreadPoolExecutor(1) as pool:
            return await test(pool, asyncio.get_running_loop().time() + 3600)

    return asyncio.run(inside())


async def until(condition):
    """Give way until it holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


def gated(pool, gate, seen, name):
    """Work of two stages: notes its name, waits for the gate, notes it again."""

    def first():
        seen.append(f"{name} begins")
        assert gate.wait(30)

    async def work(job: Job):
        await job.stage(pool, first)
        await job.stage(pool, seen.append, f"{name} ends")
        return name

    return work


def test_answers_come_in_the_order_of_asking():
    async def test(pool, later):
        scheduler, gate, seen = AdmissionQueue(1, 10), threading.Event(), []
        tasks = [asyncio.create_task(scheduler.run(gated(pool, gate, seen, number), later)) for number in range(5)]
        await until(lambda: seen)
        assert (scheduler.running, scheduler.waiting) == (1, 4)
        gate.set()
        answers = await asyncio.gather(*tasks)
        assert (scheduler.running, scheduler.waiting) == (0, 0)
        return answers, seen

    answers, seen = run(test)
    assert answers == [0, 1, 2, 3, 4]
    assert seen == [f"{number} {what}" for number in range(5) for what in ("begins", "ends")]


def test_one_more_than_the_queue_holds_is_refused_with_the_time_that_the_others_take():
    async def test(pool, later):
        scheduler, gate = AdmissionQueue(2, 3), threading.Event()
        scheduler.service_time.seconds = 0.7
        tasks = [asyncio.create_task(scheduler.run(gated(pool, gate, [], number), later)) for number in range(5)]
        await until(lambda: scheduler.waiting == 3)
        with pytest.raises(Overloaded, match="3 photos wait") as refused:
            await scheduler.run(gated(pool, gate, [], "too many"), later)
        gate.set()
        await asyncio.gather(*tasks)
        scheduler.check_capacity()
        return refused.value.retry_after

    assert run(test) == 4  # 5 * 0.7 = 3.5


def test_a_deadline_in_the_queue_frees_the_place_at_once_and_nothing_of_it_begins():
    async def test(pool, later):
        scheduler, gate, seen = AdmissionQueue(1, 1), threading.Event(), []
        first = asyncio.create_task(scheduler.run(gated(pool, gate, seen, "first"), later))
        await until(lambda: seen)
        with pytest.raises(DeadlineMissed):
            await scheduler.run(gated(pool, gate, seen, "late"), asyncio.get_running_loop().time() + 0.01)
        assert scheduler.waiting == 0
        second = asyncio.create_task(scheduler.run(gated(pool, gate, seen, "second"), later))
        gate.set()
        assert await asyncio.gather(first, second) == ["first", "second"]
        return seen

    assert not [line for line in run(test) if "late" in line]


def test_a_deadline_between_two_stages_skips_the_second():
    async def test(pool, later):
        scheduler, gate, seen = AdmissionQueue(1, 1), threading.Event(), []
        with pytest.raises(DeadlineMissed):
            await scheduler.run(gated(pool, gate, seen, "late"), asyncio.get_running_loop().time() + 0.05)
        gate.set()
        assert await scheduler.run(gated(pool, gate, seen, "next"), later) == "next"
        return seen

    assert run(test) in (["late begins", "next begins", "next ends"], ["next begins", "next ends"])


def test_a_deadline_that_is_over_already_is_told_at_once():
    async def test(pool, _later):
        scheduler, seen = AdmissionQueue(1, 1), []
        with pytest.raises(DeadlineMissed, match="before its photo had arrived"):
            await scheduler.run(gated(pool, threading.Event(), seen, "late"), asyncio.get_running_loop().time())
        assert (scheduler.running, scheduler.waiting) == (0, 0)
        return seen

    assert run(test) == []


def test_who_is_cancelled_is_not_worked_for():
    async def test(pool, later):
        scheduler, gate, seen = AdmissionQueue(1, 2), threading.Event(), []
        tasks = [asyncio.create_task(scheduler.run(gated(pool, gate, seen, name), later)) for name in ("first", "gone", "last")]
        await until(lambda: seen)
        tasks[1].cancel()
        tasks[0].cancel()
        await until(tasks[0].done)
        assert scheduler.running == 1  # the stage that has begun cannot be stopped, and keeps its place
        gate.set()
        assert await tasks[2] == "last"
        return seen

    assert run(test) == ["first begins", "last begins", "last ends"]


def test_an_error_goes_to_whom_it_belongs_and_the_next_is_served():
    async def test(_pool, later):
        scheduler = AdmissionQueue(1, 3)

        async def fails(_job):
            raise TimeoutError("of the work, not of the deadline")

        async def works(_job):
            return "well"

        return await asyncio.gather(*(scheduler.run(work, later) for work in (fails, works, fails, works)), return_exceptions=True)

    first, second, third, fourth = run(test)
    assert isinstance(first, TimeoutError)
    assert isinstance(third, TimeoutError)
    assert (second, fourth) == ("well", "well")


@pytest.mark.parametrize(("error", "told"), [(Dropped(), False), (DeadlineMissed("."), False), (RuntimeError("broken"), True)])
def test_a_fault_that_nobody_waits_for_any_more_is_logged(caplog, error, told):
    async def test(_pool, _later):
        scheduler, gate = AdmissionQueue(1, 1), asyncio.Event()

        async def fails(_job):
            await gate.wait()
            raise error

        with pytest.raises(DeadlineMissed):
            await scheduler.run(fails, asyncio.get_running_loop().time() + 0.01)
        gate.set()
        await until(lambda: not scheduler.running)

    with caplog.at_level(logging.ERROR):
        run(test)
    assert bool(caplog.records) == told


def test_the_time_of_one_photo_is_the_time_between_two_answers():
    time = ServiceTimeEstimate()
    assert time.seconds == INITIAL_SERVICE_SECONDS
    for number in range(100):  # three at a time, each half a second from first to last, an answer every quarter
        time.measured(entered=number * 0.25 - 0.25, ended=number * 0.25 + 0.25)
    assert time.seconds == pytest.approx(0.25, rel=0.02)


def test_a_pause_does_not_count_as_time_of_a_photo():
    time = ServiceTimeEstimate()
    for hour in range(50):
        time.measured(entered=3600.0 * hour, ended=3600.0 * hour + 0.2)
    assert time.seconds == pytest.approx(0.2)
