"""Carrying a job on: to its end, to where only a person can go on, or to where another process has it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.domain import Job, JobState, Usual
from ring_mcp.errors import LedgerError, ProviderUnavailable, RateLimited, RingError, StorageError, StorageRefused
from ring_mcp.jobs.endings import Ending
from ring_mcp.jobs.outcomes import Park, Pause, end_badly
from ring_mcp.jobs.rates import Place
from ring_mcp.jobs.record import JobRecord
from ring_mcp.jobs.runner import AFTER_A_FAULT_S, JobRunner
from ring_mcp.jobs.steps import Steps
from ring_mcp.jobs.submitting import STALE_PLAN_S
from ring_mcp.ledger.base import Ledger
from ring_mcp.ledger.sqlite import SqliteLedger
from ring_mcp.providers.base import Running
from tests.fake_clock import LIMIT_S, START, FakeClock
from tests.jobs.engine import PACE, Engine, clip_plan, engine_on, until
from tests.jobs.scripted_provider import REQUEST_ID, finished
from tests.ledger_samples import carried, left_behind


async def in_state(engine: Engine, *states: JobState) -> Job:
    job = await engine.new()
    for state in states:
        job = await engine.ledger.save(job, carried(job, state))
    return job


async def driving(engine: Engine, job: Job) -> asyncio.Task[Job]:
    """A driver that has come as far as the provider and waits for its answer, which ``engine.pictures`` has to give."""
    task = asyncio.create_task(engine.runner.drive(job))
    async with asyncio.timeout(60):
        while not engine.pictures.submitted and not engine.pictures.looked_for:
            await asyncio.sleep(0)
    return task


async def test_a_job_is_carried_to_its_end_without_a_pause(engine: Engine, clock: FakeClock) -> None:
    job = await engine.new()
    await engine.runner.drive(job)
    after = await engine.row(job)
    assert after.state is JobState.DONE
    assert after.version == job.version + 3  # submitting, rendering, done
    assert clock.pauses_s == []
    assert list(engine.runner.records) == []


async def test_the_first_look_takes_no_turn_and_later_ones_do(engine: Engine, clock: FakeClock) -> None:
    engine.pictures.looks += [Running(), Running()]
    job = await engine.new()
    driving = asyncio.create_task(engine.runner.drive(job))
    await engine.ended(job)
    await driving
    assert len(engine.pictures.looked_for) == 3
    assert clock.pauses_s == [PACE["image"].poll_interval_s] * 2


async def test_what_stood_in_line_is_not_late_when_sent(engine: Engine, clock: FakeClock) -> None:
    job = await engine.new()
    clock.advance(PACE["image"].poll_timeout_s + 60)
    await engine.ledger.mark_in_line([job.id])
    engine.pictures.looks += [Running(), Running()]
    done = await clock.play(engine.runner.drive(await engine.row(job)))
    assert (done.state, done.failure) == (JobState.DONE, None)
    assert clock.pauses_s == [PACE["image"].poll_interval_s] * 2


async def test_a_clip_that_was_sent_here_is_as_old_as_its_request(engine: Engine, clock: FakeClock) -> None:
    for _ in range(4):
        await engine.ledger.note_duration(clip_plan().model, 110.0, sandbox=False)
    clock.advance(5000)  # the process is no younger than its jobs
    engine.clips.looks += [Running(), Running(), finished(ending="mp4")]
    job = await engine.new(clip_plan())
    expected_s = await engine.runner._pacing.stretch_s(job, 5.0, 0.0, 1, urgent=True)
    told, note = list[float](), engine.ledger.note_duration

    async def hear(model: str, took_s: float, *, sandbox: bool) -> Usual:
        told.append(took_s)
        usual: Usual = await note(model, took_s, sandbox=sandbox)
        return usual

    engine.ledger.note_duration = hear
    engine.storage.troubles += [StorageError("away")]
    assert (await clock.play(engine.runner.drive(job))).state is JobState.DONE
    assert sum(clock.pauses_s) == pytest.approx(2 * expected_s + 0.5)
    assert told == pytest.approx([1.5 * expected_s]), "it was done between its last two looks, whenever it is stored"


async def test_a_first_look_goes_with_its_driver(engine: Engine) -> None:
    gate, is_left = asyncio.Event(), asyncio.Event()

    async def look() -> Running:
        try:
            await gate.wait()
        finally:
            is_left.set()
        return Running()

    engine.pictures.looks.append(look)
    job = await engine.new()
    driving = asyncio.create_task(engine.runner.drive(job))
    await engine.accepted(job)
    driving.cancel()
    await asyncio.gather(driving, return_exceptions=True)
    await asyncio.wait_for(is_left.wait(), LIMIT_S)


@pytest.mark.parametrize("state", [JobState.PLANNED, JobState.RENDERING, JobState.STORING])
async def test_any_job_of_the_ledger_can_be_run_by_its_id_alone(engine: Engine, state: JobState) -> None:
    job = await left_behind(engine.ledger, state)
    await engine.runner.run(job.id)
    assert (await engine.row(job)).state is JobState.DONE


async def test_a_job_of_ones_own_that_nobody_drives_can_be_run(engine: Engine) -> None:
    job = await engine.new()
    assert job.owner == engine.ledger.owner
    await engine.runner.run(job.id)
    assert (await engine.row(job)).state is JobState.DONE


async def test_running_what_is_not_there_or_has_ended_does_nothing(engine: Engine) -> None:
    await engine.runner.run("no such job")
    for end in (JobState.FAILED, JobState.UNKNOWN):
        job = await in_state(engine, JobState.SUBMITTING, end)
        await engine.runner.run(job.id)
        assert await engine.row(job) == job
    assert (engine.pictures.submitted, engine.pictures.looked_for) == ([], [])


async def test_a_job_that_a_living_process_drives_is_left_alone(engine: Engine, elsewhere: Ledger) -> None:
    job = await engine.new()
    taken = await elsewhere.save(job, replace(job, owner=elsewhere.owner))
    assert await engine.runner.take(job.id) is None
    await engine.runner.run(job.id)
    assert await engine.row(job) == taken
    assert engine.pictures.submitted == []


async def test_a_job_whose_process_has_died_is_taken(engine: Engine, clock: FakeClock, tmp_path: Path) -> None:
    dead = SqliteLedger(tmp_path / "ledger.db", clock)
    await dead.start()
    job = await engine.new()
    await dead.save(job, replace(job, owner=dead.owner))
    await dead.aclose()
    taken = await engine.runner.take(job.id)
    assert taken is not None
    assert taken.owner == engine.ledger.owner


async def test_a_job_is_driven_once_at_a_time(engine: Engine) -> None:
    gate = asyncio.Event()

    async def answer() -> Running:
        await gate.wait()
        return Running()

    engine.pictures.looks += [answer]
    job = await in_state(engine, JobState.SUBMITTING, JobState.RENDERING)
    task = await driving(engine, job)
    assert [record.job.id for record in engine.runner.records] == [job.id]
    assert await engine.runner.take(job.id) is None
    await engine.runner.drive(job)
    await engine.runner.run(job.id)
    assert len(engine.pictures.looked_for) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(engine.runner.records) == []


async def test_a_driver_holds_its_job_in_memory_and_lets_go_of_it(engine: Engine) -> None:
    gate = asyncio.Event()
    engine.pictures.looks += [gate.wait]
    job = await in_state(engine, JobState.SUBMITTING, JobState.RENDERING)
    task = await driving(engine, job)
    engine.ledger.calls.clear()
    assert await engine.watch.read(job.id) == job
    assert engine.ledger.calls == []
    task.cancel()
    await asyncio.wait({task})
    await engine.watch.read(job.id)
    assert engine.ledger.calls == ["get"]


async def test_a_job_stopped_while_it_renders_is_left_as_it_was(engine: Engine) -> None:
    engine.pictures.looks += [asyncio.Event().wait]
    job = await in_state(engine, JobState.SUBMITTING, JobState.RENDERING)
    task = await driving(engine, job)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await engine.row(job) == job


async def test_a_parked_job_has_no_owner_and_a_slow_look(engine: Engine) -> None:
    engine.storage.troubles += [StorageRefused("the token is wrong")]
    job = await engine.new()
    await engine.runner.drive(job)
    parked = await engine.row(job)
    assert (parked.state, parked.owner) == (JobState.STORING, None)
    assert parked.due_at == job.created_at + timedelta(seconds=60)
    assert list(engine.runner.records) == []
    await engine.runner.run(job.id)
    assert (await engine.row(job)).state is JobState.DONE


async def test_tries_are_counted_in_a_row_and_begin_anew_with_every_step(engine: Engine, clock: FakeClock) -> None:
    away = ProviderUnavailable("503")
    engine.pictures.looks += [away, away, Running(), away, finished()]
    engine.pictures.files += [away]
    job = await engine.new()
    await clock.play(engine.runner.drive(job))
    assert clock.pauses_s == [1, 2, 1, 1, 0.5]


async def test_the_first_to_take_a_job_writes_what_others_could_not(engine: Engine) -> None:
    stored = await in_state(engine, JobState.SUBMITTING)
    engine.write_ahead.keep(carried(stored, JobState.RENDERING, provider_request_id="late"), [])
    await engine.runner.run(stored.id)
    assert (await engine.row(stored)).state is JobState.DONE
    assert engine.pictures.looked_for == ["late"]
    assert engine.pictures.submitted == []
    second = await in_state(engine, JobState.SUBMITTING)
    engine.write_ahead.keep(carried(second, JobState.RENDERING), [])
    await engine.runner.catch_up()
    assert (await engine.row(second)).state is JobState.SUBMITTING


async def test_answers_that_came_too_late_are_brought_home_before_anything_is_driven(engine: Engine) -> None:
    job = await in_state(engine, JobState.SUBMITTING, JobState.UNKNOWN)
    engine.answers.write(job.id, job.attempt_token or "", finished())
    await engine.runner.run(job.id)
    assert (await engine.row(job)).state is JobState.DONE


async def test_what_could_not_be_written_before_is_tried_again(engine: Engine) -> None:
    stored = await in_state(engine, JobState.SUBMITTING)
    engine.write_ahead.keep(carried(stored, JobState.RENDERING), [])
    engine.ledger.fail("save")
    with pytest.raises(LedgerError):
        await engine.runner.run(stored.id)
    await engine.runner.run(stored.id)
    assert (await engine.row(stored)).state is JobState.DONE


async def test_a_process_that_runs_already_reads_what_a_dead_one_kept(engine: Engine) -> None:
    await engine.runner.catch_up()
    stored = await in_state(engine, JobState.SUBMITTING)
    billed_usd = stored.reserved_usd / 2
    kept = carried(stored, JobState.STORING, billed_usd=billed_usd, owner="the dead one")
    engine.write_ahead.keep(kept, [])
    await engine.runner.drive(stored)
    row = await engine.row(stored)
    assert (row.billed_usd, row.settled_usd) == (billed_usd, billed_usd)
    assert (engine.pictures.submitted, engine.pictures.looked_for) == ([], [])
    assert list(engine.unwritten.iterdir()) == []


async def test_what_was_kept_of_a_job_that_others_have_stops_its_driver(
    engine: Engine, elsewhere: Ledger, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    job = await engine.new()
    engine.write_ahead.keep(end_badly(job, Ending.STOPPED_BEFORE, RingError("stopped"), clock.now()), [])
    taken = await elsewhere.save(job, replace(job, owner=elsewhere.owner))
    caplog.set_level(logging.INFO)
    driver = asyncio.create_task(engine.runner.drive(job))
    await until(lambda: driver.done() or clock.sleepers > 0)
    assert driver.done(), "it has nothing to wait for"
    assert f"job {job.id}: another process has it now" in caplog.text
    assert (await engine.row(job), engine.pictures.submitted) == (taken, [])


async def test_how_long_a_plan_was_held_is_remembered_of_the_newest(engine: Engine, clock: FakeClock) -> None:
    """Of so many that the memory must have an end, the oldest are judged by the clock that everybody reads."""
    engine.storage.unreadable = StorageError("the bucket is away")
    plan = clip_plan(image_url="https://pictures.example/a.jpg")
    jobs = [await engine.new(plan) for _ in range(4)]
    for job in jobs[:2]:
        assert (await engine.runner.drive(job)).is_parked
    held = engine.record(jobs[0]).held
    engine.runner._parked_plans.update({f"another {number}": held for number in range(10_000 - 3)})
    for job in jobs[2:]:
        assert (await engine.runner.drive(job)).is_parked
    clock.set_by(2 * STALE_PLAN_S)
    engine.storage.unreadable = None
    ended = [await engine.runner.drive(await engine.row(job)) for job in jobs]
    assert [job.state for job in ended] == [JobState.FAILED, JobState.DONE, JobState.DONE, JobState.DONE]


async def test_no_more_results_pass_through_at_once_than_the_spool_is_for(engine: Engine) -> None:
    jobs = [await in_state(engine, JobState.SUBMITTING, JobState.STORING) for _ in range(20)]
    storing, may_end, store = list[str](), asyncio.Event(), engine.storing.store

    async def store_slowly(record: JobRecord, tries: int) -> Pause | Park | None:
        storing.append(record.job.id)
        await may_end.wait()
        return await store(record, tries)

    engine.storing.store = store_slowly  # type: ignore[method-assign]
    drivers = [asyncio.create_task(engine.runner.drive(job)) for job in jobs]
    await until(lambda: len(storing) >= 16)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(storing) == 16
    other = await engine.new()
    assert (await asyncio.wait_for(engine.runner.take(other.id), LIMIT_S)) == other
    may_end.set()
    assert {job.state for job in await asyncio.gather(*drivers)} == {JobState.DONE}


async def test_a_paid_answer_outlives_its_process_and_its_ledger(engine: Engine, clock: FakeClock) -> None:
    """The request is answered, the ledger is away, the process dies, and one that lives already takes the job."""
    living = engine_on(engine.ledger, clock, engine.state)
    await living.runner.catch_up()
    job = await engine.new()
    engine.pictures.answers.append(finished(billed_usd=job.reserved_usd / 2))
    engine.ledger.fail("save", 99, skip=1)
    driver = asyncio.create_task(engine.runner.drive(job))
    await clock.asleep()
    driver.cancel()
    await asyncio.wait({driver})
    engine.ledger.recover()
    row = await engine.row(job)
    assert row.state is JobState.SUBMITTING
    await living.runner.drive(row)
    row = await engine.row(job)
    assert (row.state, row.settled_usd) == (JobState.DONE, job.reserved_usd / 2)
    assert living.pictures.submitted == []


async def test_two_who_start_at_once_write_it_once(engine: Engine) -> None:
    stored = await in_state(engine, JobState.SUBMITTING)
    engine.write_ahead.keep(carried(stored, JobState.RENDERING), [])
    await asyncio.gather(engine.runner.catch_up(), engine.runner.catch_up())
    assert engine.ledger.calls.count("save") == 2  # one of them was this test's own


async def test_a_result_reaches_its_caller_and_the_row_follows(engine: Engine, clock: FakeClock) -> None:
    job = await engine.new()
    engine.ledger.fail("save", 9, skip=1)  # the intent is written, and nothing after it
    driver = asyncio.create_task(engine.runner.drive(job))
    await clock.asleep()
    held = await engine.watch.read(job.id)
    assert held is not None
    assert (held.state, len(held.assets)) == (JobState.DONE, 1)
    assert (await engine.row(job)).state is JobState.SUBMITTING
    await clock.play(asyncio.wait_for(driver, None))
    row = await engine.row(job)
    assert (row.state, row.assets) == (JobState.DONE, held.assets)
    assert len(await engine.ledger.records("generated_images", [row.assets[0].record_id])) == 1
    assert list(engine.unwritten.iterdir()) == []


async def test_the_row_is_tried_again_with_back_off(engine: Engine, clock: FakeClock) -> None:
    job = await engine.new()
    engine.ledger.fail("save", 12, skip=1)
    await clock.play(engine.runner.drive(job))
    assert (await engine.row(job)).state is JobState.DONE
    assert clock.pauses_s == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


async def test_a_handle_is_not_left_in_memory_while_its_job_rests(engine: Engine, clock: FakeClock) -> None:
    engine.pictures.looks += [RateLimited("busy", retry_after_s=60.0)]
    job = await engine.new()
    engine.ledger.fail("save", 3, skip=1)  # the intent is written, and the handle at the third try after the first
    driver = asyncio.create_task(engine.runner.drive(job))
    rested_s = 0.0
    async with asyncio.timeout(60):
        while (row := await engine.row(job)).provider_request_id is None and rested_s < 30:
            if clock.sleepers == 2:  # the job rests, and so does who catches up: no write is on its way
                clock.advance(0.5)
                rested_s += 0.5
            await asyncio.sleep(0)
    assert (row.state, row.provider_request_id) == (JobState.RENDERING, REQUEST_ID)
    assert engine.pictures.looked_for == [REQUEST_ID], "the job rests"
    await clock.play(asyncio.wait_for(driver, None))
    assert (await engine.row(job)).state is JobState.DONE


async def test_a_row_that_somebody_took_while_its_job_rests_is_theirs(
    engine: Engine, elsewhere: Ledger, clock: FakeClock
) -> None:
    engine.pictures.looks += [Running(progress=50)]
    job = await in_state(engine, JobState.SUBMITTING, JobState.RENDERING)
    engine.ledger.fail("save", 2)
    driver = asyncio.create_task(engine.runner.drive(job))
    await until(lambda: clock.sleepers == 2)  # its job rests, and the first try to catch up is over
    stored = await elsewhere.get(job.id)
    assert stored is not None
    taken = await elsewhere.save(stored, replace(stored, owner=elsewhere.owner))
    clock.advance(0.5)
    await until(lambda: not any("_settle_accounts" in repr(task) for task in asyncio.all_tasks()))
    await clock.play(asyncio.wait_for(driver, None))
    assert await engine.row(job) == taken
    assert len(engine.pictures.looked_for) == 1, "it is not looked at again"


async def test_a_row_that_somebody_took_while_it_was_behind_is_theirs(
    engine: Engine, elsewhere: Ledger, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    job = await in_state(engine, JobState.SUBMITTING, JobState.RENDERING)
    engine.ledger.fail("save", 4)
    driver = asyncio.create_task(engine.runner.drive(job))
    await clock.asleep()
    stored = await elsewhere.get(job.id)
    assert stored is not None
    taken = await elsewhere.save(stored, replace(stored, owner=elsewhere.owner))
    with caplog.at_level(logging.INFO):
        await clock.play(asyncio.wait_for(driver, None))
    assert await engine.row(job) == taken
    assert f"job {job.id}: another process has it now" in caplog.text


async def test_a_fault_of_ours_leaves_the_job_for_a_minute(
    engine: Engine, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    engine.pictures.looks += [RuntimeError("a programming error")]
    job = await engine.new()
    await engine.runner.drive(job)
    row = await engine.row(job)
    assert (row.state, row.owner) == (JobState.RENDERING, None)
    assert row.due_at == START + timedelta(seconds=AFTER_A_FAULT_S)
    assert AFTER_A_FAULT_S == 60.0
    assert row.failure is not None
    assert (row.failure.code, row.failure.message) == ("internal", f"internal error, job {job.id}")
    assert row.failure.billed == "unknown"
    assert "a programming error" in caplog.text
    assert list(engine.runner.records) == []
    await clock.play(engine.runner.run(job.id))  # its second look has a turn of its own
    assert (await engine.row(job)).state is JobState.DONE


async def test_a_job_is_put_back_when_the_ledger_returns(engine: Engine, clock: FakeClock) -> None:
    engine.pictures.looks += [RuntimeError("a programming error")]
    job = await engine.new()
    engine.ledger.fail("save", 3, skip=2)  # the intent and the handle are written
    await clock.play(engine.runner.drive(job))
    row = await engine.row(job)
    assert (row.state, row.owner) == (JobState.RENDERING, None)
    assert clock.pauses_s == [0.5, 1]


class StepsWithAFault:
    """Steps that break just after the last of them."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    async def advance(
        self, record: JobRecord, driving_since: datetime, tries: int, place: Place | None = None
    ) -> Pause | Park | None:
        pause = await self._steps.advance(record, driving_since, tries, place)
        if record.job.is_settled:
            raise RuntimeError("after the end")
        return pause


async def test_a_fault_after_the_end_of_a_job_changes_nothing_any_more(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    steps: Any = StepsWithAFault(engine.steps)
    faulty = JobRunner(engine.ledger, steps, engine.write_ahead, engine.watch, engine.accounts, engine.clock)
    job = await engine.new()
    await faulty.drive(job)
    row = await engine.row(job)
    assert (row.state, row.failure) == (JobState.DONE, None)
    assert "after the end" in caplog.text
    assert not engine.unwritten.exists()


async def test_the_handle_of_a_job_outlives_the_process_that_asked_for_it(engine: Engine, clock: FakeClock) -> None:
    engine.pictures.looks += [asyncio.Event().wait]
    job = await engine.new()
    task = await driving(engine, job)
    await until(lambda: engine.pictures.looked_for != [])
    task.cancel()
    await asyncio.wait({task})
    after = engine_on(engine.ledger, clock, engine.state)
    await after.runner.run(job.id)
    assert (await engine.row(job)).state is JobState.DONE
    assert (after.pictures.submitted, after.pictures.looked_for) == ([], [REQUEST_ID])


async def test_the_spool_is_left_when_the_ledger_knows_of_the_end(engine: Engine, clock: FakeClock) -> None:
    engine.ledger.fail("save", skip=2)  # that it is done
    job = await engine.new()
    driving = asyncio.create_task(engine.runner.drive(job))
    assert (await engine.ended(job)).state is JobState.DONE
    await asyncio.wait_for(driving, LIMIT_S)
    assert list(engine.spool.iterdir()) == []


async def test_a_first_look_ends_with_its_driver(engine: Engine) -> None:
    """Cancelled while the handle is being written, and nobody is left to hear of the look."""
    was_cut = asyncio.Event()

    async def look() -> Running:
        driver.cancel()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            was_cut.set()
            raise
        return Running()

    engine.pictures.looks.append(look)
    job = await engine.new()
    driver = asyncio.create_task(engine.runner.drive(job))
    await asyncio.wait({driver}, timeout=LIMIT_S)
    assert driver.cancelled()
    await asyncio.wait_for(was_cut.wait(), LIMIT_S)
    assert (await engine.row(job)).state is JobState.RENDERING
