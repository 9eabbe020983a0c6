"""Who waits for a job: woken by what happens here, asking the ledger about what happens elsewhere."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from ring_mcp.domain import Job, JobState
from ring_mcp.domain.jobs import STUCK_AFTER_S
from ring_mcp.jobs.outcomes import Park, park
from ring_mcp.jobs.watch import LEAST_PAUSE_S, LOOK_AT_OTHERS_S, PROGRESS_INTERVAL_S, TAKE_UP_S, JobWatch
from tests.fake_clock import FakeClock
from tests.jobs.engine import Engine, until
from tests.ledger_samples import TROUBLE, carried


class Caller:
    """Somebody who waits: the task, and what it was told on the way."""

    def __init__(self, engine: Engine, job: Job, wait_s: float) -> None:
        self.told: list[Job] = []
        self.task = asyncio.create_task(engine.watch.wait(job.id, wait_s, self._hear))

    async def _hear(self, job: Job) -> None:
        self.told.append(job)

    async def answer(self) -> Job | None:
        return await asyncio.wait_for(self.task, 60)


def _has_heard(caller: Caller, count: int) -> bool:
    return len(caller.told) == count


async def rendering(engine: Engine) -> Job:
    job = await engine.new()
    for state in (JobState.SUBMITTING, JobState.RENDERING):
        job = await engine.ledger.save(job, carried(job, state))
    return job


async def test_a_job_that_is_driven_here_is_read_from_memory(engine: Engine) -> None:
    job = await rendering(engine)
    newer = replace(job, progress=40)
    engine.watch.hold(job)
    engine.watch.tell(newer)
    engine.ledger.calls.clear()
    assert await engine.watch.read(job.id) == newer
    assert engine.ledger.calls == []
    engine.watch.release(job.id)
    assert await engine.watch.read(job.id) == job
    assert await engine.watch.read("no such job") is None


async def test_what_is_told_of_a_job_not_held_is_not_kept(engine: Engine) -> None:
    job = await rendering(engine)
    engine.watch.tell(replace(job, progress=40))
    assert await engine.watch.read(job.id) == job


async def test_a_change_while_a_caller_is_told_is_not_missed(engine: Engine, clock: FakeClock) -> None:
    job = await rendering(engine)
    ended = carried(job, JobState.FAILED)
    engine.watch.hold(job)

    async def hear(_: Job) -> None:
        engine.watch.tell(ended)

    assert await asyncio.wait_for(engine.watch.wait(job.id, 50, hear), 20) == ended
    assert clock.pauses_s == [], "it is there before anybody waits"


@pytest.mark.parametrize("end", [JobState.FAILED, JobState.UNKNOWN])
async def test_a_job_that_nobody_carries_on_is_answered_at_once(
    engine: Engine, clock: FakeClock, end: JobState
) -> None:
    job = await engine.new()
    for state in (JobState.SUBMITTING, end):
        job = await engine.ledger.save(job, carried(job, state))
    caller = Caller(engine, job, 50)
    assert await caller.answer() == job
    assert (caller.told, clock.pauses_s) == ([], [])


async def test_a_result_that_cannot_be_stored_is_not_waited_for_long(engine: Engine, clock: FakeClock) -> None:
    """Its caller is told why; it is tried again all the same."""
    job = carried(await rendering(engine), JobState.STORING, failure=TROUBLE.model_copy(update={"since": clock.now()}))
    engine.watch.hold(job)
    clock.advance(STUCK_AFTER_S - 3)
    assert await clock.play(engine.watch.wait(job.id, 50)) == job
    assert clock.pauses_s == [PROGRESS_INTERVAL_S]


async def test_a_parked_job_is_answered_at_once(engine: Engine) -> None:
    job = await rendering(engine)
    parked = await engine.ledger.save(job, park(job, Park(TROUBLE, 60.0), job.created_at))
    assert await Caller(engine, job, 50).answer() == parked


async def test_a_parked_job_asked_for_gets_time_to_be_taken_up(engine: Engine, clock: FakeClock) -> None:
    job = await rendering(engine)
    parked = await engine.ledger.save(job, park(job, Park(TROUBLE, 60.0), job.created_at))
    waiting = asyncio.create_task(engine.watch.wait(job.id, 50, asked=parked))
    await clock.asleep()
    taken = await engine.ledger.save(parked, replace(parked, owner="another process", failure=None))
    failed = await engine.ledger.save(taken, carried(taken, JobState.FAILED))
    engine.watch.hear(job.id)
    assert await asyncio.wait_for(waiting, 60) == failed


@pytest.mark.parametrize(("wait_s", "waited_s"), [(50.0, 8.0), (2.0, 2.0)])
async def test_a_parked_job_that_nobody_takes_up_is_answered_soon(
    engine: Engine, clock: FakeClock, wait_s: float, waited_s: float
) -> None:
    job = await rendering(engine)
    parked = await engine.ledger.save(job, park(job, Park(TROUBLE, 60.0), job.created_at))
    waiting = engine.watch.wait(job.id, wait_s, asked=parked)
    assert await clock.play(asyncio.wait_for(waiting, 60)) == parked
    assert sum(clock.pauses_s) == waited_s
    assert TAKE_UP_S == 8.0, "longer than a process of a fleet needs between two looks for tasks"


async def test_a_job_that_is_not_there_is_answered_at_once(engine: Engine) -> None:
    job = replace(await rendering(engine), id="no such job")
    assert await Caller(engine, job, 50).answer() is None


async def test_whoever_waits_for_no_time_is_answered_without_being_told_anything(
    engine: Engine, clock: FakeClock
) -> None:
    job = await rendering(engine)
    caller = Caller(engine, job, 0)
    assert await caller.answer() == job
    assert (caller.told, clock.pauses_s) == ([], [])


async def test_a_caller_is_told_every_change_and_answered_at_the_end(engine: Engine, clock: FakeClock) -> None:
    job = await rendering(engine)
    engine.watch.hold(job)
    caller = Caller(engine, job, 50)
    await clock.asleep()
    for count, progress in ((2, 10), (3, 20)):
        engine.watch.tell(replace(job, progress=progress))
        await until(partial(_has_heard, caller, count))
    done = carried(job, JobState.FAILED)
    engine.watch.tell(done)
    assert await caller.answer() == done
    assert [told.progress for told in caller.told] == [0, 10, 20]
    assert clock.sleepers == 0


async def test_a_caller_is_told_every_five_seconds_that_nothing_changed(engine: Engine, clock: FakeClock) -> None:
    job = await rendering(engine)
    engine.watch.hold(job)
    caller = Caller(engine, job, 12)
    assert await clock.play(asyncio.wait_for(caller.task, 60)) == job
    assert clock.pauses_s == [PROGRESS_INTERVAL_S, PROGRESS_INTERVAL_S, 2.0]
    assert PROGRESS_INTERVAL_S == 5.0
    assert caller.told == [job] * 3


async def test_a_job_that_another_process_drives_is_looked_at_every_half_second(
    engine: Engine, clock: FakeClock
) -> None:
    job = await rendering(engine)
    caller = Caller(engine, job, 50)
    await clock.asleep()
    failed = await engine.ledger.save(job, carried(job, JobState.FAILED))
    clock.advance(LOOK_AT_OTHERS_S)
    assert await caller.answer() == failed
    assert clock.pauses_s == [LOOK_AT_OTHERS_S]
    assert LOOK_AT_OTHERS_S == 0.5


async def test_the_last_look_is_not_after_the_time_that_was_asked_for(engine: Engine, clock: FakeClock) -> None:
    job = await rendering(engine)
    caller = Caller(engine, job, 1.25)
    await clock.play(asyncio.wait_for(caller.task, 60))
    assert clock.pauses_s == [0.5, 0.5, 0.25]


async def test_a_job_let_go_of_here_is_looked_at_in_the_ledger(engine: Engine, clock: FakeClock) -> None:
    job = await rendering(engine)
    engine.watch.hold(job)
    caller = Caller(engine, job, 50)
    await clock.asleep()
    failed = await engine.ledger.save(job, carried(job, JobState.FAILED))
    engine.watch.release(job.id)
    assert await caller.answer() == failed


async def test_several_callers_of_one_job_are_all_answered(engine: Engine, clock: FakeClock) -> None:
    job = await rendering(engine)
    engine.watch.hold(job)
    callers = [Caller(engine, job, 50) for _ in range(3)]
    await until(lambda: clock.sleepers == 3)
    engine.watch.tell(carried(job, JobState.FAILED))
    assert [(await caller.answer()).state for caller in callers] == [JobState.FAILED] * 3  # type: ignore[union-attr]


async def test_what_happens_to_one_job_wakes_nobody_who_waits_for_another(engine: Engine, clock: FakeClock) -> None:
    mine, other = await rendering(engine), await rendering(engine)
    engine.watch.hold(mine)
    engine.watch.hold(other)
    caller = Caller(engine, mine, 50)
    await clock.asleep()
    engine.watch.tell(replace(other, progress=10))
    engine.watch.release(other.id)
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(caller.told) == 1
    caller.task.cancel()


async def test_a_caller_that_leaves_leaves_nothing_behind(engine: Engine, clock: FakeClock) -> None:
    job = await rendering(engine)
    engine.watch.hold(job)
    caller = Caller(engine, job, 50)
    await clock.asleep()
    caller.task.cancel()
    assert engine.watch.is_awaited(job.id)
    with pytest.raises(asyncio.CancelledError):
        await caller.task
    assert not engine.watch.is_awaited(job.id)
    assert clock.sleepers == 0
    engine.watch.tell(replace(job, progress=10))  # and is told nothing any more
    assert len(caller.told) == 1


async def test_a_server_that_is_about_to_stop_lets_everybody_go(engine: Engine, clock: FakeClock) -> None:
    job = await rendering(engine)
    engine.watch.hold(job)
    caller = Caller(engine, job, 50)
    await clock.asleep()
    engine.watch.close()
    assert await caller.answer() == job
    assert await Caller(engine, job, 50).answer() == job
    assert clock.now() == job.created_at


async def test_a_pause_lasts_as_long_as_it_was_asked_for(engine: Engine, clock: FakeClock) -> None:
    await clock.play(engine.watch.pause("a job", 7.0, None))
    await clock.play(engine.watch.pause("a job", 3.0, "another, of which nothing is heard"))
    assert clock.pauses_s == [LEAST_PAUSE_S, 7.0 - LEAST_PAUSE_S, 3.0] == [5.0, 2.0, 3.0]
    await clock.play(engine.watch.pause("a job", LEAST_PAUSE_S, None))
    assert clock.pauses_s[3:] == [5.0]


async def test_a_long_pause_ends_when_somebody_asks_for_the_job(engine: Engine, clock: FakeClock) -> None:
    pausing = asyncio.create_task(engine.watch.pause("a job", 3600.0, None))
    await clock.asleep()
    clock.advance(LEAST_PAUSE_S)
    await clock.asleep()
    engine.watch.wake("a job")
    await asyncio.wait_for(pausing, 60)
    engine.watch.wake("a job")  # nobody sleeps any more
    assert clock.sleepers == 0
    assert engine.watch._asleep == {}


async def test_however_often_somebody_asks_a_provider_is_left_alone_for_a_while(
    engine: Engine, clock: FakeClock
) -> None:
    pausing = asyncio.create_task(engine.watch.pause("a job", 3600.0, None))
    await clock.asleep()
    engine.watch.wake("a job")
    clock.advance(LEAST_PAUSE_S - 0.1)
    await asyncio.sleep(0)
    assert not pausing.done()
    clock.advance(0.1)
    await asyncio.wait_for(pausing, 60)


async def test_a_pause_ends_when_the_job_that_it_waits_for_changes_here(engine: Engine, clock: FakeClock) -> None:
    job = await rendering(engine)
    pausing = asyncio.create_task(engine.watch.pause("a clip", 60.0, job.id))
    await clock.asleep()
    engine.watch.tell(job)
    await asyncio.wait_for(pausing, 60)
    assert clock.now() == job.created_at
    assert clock.sleepers == 0


@pytest.mark.parametrize(("is_held", "hears"), [(True, False), (False, True), (False, False)])
async def test_who_is_told_of_a_change_looks_seldom_for_one(
    engine: Engine, clock: FakeClock, is_held: bool, hears: bool
) -> None:
    """A thousand clips that wait for their stills would ask the ledger a thousand times a second."""
    watch, job = JobWatch(engine.ledger, clock, lambda: hears), await rendering(engine)
    if is_held:
        watch.hold(job)
    await clock.play(watch.pause("a clip", 1.0, job.id))
    assert clock.pauses_s == [PROGRESS_INTERVAL_S if is_held or hears else 1.0]
    pausing = asyncio.create_task(watch.pause("a clip", 1.0, job.id))
    await clock.asleep()
    watch.hear(job.id)
    await asyncio.wait_for(pausing, 60)


async def test_what_the_ledger_lacks_is_known_until_it_has_it(engine: Engine) -> None:
    job, other = await rendering(engine), await rendering(engine)
    engine.watch.hold(job)
    engine.watch.tell(job, True)
    assert (engine.watch.is_behind(job.id), engine.watch.is_behind(other.id)) == (True, False)
    engine.watch.tell(job)
    assert not engine.watch.is_behind(job.id)
    engine.watch.tell(job, True)
    engine.watch.release(job.id)
    assert not engine.watch.is_behind(job.id)
