"""Jobs as tasks of this process: how often it looks for more, what it lets go of, and how it ends.

What every queue promises stands in ``tests/contracts/test_queue.py``.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ring_mcp.domain import Job, JobState
from ring_mcp.errors import LedgerError, StorageRefused
from ring_mcp.jobs.queue.in_process import (
    HEARTBEAT_INTERVAL_S,
    SET_BACK_S,
    SWEEP_INTERVAL_S,
    TAKE_OVER_AT_ONCE,
    InProcessQueue,
)
from ring_mcp.jobs.record import JobRecord
from ring_mcp.jobs.submitting import STALE_PLAN_S
from ring_mcp.ledger.base import JobQuery, Ledger
from ring_mcp.providers.base import Accepted, Running
from tests.fake_clock import LIMIT_S, FakeClock
from tests.jobs.engine import DRAIN_S, Engine, started_engine, until
from tests.jobs.scripted_provider import Gate, finished
from tests.ledger_samples import TROUBLE, carried, left_behind, sample_plan

UPKEEP = 2
"""The sweep and the heartbeat sleep beside the drivers."""


async def swept(engine: Engine, times: int) -> None:
    """Until the queue has looked for jobs so often, and sleeps."""
    await until(lambda: engine.ledger.calls.count("claim") >= times and engine.clock.sleepers >= UPKEEP)


async def steal(elsewhere: Ledger, job: Job) -> Job:
    stored = await elsewhere.get(job.id)
    assert stored is not None
    return await elsewhere.save(stored, replace(stored, owner=elsewhere.owner))


async def test_a_queue_looks_for_jobs_at_once_and_then_every_two_seconds(engine: Engine, clock: FakeClock) -> None:
    await engine.queue.start(take_over=True)
    for times in (1, 2, 3):
        await swept(engine, times)
        clock.advance(SWEEP_INTERVAL_S)
    await swept(engine, 4)
    assert clock.pauses_s.count(SWEEP_INTERVAL_S) == 4
    assert SWEEP_INTERVAL_S == 2.0
    assert TAKE_OVER_AT_ONCE == 250, "nothing else waits for long while they are read"


async def test_parked_jobs_are_taken_at_the_start_and_left_alone_afterwards(engine: Engine, clock: FakeClock) -> None:
    early = await left_behind(engine.ledger, JobState.RENDERING, due_at=None)
    await engine.queue.start(take_over=True)
    assert (await engine.ended(early, upkeep=UPKEEP, parked=False)).state is JobState.DONE
    late = await left_behind(engine.ledger, JobState.RENDERING, due_at=None)
    due = await left_behind(engine.ledger, JobState.RENDERING)
    clock.advance(SWEEP_INTERVAL_S)
    assert (await engine.ended(due, upkeep=UPKEEP)).state is JobState.DONE
    assert (await engine.row(late)).is_parked


def in_batches(engine: Engine, at_once: int) -> InProcessQueue:
    return InProcessQueue(
        engine.ledger, engine.runner, engine.watch, engine.accounts, engine.clock, drain_s=DRAIN_S, at_once=at_once
    )


@pytest.mark.parametrize(("count", "claims"), [(1, 1), (3, 2), (4, 3)])
async def test_jobs_are_taken_in_batches_until_one_is_not_full(engine: Engine, count: int, claims: int) -> None:
    jobs = [await left_behind(engine.ledger, JobState.STORING) for _ in range(count)]
    queue = in_batches(engine, 2)
    await queue.start(take_over=True)
    await swept(engine, claims)
    for job in jobs:
        assert (await engine.ended(job, upkeep=UPKEEP)).state is JobState.DONE
    assert (engine.ledger.calls.count("claim"), engine.clock.monotonic()) == (claims, 0.0)
    await queue.aclose()


async def test_what_was_taken_before_the_ledger_failed_is_driven(engine: Engine, clock: FakeClock) -> None:
    """It is ours by then: nobody else would drive it."""
    jobs = [await left_behind(engine.ledger, JobState.STORING) for _ in range(3)]
    queue = in_batches(engine, 2)
    engine.ledger.fail("claim", skip=1)
    await queue.start(take_over=True)
    await swept(engine, 2)
    ended = [False]
    async with asyncio.timeout(LIMIT_S):
        while sum(ended) < 2:
            ended = [(await engine.row(job)).state is JobState.DONE for job in jobs]
    assert (sum(ended), clock.monotonic()) == (2, 0.0)
    clock.advance(SWEEP_INTERVAL_S)
    assert (await engine.ended(jobs[ended.index(False)], upkeep=UPKEEP)).state is JobState.DONE
    await queue.aclose()


async def test_a_job_that_rests_is_taken_when_its_time_has_come(engine: Engine, clock: FakeClock) -> None:
    await engine.queue.start(take_over=True)
    await swept(engine, 1)
    resting = await left_behind(engine.ledger, JobState.RENDERING, due_at=clock.now() + timedelta(seconds=3))
    clock.advance(SWEEP_INTERVAL_S)
    await swept(engine, 2)
    assert (await engine.row(resting)).owner is None
    clock.advance(SWEEP_INTERVAL_S)
    assert (await engine.ended(resting, upkeep=UPKEEP)).state is JobState.DONE


@pytest.mark.parametrize(("back_s", "is_looked_at"), [(30.0, True), (29.999, False)])
async def test_a_clock_that_was_set_back_has_parked_jobs_looked_at(
    engine: Engine, clock: FakeClock, back_s: float, is_looked_at: bool
) -> None:
    """What was parked while it was ahead would be due long after it should be. One that is corrected goes by less."""
    await engine.queue.start(take_over=True)
    await swept(engine, 1)
    clock.set_by(back_s)
    parked = await left_behind(
        engine.ledger, JobState.RENDERING, failure=TROUBLE, due_at=clock.now() + timedelta(minutes=1)
    )
    clock.advance(SWEEP_INTERVAL_S)
    await swept(engine, 2)
    clock.set_by(-back_s)
    engine.ledger.fail("claim")  # what could not be looked for is looked for again
    for times in (3, 4):
        clock.advance(SWEEP_INTERVAL_S)
        await swept(engine, times)
    if is_looked_at:
        assert (await engine.ended(parked, upkeep=UPKEEP, parked=False)).state is JobState.DONE
    else:
        assert (await engine.row(parked)).is_parked


async def test_a_clock_that_was_set_back_is_answered_once(engine: Engine, clock: FakeClock) -> None:
    await engine.queue.start(take_over=True)
    await swept(engine, 1)
    clock.set_by(-SET_BACK_S)
    clock.advance(SWEEP_INTERVAL_S)
    await swept(engine, 2)
    parked = await left_behind(engine.ledger, JobState.RENDERING, due_at=None)
    for times in (3, 4):
        clock.advance(SWEEP_INTERVAL_S)
        await swept(engine, times)
    assert (await engine.row(parked)).is_parked


async def test_facts_that_were_kept_aside_are_written_before_anything_is_taken_over(engine: Engine) -> None:
    job = await left_behind(engine.ledger, JobState.SUBMITTING)
    engine.write_ahead.keep(carried(job, JobState.RENDERING), [])
    await engine.queue.start(take_over=True)
    assert (await engine.ended(job, upkeep=UPKEEP)).state is JobState.DONE  # and not unknown


async def test_a_queue_that_takes_nothing_over_still_writes_what_was_kept_aside(engine: Engine) -> None:
    job = await left_behind(engine.ledger, JobState.SUBMITTING)
    engine.write_ahead.keep(carried(job, JobState.RENDERING), [])
    await engine.queue.start(take_over=False)
    await until(lambda: not list(engine.unwritten.iterdir()))
    assert (await engine.row(job)).state is JobState.RENDERING
    assert "claim" not in engine.ledger.calls
    assert list(engine.runner.records) == []


async def test_a_ledger_that_is_away_is_tried_again_and_told_once(
    engine: Engine, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    job = await left_behind(engine.ledger, JobState.RENDERING, due_at=None)
    engine.ledger.fail("claim", 3)
    await engine.queue.start(take_over=True)
    for times in (1, 2, 3):
        await swept(engine, times)
        clock.advance(SWEEP_INTERVAL_S)
    ended = await engine.ended(job, upkeep=UPKEEP, parked=False)
    assert ended.state is JobState.DONE  # it was parked: the look at the start was still to come
    assert caplog.text.count("open jobs cannot be looked for: the ledger is away") == 1


async def test_another_trouble_or_the_same_one_anew_is_told_again(
    engine: Engine, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    engine.ledger.fail("claim")
    engine.ledger.fail("claim", skip=1)
    await engine.queue.start(take_over=True)
    for times in (1, 2, 3):
        await swept(engine, times)
        clock.advance(SWEEP_INTERVAL_S)
    assert caplog.text.count("the ledger is away") == 2


async def driven_for_two_beats(engine: Engine, clock: FakeClock) -> Job:
    """A job that goes on running, while two heartbeats come."""
    gate = Gate(Running())
    engine.pictures.looks += [gate]
    await engine.queue.start(take_over=False)
    job = await engine.new()
    engine.queue.enqueue(job)
    await until(gate.is_reached.is_set)
    await engine.accepted(job)
    for _ in range(2):
        await until(lambda: clock.sleepers == 1)
        clock.advance(HEARTBEAT_INTERVAL_S)
    await until(lambda: engine.ledger.calls.count("heartbeat") == 2 and clock.sleepers == 1)
    return job


async def test_a_queue_shows_every_quarter_minute_that_it_lives(engine: Engine, clock: FakeClock) -> None:
    job = await driven_for_two_beats(engine, clock)
    assert clock.pauses_s == [HEARTBEAT_INTERVAL_S] * 3
    assert [record.job.id for record in engine.runner.records] == [job.id]
    assert HEARTBEAT_INTERVAL_S == 15.0


async def test_a_heartbeat_that_fails_is_told_and_the_next_one_comes(
    engine: Engine, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    engine.ledger.fail("heartbeat")
    await driven_for_two_beats(engine, clock)
    assert "the ledger does not answer: the ledger is away" in caplog.text
    assert len(engine.runner.records) == 1


async def test_a_job_that_another_process_has_is_let_go_of(
    engine: Engine, clock: FakeClock, elsewhere: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate(Running())
    engine.pictures.looks += [gate]
    await engine.queue.start(take_over=False)
    job = await engine.new()
    engine.queue.enqueue(job)
    await until(gate.is_reached.is_set)
    await engine.accepted(job)
    taken = await steal(elsewhere, job)
    clock.advance(HEARTBEAT_INTERVAL_S)
    await until(lambda: not engine.runner.records)
    assert f"job {job.id}: another process has it now" in caplog.text
    assert await engine.row(job) == taken


async def test_a_heart_goes_on_whoever_drives_a_job_that_was_taken(
    engine: Engine, clock: FakeClock, elsewhere: Ledger
) -> None:
    """As where a command runs one job in this process: the queue has no task of it that it could end."""
    gate = Gate(Running())
    engine.pictures.looks += [gate]
    await engine.queue.start(take_over=False)
    job = await engine.new()
    driving = asyncio.create_task(engine.runner.run(job.id))
    await until(gate.is_reached.is_set)
    await engine.accepted(job)
    await steal(elsewhere, job)
    for times in (1, 2):
        await until(lambda: clock.sleepers == 1)
        clock.advance(HEARTBEAT_INTERVAL_S)
        await until(lambda times=times: engine.ledger.calls.count("heartbeat") == times)  # type: ignore[misc]
    assert len(engine.runner.records) == 1
    driving.cancel()
    await asyncio.wait({driving})


async def test_strangers_are_looked_for_at_the_start_and_with_every_heartbeat(engine: Engine, clock: FakeClock) -> None:
    looks = list[float]()

    async def look() -> None:
        looks.append(clock.monotonic())

    engine.accounts.look_for_strangers = look  # type: ignore[method-assign]
    await engine.queue.start(take_over=True)
    await swept(engine, 1)
    while clock.monotonic() < 2 * HEARTBEAT_INTERVAL_S:
        clock.advance(clock.next_wake_s or 0.0)
        for _ in range(10):
            await asyncio.sleep(0)
        await until(lambda: clock.sleepers == UPKEEP)
    assert looks == [0.0, HEARTBEAT_INTERVAL_S, 2 * HEARTBEAT_INTERVAL_S]


async def test_an_answer_on_its_way_is_waited_for_whoever_has_the_job(
    engine: Engine, clock: FakeClock, elsewhere: Ledger
) -> None:
    gate = Gate(finished())
    engine.pictures.answers += [gate]
    await engine.queue.start(take_over=False)
    job = await engine.new()
    engine.queue.enqueue(job)
    await until(gate.is_reached.is_set)
    await steal(elsewhere, job)
    clock.advance(HEARTBEAT_INTERVAL_S)
    await until(lambda: "heartbeat" in engine.ledger.calls and clock.sleepers == 1)
    assert len(engine.runner.records) == 1
    gate.is_open.set()
    assert (await engine.ended(job, upkeep=1)).state is JobState.DONE


async def test_an_orphan_that_somebody_else_has_is_let_go_of(tmp_path: Path, clock: FakeClock) -> None:
    async with started_engine(tmp_path, clock, death_is_certain=False) as engine:
        job = await left_behind(engine.ledger, JobState.SUBMITTING)
        await engine.queue.start(take_over=False)
        await engine.queue.adopt(job)
        await until(lambda: clock.sleepers == 2)  # the heartbeat, and the driver that waits for a late answer
        stored = await engine.row(job)
        await engine.ledger.save(stored, replace(stored, owner="somebody"))
        clock.advance(HEARTBEAT_INTERVAL_S)
        await until(lambda: not engine.runner.records)
        assert (await engine.row(job)).state is JobState.SUBMITTING


async def test_a_job_whose_row_is_behind_is_kept_whatever_the_row_says(
    engine: Engine, clock: FakeClock, elsewhere: Ledger
) -> None:
    gate = Gate(finished())
    engine.pictures.looks += [gate]
    engine.ledger.fail("save", skip=1)  # the handle is in no row
    await engine.queue.start(take_over=False)
    job = await engine.new()
    engine.queue.enqueue(job)
    await until(gate.is_reached.is_set)
    await until(lambda: all(record.is_behind for record in engine.runner.records))
    await steal(elsewhere, job)
    clock.advance(HEARTBEAT_INTERVAL_S)
    await until(lambda: "heartbeat" in engine.ledger.calls and clock.sleepers == 1)
    assert len(engine.runner.records) == 1
    gate.is_open.set()
    assert (await engine.ended(job, upkeep=1)).state is JobState.DONE


async def test_a_request_that_is_under_way_is_answered_before_the_end(engine: Engine) -> None:
    gate = Gate(Accepted(provider_request_id="late"))
    engine.pictures.answers += [gate]
    engine.pictures.looks += [asyncio.Event().wait]
    job = await engine.new()
    engine.queue.enqueue(job)
    await until(gate.is_reached.is_set)
    closing = asyncio.create_task(engine.queue.aclose())
    await asyncio.sleep(0)
    gate.is_open.set()
    await closing
    row = await engine.row(job)
    assert (row.state, row.provider_request_id) == (JobState.RENDERING, "late")
    assert list(engine.runner.records) == []


async def test_a_request_that_is_not_answered_in_time_is_an_unknown_outcome(engine: Engine) -> None:
    gate = Gate(None)
    engine.pictures.answers += [gate]
    job = await engine.new()
    engine.queue.enqueue(job)
    await until(gate.is_reached.is_set)
    await engine.queue.aclose()
    assert (await engine.row(job)).state is JobState.UNKNOWN


@pytest.mark.parametrize("whose", ["an orphan's", "a courier's", "an answered one's"])
async def test_an_end_waits_for_no_answer_that_comes_to_others(engine: Engine, whose: str) -> None:
    """An orphan's comes to somebody else, a courier's to the spool: neither is lost with this process."""
    queue = InProcessQueue(
        engine.ledger, engine.runner, engine.watch, engine.accounts, engine.clock, drain_s=1000 * LIMIT_S
    )
    reached = asyncio.Event()

    async def hang(record: JobRecord, *_: object) -> None:
        record.is_orphan, record.is_carried = whose == "an orphan's", whose == "a courier's"
        reached.set()
        await asyncio.Event().wait()

    engine.steps.advance = hang  # type: ignore[method-assign,assignment]
    job = await engine.new()
    state = JobState.RENDERING if whose == "an answered one's" else JobState.SUBMITTING
    for step in (JobState.SUBMITTING, state):
        if job.state is not step:
            job = await engine.ledger.save(job, carried(job, step))
    queue.enqueue(job)
    await until(lambda: reached.is_set() or any(engine.clock.pauses_s))
    await asyncio.wait_for(queue.aclose(), LIMIT_S)
    assert list(engine.runner.records) == []


async def test_an_end_is_about_what_the_queue_drives_alone(engine: Engine) -> None:
    gate = Gate(None)
    engine.pictures.answers += [gate]
    driving = asyncio.create_task(engine.runner.run((await engine.new()).id))  # by somebody else in this process
    await until(gate.is_reached.is_set)
    await asyncio.wait_for(engine.queue.aclose(), LIMIT_S)
    assert len(engine.runner.records) == 1
    driving.cancel()
    await asyncio.wait({driving})


async def test_no_request_is_begun_while_an_end_waits_for_others(tmp_path: Path, clock: FakeClock) -> None:
    """It would be cut off in the middle, and be of unknown outcome, where the next process could have made it."""
    async with started_engine(tmp_path, clock, at_once=1) as engine:
        gate = Gate(Accepted(provider_request_id="late"))
        engine.pictures.answers += [gate, Gate(None)]
        under_way, in_line = await engine.new(), await engine.new()
        engine.queue.enqueue(under_way)
        await until(gate.is_reached.is_set)
        engine.queue.enqueue(in_line)
        await until(lambda: engine.runner._turns.waiting == 1)
        closing = asyncio.create_task(engine.queue.aclose())
        await asyncio.sleep(0)
        gate.is_open.set()
        await closing
        assert (await engine.row(in_line)).state is JobState.PLANNED
        assert len(engine.pictures.submitted) == 1
        assert (await engine.row(under_way)).provider_request_id == "late"


async def test_an_end_does_not_wait_for_what_the_next_process_can_finish(engine: Engine, clock: FakeClock) -> None:
    gate = Gate(Running())
    engine.pictures.looks += [gate]
    await engine.queue.start(take_over=True)
    job = await engine.new()
    engine.queue.enqueue(job)
    await until(gate.is_reached.is_set)
    await engine.accepted(job)
    await engine.queue.aclose()
    assert (await engine.row(job)).state is JobState.RENDERING
    assert (list(engine.runner.records), clock.sleepers) == ([], 0)


async def test_a_job_is_enqueued_once_and_not_after_its_end(engine: Engine) -> None:
    gate = Gate(Running())
    engine.pictures.looks += [gate]
    job = await engine.new()
    engine.queue.enqueue(job)
    engine.queue.enqueue(job)
    await until(gate.is_reached.is_set)
    await engine.accepted(job)
    engine.queue.enqueue(job)
    await engine.queue.adopt(job)
    assert len(engine.runner.records) == 1
    gate.is_open.set()
    done = await engine.ended(job)
    engine.queue.enqueue(done)
    await asyncio.sleep(0)
    assert list(engine.runner.records) == []
    assert len(engine.pictures.submitted) == 1


async def test_a_job_that_has_ended_here_can_be_taken_up_again_later(engine: Engine) -> None:
    engine.storage.troubles += [StorageRefused("the token is wrong")]
    job = await engine.new()
    engine.queue.enqueue(job)
    parked = await engine.ended(job)
    assert parked.is_parked
    await engine.queue.adopt(parked)
    assert (await engine.ended(job)).state is JobState.DONE


async def test_a_job_asked_for_as_its_driver_parks_it_is_carried_on(engine: Engine) -> None:
    engine.storage.troubles += [StorageRefused("the token is wrong")]
    job = await engine.new()
    engine.queue.enqueue(job)
    async with asyncio.timeout(60.0):
        while not engine.runner.has_let_go(job.id):
            await asyncio.sleep(0)
    await engine.queue.adopt(job)
    assert (await engine.ended(job, parked=False)).state is JobState.DONE


async def test_a_job_that_is_adopted_gets_its_whole_time_again(engine: Engine) -> None:
    """Somebody has asked for it."""
    parked, asked_for = await left_behind(engine.ledger, JobState.RENDERING, due_at=None), list[bool]()

    async def drive(job: Job, *, asked: bool, is_new: bool) -> Job:
        asked_for.append(asked)
        return job

    engine.runner.drive = drive  # type: ignore[method-assign,assignment]
    await engine.queue.adopt(parked)
    await until(lambda: asked_for != [])
    assert asked_for == [True]


async def test_a_caller_that_leaves_the_adoption_leaves_a_driven_job(engine: Engine) -> None:
    job = await left_behind(engine.ledger, JobState.RENDERING)
    adopting = asyncio.create_task(engine.queue.adopt(job))
    await until(lambda: "claim_one" in engine.ledger.calls)
    adopting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adopting
    assert (await engine.ended(job)).state is JobState.DONE


async def test_whoever_asks_for_a_clip_wakes_its_still_first(engine: Engine) -> None:
    clip, still = await engine.new_clip_with_still()
    clip = await engine.ledger.save(clip, replace(clip, owner=None, due_at=None))
    still = await engine.ledger.save(still, replace(still, owner=None, due_at=None))
    await engine.queue.adopt(clip)
    assert (await engine.ended(clip)).state is JobState.DONE
    assert (await engine.row(still)).state is JobState.DONE
    assert (len(engine.pictures.submitted), len(engine.clips.submitted)) == (1, 1)


async def test_a_failing_look_for_the_still_is_the_callers_and_drives_nothing(engine: Engine) -> None:
    clip, _ = await engine.new_clip_with_still()
    engine.ledger.fail("get")
    with pytest.raises(LedgerError):
        await engine.queue.adopt(clip)
    assert list(engine.runner.records) == []


# Jobs that the ledger says are ours, and that nobody drives


async def beaten(engine: Engine, clock: FakeClock, sleepers: int) -> None:
    """Until the heart has beaten once more."""
    beats = engine.ledger.calls.count("heartbeat")
    await until(lambda: clock.sleepers >= sleepers)
    clock.advance(HEARTBEAT_INTERVAL_S)
    await until(lambda: engine.ledger.calls.count("heartbeat") > beats and clock.sleepers >= sleepers)


@pytest.mark.parametrize("claim", ["claim", "claim_one"])
async def test_a_claim_never_confirmed_is_taken_up_with_the_next_heartbeat(
    engine: Engine, clock: FakeClock, claim: str
) -> None:
    job = await left_behind(engine.ledger, JobState.STORING)
    engine.ledger.fail(claim, arrives=True)
    await engine.queue.start(take_over=claim == "claim")
    if claim == "claim_one":
        with pytest.raises(LedgerError):
            await engine.queue.adopt(job)
    else:
        await swept(engine, 1)
    row = await engine.row(job)
    assert (row.owner, row.state, list(engine.runner.records)) == (engine.ledger.owner, JobState.STORING, [])
    clock.advance(HEARTBEAT_INTERVAL_S)
    assert (await engine.ended(job, upkeep=UPKEEP if claim == "claim" else 1)).state is JobState.DONE


async def test_a_request_told_not_to_have_begun_is_never_sent(engine: Engine, clock: FakeClock) -> None:
    """The confirmation that the job was opened was lost: the row is ours, and nobody drives it."""
    await engine.queue.start(take_over=True)
    await swept(engine, 1)
    engine.ledger.fail("open", arrives=True)
    with pytest.raises(LedgerError):
        await engine.opening.open(sample_plan(), actor_id="ann", idempotency_key=None)
    [job] = (await engine.ledger.list_jobs(JobQuery())).jobs
    for _ in range(3):
        await beaten(engine, clock, UPKEEP)
    assert (await engine.row(job)).state is JobState.PLANNED
    clock.advance(STALE_PLAN_S)
    await beaten(engine, clock, UPKEEP)
    ended = await engine.ended(job, upkeep=UPKEEP)
    assert (ended.state, ended.settled_usd) == (JobState.FAILED, Decimal(0))
    assert engine.pictures.submitted == []


async def test_what_was_told_not_begun_is_not_sent_at_the_edge(engine: Engine, clock: FakeClock) -> None:
    """One that is taken up at that very moment would not be too old yet to be sent."""
    await engine.queue.start(take_over=True)
    await swept(engine, 1)
    job = await engine.new()
    await beaten(engine, clock, UPKEEP)
    clock.set_by(-HEARTBEAT_INTERVAL_S)  # it is as old as it has been seen for
    clock.advance(STALE_PLAN_S - HEARTBEAT_INTERVAL_S)
    for age_s in (STALE_PLAN_S, STALE_PLAN_S + HEARTBEAT_INTERVAL_S):
        assert (await engine.row(job)).state is JobState.PLANNED
        await beaten(engine, clock, UPKEEP)
        assert (clock.now() - job.created_at).total_seconds() == age_s
    assert (await engine.ended(job, upkeep=UPKEEP)).state is JobState.FAILED
    assert engine.pictures.submitted == []


async def test_setting_the_clock_ends_no_plan_that_is_about_to_be_driven(engine: Engine, clock: FakeClock) -> None:
    await engine.queue.start(take_over=True)
    await swept(engine, 1)
    job = await engine.new()
    await beaten(engine, clock, UPKEEP)
    clock.set_by(10 * STALE_PLAN_S)
    await beaten(engine, clock, UPKEEP)
    engine.queue.enqueue(job)
    assert (await engine.ended(job, upkeep=UPKEEP)).state is JobState.DONE


async def test_a_clock_set_back_sends_nothing_that_was_told_not_begun(engine: Engine, clock: FakeClock) -> None:
    await engine.queue.start(take_over=True)
    await swept(engine, 1)
    job = await engine.new()
    clock.set_by(-STALE_PLAN_S)
    await beaten(engine, clock, UPKEEP)
    clock.advance(STALE_PLAN_S + 1)
    await beaten(engine, clock, UPKEEP)
    assert (await engine.row(job)).state is JobState.PLANNED
    clock.advance(STALE_PLAN_S)
    await beaten(engine, clock, UPKEEP)
    assert (await engine.ended(job, upkeep=UPKEEP)).state is JobState.FAILED
    assert engine.pictures.submitted == []


async def test_a_job_taken_just_before_the_end_is_left_to_the_next(engine: Engine) -> None:
    job = await left_behind(engine.ledger, JobState.PLANNED)
    adopting = asyncio.create_task(engine.queue.adopt(job))
    await asyncio.sleep(0)
    await engine.queue.aclose()
    await adopting
    assert (list(engine.runner.records), engine.pictures.submitted) == ([], [])
    assert (await engine.row(job)).state is JobState.PLANNED


async def test_a_start_asks_whose_jobs_of_another_key_are(engine: Engine) -> None:
    await left_behind(engine.ledger, key_fingerprint="b" * 32)
    learning = asyncio.create_task(engine.accounts.learn())
    await engine.queue.start(take_over=True)
    await asyncio.wait_for(learning, 60)
