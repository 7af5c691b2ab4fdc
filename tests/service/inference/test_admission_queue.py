"""The admission queue alone: order, limits, deadlines, cancellation, and the estimate of Retry-After."""

import asyncio
import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from detector.errors import DamagedImage
from service.errors import DeadlineMissed, Overloaded
from service.inference.admission_queue import INITIAL_SERVICE_SECONDS, AdmissionQueue, ServiceTimeEstimate
from tests.service.asgi import wait_until


def run(test):
    """Run `test(pool, deadline)` with a pool of one thread and a deadline in one hour."""

    async def run_test():
        with ThreadPoolExecutor(1) as pool:
            return await test(pool, now() + 3600)

    return asyncio.run(run_test())


def now():
    return asyncio.get_running_loop().time()


async def two_stages(queue, deadline, pool, gate, log, name):
    """Run a job that logs the start of its two stages. The first stage waits for the gate."""

    def first():
        log.append(f"{name} first")
        assert gate.wait(30)

    async with queue.slot(deadline) as slot:
        await slot.run(pool, first)
        await slot.run(pool, log.append, f"{name} second")
    return name


def test_jobs_are_processed_in_order_of_arrival():
    async def test(pool, deadline):
        queue, gate, log = AdmissionQueue(1, 10), threading.Event(), []
        tasks = [asyncio.create_task(two_stages(queue, deadline, pool, gate, log, number)) for number in range(5)]
        await wait_until(lambda: log)
        assert (queue.running, queue.waiting) == (1, 4)
        gate.set()
        names = await asyncio.gather(*tasks)
        assert (queue.running, queue.waiting) == (0, 0)
        return names, log

    names, log = run(test)
    assert names == [0, 1, 2, 3, 4]
    assert log == [f"{number} {stage}" for number in range(5) for stage in ("first", "second")]


def test_full_queue_refuses_a_job_and_states_when_its_jobs_will_be_finished():
    async def test(pool, deadline):
        queue, gate = AdmissionQueue(2, 3), threading.Event()
        queue.service_time.seconds = 0.7
        tasks = [asyncio.create_task(two_stages(queue, deadline, pool, gate, [], number)) for number in range(5)]
        await wait_until(lambda: queue.waiting == 3)
        with pytest.raises(Overloaded, match=r"The queue is full \(3 images waiting\)") as refused:
            await two_stages(queue, deadline, pool, gate, [], "sixth")
        gate.set()
        await asyncio.gather(*tasks)
        queue.check_capacity()
        return refused.value.retry_after

    assert run(test) == 4  # 5 jobs * 0.7 s = 3.5 s


def test_job_that_misses_its_deadline_in_the_queue_is_removed_and_never_starts():
    async def test(pool, deadline):
        queue, gate, log = AdmissionQueue(1, 1), threading.Event(), []
        first = asyncio.create_task(two_stages(queue, deadline, pool, gate, log, "A"))
        await wait_until(lambda: log)
        with pytest.raises(DeadlineMissed):
            await two_stages(queue, now() + 0.01, pool, gate, log, "late")
        assert queue.waiting == 0
        second = asyncio.create_task(two_stages(queue, deadline, pool, gate, log, "B"))
        gate.set()
        assert await asyncio.gather(first, second) == ["A", "B"]
        return log

    assert not [line for line in run(test) if "late" in line]


def test_deadline_during_a_stage_skips_the_next_stage():
    async def test(pool, deadline):
        queue, gate, log = AdmissionQueue(1, 1), threading.Event(), []
        with pytest.raises(DeadlineMissed):
            await two_stages(queue, now() + 0.05, pool, gate, log, "late")
        gate.set()
        assert await two_stages(queue, deadline, pool, gate, log, "next") == "next"
        return log

    assert run(test) in (["late first", "next first", "next second"], ["next first", "next second"])


def test_stage_that_waits_for_a_thread_is_never_started_after_the_deadline():
    async def test(pool, deadline):
        queue, gate, log = AdmissionQueue(2, 1), threading.Event(), []
        first = asyncio.create_task(two_stages(queue, deadline, pool, gate, log, "A"))
        await wait_until(lambda: log)
        with pytest.raises(DeadlineMissed):
            await two_stages(queue, now() + 0.01, pool, gate, log, "late")
        assert queue.running == 1
        gate.set()
        await first
        return log

    assert run(test) == ["A first", "A second"]


def test_deadline_in_the_past_is_refused_at_once():
    async def test(pool, _deadline):
        queue, log = AdmissionQueue(1, 1), []
        with pytest.raises(DeadlineMissed, match="before its image had arrived"):
            await two_stages(queue, now(), pool, threading.Event(), log, "late")
        assert (queue.running, queue.waiting) == (0, 0)
        return log

    assert run(test) == []


def test_cancelled_job_starts_no_further_stage_and_its_running_stage_keeps_the_slot():
    async def test(pool, deadline):
        queue, gate, log = AdmissionQueue(1, 2), threading.Event(), []
        tasks = [asyncio.create_task(two_stages(queue, deadline, pool, gate, log, name)) for name in ("A", "B", "C")]
        await wait_until(lambda: log)
        tasks[1].cancel()
        tasks[0].cancel()
        await wait_until(tasks[0].done)
        assert queue.running == 1
        gate.set()
        assert await tasks[2] == "C"
        return log

    assert run(test) == ["A first", "C first", "C second"]


def test_job_that_is_cancelled_when_it_gets_its_slot_passes_the_slot_on():
    async def test(pool, deadline):
        queue, gate, log = AdmissionQueue(1, 2), threading.Event(), []
        gate.set()
        async with queue.slot(deadline):
            tasks = [asyncio.create_task(two_stages(queue, deadline, pool, gate, log, name)) for name in ("A", "B")]
            await wait_until(lambda: queue.waiting == 2)
        tasks[0].cancel()
        assert await tasks[1] == "B"
        assert (queue.running, queue.waiting) == (0, 0)
        return log

    assert run(test) == ["B first", "B second"]


def test_error_of_a_job_reaches_its_caller_and_the_next_job_runs():
    async def test(_pool, deadline):
        queue = AdmissionQueue(1, 3)

        async def job(fails):
            async with queue.slot(deadline):
                await asyncio.sleep(0)
                if fails:
                    raise TimeoutError("from the job, not from the deadline")
                return "result"

        return await asyncio.gather(*(job(fails) for fails in (True, False, True, False)), return_exceptions=True)

    first, second, third, fourth = run(test)
    assert isinstance(first, TimeoutError)
    assert isinstance(third, TimeoutError)
    assert (second, fourth) == ("result", "result")


@pytest.mark.parametrize(("error", "logged"), [(None, False), (DamagedImage("damaged."), False), (RuntimeError("broken"), True)])
def test_unexpected_error_of_an_abandoned_stage_is_logged(caplog, error, logged):
    async def test(_pool, _deadline):
        queue, stage = AdmissionQueue(1, 1), Future()
        stage.set_running_or_notify_cancel()
        with pytest.raises(DeadlineMissed):
            async with queue.slot(now() + 0.01) as slot:
                await slot.wait(stage)
        assert queue.running == 1
        stage.set_exception(error) if error else stage.set_result("too late")
        await wait_until(lambda: not queue.running)

    with caplog.at_level(logging.ERROR):
        run(test)
    assert bool(caplog.records) == logged


def test_service_time_is_the_interval_between_two_finished_jobs():
    estimate = ServiceTimeEstimate()
    assert estimate.seconds == INITIAL_SERVICE_SECONDS
    for number in range(100):  # two at a time, half a second each: one finishes every quarter of a second
        estimate.add(entered=number * 0.25 - 0.25, finished=number * 0.25 + 0.25)
    assert estimate.seconds == pytest.approx(0.25, rel=0.02)


def test_service_time_does_not_include_pauses():
    estimate = ServiceTimeEstimate()
    for hour in range(50):
        estimate.add(entered=3600.0 * hour, finished=3600.0 * hour + 0.2)
    assert estimate.seconds == pytest.approx(0.2)


class ManualClock(asyncio.SelectorEventLoop):
    """An event loop. Only the test moves its time."""

    seconds = 0.0

    def time(self):
        return self.seconds


def test_retry_after_includes_the_work_of_jobs_that_missed_their_deadline():
    """30 images of 0.4 s each take 12 s. None of the earlier jobs was answered, because all missed a deadline of 0.3 s."""
    loop = ManualClock()

    async def miss_deadline(queue, stage):
        with pytest.raises(DeadlineMissed):
            async with queue.slot(loop.seconds + 0.3) as slot:
                await slot.wait(stage)

    async def run_other_tasks(count=20):
        for _ in range(count):
            await asyncio.sleep(0)

    async def test():
        queue = AdmissionQueue(1, 32)
        for _ in range(5):
            stages = [Future() for _ in range(4)]
            stages[0].set_running_or_notify_cancel()
            tasks = [asyncio.create_task(miss_deadline(queue, stage)) for stage in stages]
            await run_other_tasks()
            loop.seconds += 0.35
            await asyncio.gather(*tasks)
            loop.seconds += 0.05
            stages[0].set_result("too late")
            await run_other_tasks()
        assert (queue.running, queue.waiting) == (0, 0)
        tasks = [asyncio.create_task(miss_deadline(queue, Future())) for _ in range(30)]
        await run_other_tasks()
        retry_after = queue.retry_after()
        loop.seconds += 1
        await asyncio.gather(*tasks)
        return retry_after

    try:
        assert loop.run_until_complete(test()) == 12
    finally:
        loop.close()


def test_abandoned_job_that_ended_early_does_not_lower_the_estimate():
    estimate = ServiceTimeEstimate()
    for number in range(20):
        estimate.add(entered=number, finished=number + 0.5)
    for number in range(100):
        estimate.add(entered=100.0 + number, finished=100.001 + number, abandoned=True)
    assert estimate.seconds == pytest.approx(0.5)
    estimate.add(entered=300.0, finished=302.0, abandoned=True)
    assert estimate.seconds > 0.5
