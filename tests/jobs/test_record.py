"""A job in memory and in the ledger: what is kept aside while the ledger is away, and who wins when it comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ring_mcp import telemetry
from ring_mcp.domain import Job, JobState
from ring_mcp.errors import JobMoved, LedgerError
from ring_mcp.jobs.record import _MOST_DOUBTS, KEEP_AFTER_S, JobRecord
from ring_mcp.ledger.base import Ledger
from tests.fake_clock import START, FakeClock
from tests.jobs.engine import Engine, until
from tests.jobs.test_courier import NoThreads
from tests.jobs.test_events import Traced
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import OUTPUT, audit_row, carried, sample_asset


class Told:
    """Who listens to a record: every state that it was told of."""

    def __init__(self) -> None:
        self.states: list[JobState] = []
        self.progress: list[int] = []

    def __call__(self, job: Job, is_behind: bool = False) -> None:
        self.states.append(job.state)
        self.progress.append(job.progress)


async def record_of(engine: Engine, *states: JobState, told: Callable[[Job, bool], None] | None = None) -> JobRecord:
    """A job's record, brought along these arrows write by write."""
    job = await engine.new()
    record = JobRecord(job, engine.ledger, engine.write_ahead, engine.clock, told or Told())
    for state in states:
        await record.write(carried(record.job, state))
    return record


def kept_aside(engine: Engine, job: Job) -> dict[str, Any] | None:
    path = engine.unwritten / f"{job.id}.json"
    return json.loads(path.read_text()) if path.exists() else None


async def test_a_write_is_in_the_row_and_told_at_once(engine: Engine, clock: FakeClock) -> None:
    told = Told()
    record = await record_of(engine, told=told)
    clock.advance(7)
    answer = await record.write(carried(record.job, JobState.SUBMITTING))
    assert answer == record.job == await engine.row(record.job)
    assert (record.job.version, record.job.updated_at) == (2, START + timedelta(seconds=7))
    assert told.states == [JobState.SUBMITTING]
    assert not record.is_behind
    assert kept_aside(engine, record.job) is None


async def test_of_a_job_that_is_taken_up_nothing_is_under_way(engine: Engine) -> None:
    record = await record_of(engine)
    assert (record.is_behind, record.is_carried, record.is_orphan) == (False, False, False)
    assert record.first_look is None
    assert not record.is_new, "somebody may have sent it before"


async def test_a_jobs_age_is_of_a_clock_that_nobody_sets(engine: Engine, clock: FakeClock) -> None:
    clock.advance(50)
    record = engine.record(await engine.new())
    assert record.now == START + timedelta(seconds=50)
    clock.set_by(-1000)
    clock.advance(7)
    assert record.now == START + timedelta(seconds=57)


@pytest.mark.parametrize(("marked_s", "planned_s"), [(None, 0), (60, 60), (300, 100), (-60, 0)])
async def test_a_plan_is_as_old_as_its_last_mark_in_line(
    engine: Engine, clock: FakeClock, marked_s: float | None, planned_s: float
) -> None:
    """But for a mark of a clock that was ahead, or behind."""
    job = await engine.new()
    clock.advance(100)
    marked_at = None if marked_s is None else START + timedelta(seconds=marked_s)
    assert engine.record(replace(job, in_line_at=marked_at)).planned_at == START + timedelta(seconds=planned_s)


async def test_the_trace_of_a_job_has_its_end_once(engine: Engine) -> None:
    tracer = Traced()
    record = await record_of(engine, JobState.SUBMITTING, JobState.STORING)
    with telemetry.trace(tracer):
        await record.write(replace(record.job, progress=95))
        await record.write(carried(record.job, JobState.DONE))
        await record.write(replace(record.job, warnings=("said after the end",)))
    assert [name for name, *_ in tracer.asked] == [f"settle {record.job.plan.model}"]


async def test_a_note_is_told_and_goes_along_with_the_next_write(engine: Engine) -> None:
    told = Told()
    record = await record_of(engine, JobState.SUBMITTING, JobState.RENDERING, told=told)
    await record.note(replace(record.job, progress=33), write=False)
    assert (record.job.progress, record.saved_progress, told.progress[-1]) == (33, 0, 33)
    assert (await engine.row(record.job)).progress == 0
    await record.write(replace(record.job, due_at=None))
    assert (record.saved_progress, (await engine.row(record.job)).progress) == (33, 33)


async def test_a_note_that_is_worth_a_write_is_written(engine: Engine) -> None:
    record = await record_of(engine, JobState.SUBMITTING, JobState.RENDERING)
    await record.note(replace(record.job, progress=50), write=True)
    assert (record.saved_progress, (await engine.row(record.job)).progress) == (50, 50)


async def test_a_write_that_must_succeed_fails_and_changes_nothing(engine: Engine) -> None:
    told = Told()
    record = await record_of(engine, told=told)
    before = record.job
    engine.ledger.fail("save")
    with pytest.raises(LedgerError, match="the ledger is away"):
        await record.write(carried(before, JobState.SUBMITTING), must=True)
    assert (record.job, told.states, record.is_behind) == (before, [], False)
    assert kept_aside(engine, before) is None
    await record.write(carried(before, JobState.SUBMITTING), must=True)
    assert (await engine.row(before)).state is JobState.SUBMITTING


async def test_a_handle_is_kept_aside_although_no_thread_can_be_started(engine: Engine) -> None:
    before = await engine.new()
    before = await engine.ledger.save(before, carried(before, JobState.SUBMITTING))
    record = engine.record(before)
    engine.ledger.fail("save")
    asyncio.get_running_loop().set_default_executor(NoThreads())
    after = await record.write(carried(before, JobState.RENDERING))
    assert (record.job, record.is_behind) == (after, True)
    assert kept_aside(engine, after) is not None


async def test_a_write_that_fails_is_kept_aside_and_the_job_goes_on(engine: Engine) -> None:
    told = Told()
    record = await record_of(engine, JobState.SUBMITTING, told=told)
    engine.ledger.fail("save")
    after = await record.write(carried(record.job, JobState.RENDERING))
    assert record.job == after
    assert (after.state, record.is_behind, told.states[-1]) == (JobState.RENDERING, True, JobState.RENDERING)
    assert (await engine.row(after)).state is JobState.SUBMITTING
    aside = kept_aside(engine, after)
    assert aside is not None
    assert aside["job"]["provider_request_id"] == after.provider_request_id
    assert aside["records"] == []


async def test_what_was_kept_aside_goes_along_with_the_next_write(engine: Engine) -> None:
    record = await record_of(engine, JobState.SUBMITTING)
    first, second = audit_row(prompt="one"), audit_row(prompt="two")
    engine.ledger.fail("save", 2)
    await record.write(carried(record.job, JobState.STORING), [first])
    await record.write(replace(record.job, assets=(sample_asset(),)), [second])
    aside = kept_aside(engine, record.job)
    assert aside is not None
    assert [row["data"]["prompt"] for row in aside["records"]] == ["one", "two"]
    done = await record.write(carried(record.job, JobState.DONE, assets=record.job.assets))
    assert not record.is_behind
    assert kept_aside(engine, done) is None
    assert await engine.row(done) == done
    rows = await engine.ledger.records("generated_images", [first.id, second.id])
    assert sorted(str(row["prompt"]) for row in rows) == ["one", "two"]


async def test_audit_rows_that_were_written_are_not_owed_any_more(engine: Engine) -> None:
    record = await record_of(engine, JobState.SUBMITTING)
    engine.ledger.fail("save")
    await record.write(carried(record.job, JobState.STORING), [audit_row()])
    await record.write(replace(record.job, progress=95))
    engine.ledger.fail("save")
    await record.write(replace(record.job, progress=96))
    aside = kept_aside(engine, record.job)
    assert aside is not None
    assert aside["records"] == []


async def test_catching_up_writes_what_the_row_lacks(engine: Engine) -> None:
    record = await record_of(engine, JobState.SUBMITTING)
    engine.ledger.fail("save", 2)
    await record.write(carried(record.job, JobState.RENDERING))
    with pytest.raises(LedgerError):
        await record.catch_up()
    assert record.is_behind
    await record.catch_up()
    assert not record.is_behind
    assert (await engine.row(record.job)).state is JobState.RENDERING
    assert kept_aside(engine, record.job) is None


async def test_catching_up_writes_nothing_when_the_row_is_up_to_date(engine: Engine) -> None:
    record = await record_of(engine, JobState.SUBMITTING)
    before = await engine.row(record.job)
    await record.catch_up()
    assert await engine.row(record.job) == before


async def test_a_write_whose_confirmation_was_lost_is_known_again(engine: Engine, clock: FakeClock) -> None:
    record = await record_of(engine, JobState.SUBMITTING)
    engine.ledger.fail("save", arrives=True)
    await record.write(carried(record.job, JobState.RENDERING))
    clock.advance(1)
    engine.ledger.fail("save")  # and of the one after it nothing arrives at all
    await record.write(replace(record.job, progress=10))
    clock.advance(1)
    stored = await record.write(carried(record.job, JobState.STORING))
    assert await engine.row(stored) == stored
    assert (stored.state, stored.progress, stored.version) == (JobState.STORING, 10, 4)
    assert not record.is_behind


async def test_a_ledger_that_is_away_for_days_fills_no_memory(engine: Engine, clock: FakeClock) -> None:
    record = await record_of(engine, JobState.SUBMITTING)
    engine.ledger.fail("save", arrives=True)
    engine.ledger.fail("save", 300)
    await record.write(carried(record.job, JobState.RENDERING))
    written_at = record.job.updated_at
    for _ in range(300):
        clock.advance(30)
        with pytest.raises(LedgerError):
            await record.catch_up()
    assert len(record._in_doubt) == 1
    await record.catch_up()
    row = await engine.row(record.job)
    assert (row.state, row.updated_at, record.is_behind) == (JobState.RENDERING, written_at, False)


async def test_tries_to_write_an_intent_fill_no_memory(engine: Engine, clock: FakeClock) -> None:
    record = await record_of(engine)
    planned = record.job
    engine.ledger.fail("save", 300)
    for _ in range(300):
        clock.advance(60)
        with pytest.raises(LedgerError):
            await record.write(carried(planned, JobState.SUBMITTING), must=True)
    assert len(record._in_doubt) == _MOST_DOUBTS == 100


async def test_an_intent_whose_confirmation_was_lost_can_be_taken_back(engine: Engine, clock: FakeClock) -> None:
    record = await record_of(engine)
    planned = record.job
    engine.ledger.fail("save", arrives=True)
    with pytest.raises(LedgerError):
        await record.write(carried(planned, JobState.SUBMITTING), must=True)
    clock.advance(1)
    await record.write(carried(planned, JobState.FAILED))
    assert (await engine.row(planned)).state is JobState.FAILED


async def test_a_last_write_whose_confirmation_was_lost_stands_as_it_is(engine: Engine) -> None:
    record = await record_of(engine, JobState.SUBMITTING, JobState.STORING)
    row = audit_row()
    engine.ledger.fail("save", arrives=True)
    await record.write(carried(record.job, JobState.DONE), [row])
    assert record.is_behind
    await record.catch_up()
    assert not record.is_behind
    assert record.job == await engine.row(record.job)
    assert len(await engine.ledger.records("generated_images", [row.id])) == 1


async def test_a_job_that_another_process_has_taken_is_not_written(engine: Engine, elsewhere: Ledger) -> None:
    told = Told()
    record = await record_of(engine, JobState.SUBMITTING, JobState.RENDERING, told=told)
    before, said = record.job, list(told.states)
    stored = await engine.row(before)
    await elsewhere.save(stored, replace(stored, owner=elsewhere.owner))
    with pytest.raises(JobMoved):
        await record.write(carried(before, JobState.STORING))
    assert (record.job, told.states, record.is_behind) == (before, said, False)
    assert (await engine.row(before)).state is JobState.RENDERING
    assert kept_aside(engine, before) is None


async def test_a_row_of_the_same_instant_may_be_another_owners(engine: Engine, elsewhere: Ledger) -> None:
    record = await record_of(engine, JobState.SUBMITTING, JobState.RENDERING)
    engine.ledger.fail("save")
    await record.write(replace(record.job, progress=20))
    stored = await engine.row(record.job)
    await elsewhere.save(stored, replace(stored, owner=elsewhere.owner))  # this clock stands still
    with pytest.raises(JobMoved):
        await record.catch_up()


async def test_a_row_of_another_instant_is_not_in_doubt(engine: Engine, elsewhere: Ledger, clock: FakeClock) -> None:
    record = await record_of(engine, JobState.SUBMITTING, JobState.RENDERING)
    engine.ledger.fail("save")
    await record.write(replace(record.job, progress=20))
    stored = await engine.row(record.job)
    clock.advance(1)
    await elsewhere.save(stored, replace(stored, updated_at=clock.now()))
    with pytest.raises(JobMoved):
        await record.catch_up()


async def test_after_a_write_that_arrived_older_doubts_are_forgotten(engine: Engine, elsewhere: Ledger) -> None:
    record = await record_of(engine, JobState.SUBMITTING, JobState.RENDERING)
    engine.ledger.fail("save")
    await record.write(replace(record.job, progress=20))
    await record.catch_up()
    stored = await engine.row(record.job)
    await elsewhere.save(stored, replace(stored, progress=0))  # as old as the doubt was: this clock stands still
    with pytest.raises(JobMoved):
        await record.write(replace(record.job, progress=30))


@pytest.mark.parametrize("meanwhile", ["taken over", "called unknown", "called unknown and told"])
async def test_a_late_answer_wins_over_whoever_gave_the_attempt_up(
    engine: Engine, elsewhere: Ledger, clock: FakeClock, meanwhile: str
) -> None:
    record = await record_of(engine, JobState.SUBMITTING)
    stored = await engine.row(record.job)
    clock.advance(1)
    if meanwhile == "taken over":
        await elsewhere.save(stored, replace(stored, owner=elsewhere.owner, updated_at=clock.now()))
    else:
        await elsewhere.save(stored, carried(stored, JobState.UNKNOWN, updated_at=clock.now()))
    if meanwhile.endswith("told"):
        await elsewhere.mark_delivered(stored.id, clock.now())
    row = audit_row()
    await record.write(carried(record.job, JobState.STORING), [row])
    after = await engine.row(record.job)
    assert after == record.job
    assert (after.state, after.outputs, after.delivered_at) == (JobState.STORING, (OUTPUT,), None)
    assert len(await engine.ledger.records("generated_images", [row.id])) == 1


@pytest.mark.parametrize("lose", [False, True], ids=["written", "lost"])
async def test_an_answer_is_not_dropped_for_a_row_that_changes_again(
    engine: Engine, elsewhere: Ledger, tmp_path: Path, lose: bool
) -> None:
    """Somebody gave the attempt up, and in the moment between the look at that and the write its caller was told."""
    record = await record_of(engine, JobState.SUBMITTING)
    await elsewhere.save(record.job, carried(record.job, JobState.UNKNOWN))
    database = LedgerDatabase("sqlite", str(tmp_path / "ledger.db"))
    change = "DELETE FROM media_jobs" if lose else "UPDATE media_jobs SET version = version + 1"
    engine.ledger.after("get", lambda: database.query(f"{change} WHERE id = :id", {"id": record.job.id}))
    await record.write(carried(record.job, JobState.RENDERING))
    assert (await engine.row(record.job)) == record.job
    assert record.job.state is JobState.RENDERING


async def test_an_answer_to_a_row_that_never_stands_still_is_kept_aside(engine: Engine) -> None:
    record = await record_of(engine, JobState.SUBMITTING)
    engine.ledger.fail("save", 100, error=JobMoved("somebody was first"))
    engine.ledger.calls.clear()
    await record.write(carried(record.job, JobState.RENDERING))
    assert (record.is_behind, record.job.state) == (True, JobState.RENDERING)
    assert engine.ledger.calls.count("save") == 5, "whoever else writes it has had their turn by then"
    engine.ledger.recover()
    await record.catch_up()
    assert (await engine.row(record.job)).state is JobState.RENDERING


async def test_an_answer_of_another_attempt_does_not_win(engine: Engine, elsewhere: Ledger) -> None:
    record = await record_of(engine, JobState.SUBMITTING)
    stored = await engine.row(record.job)
    await elsewhere.save(stored, carried(stored, JobState.UNKNOWN, attempt_token="another"))
    with pytest.raises(JobMoved):
        await record.write(carried(record.job, JobState.RENDERING))


async def test_jobs_without_an_attempt_are_not_of_the_same_attempt(engine: Engine, elsewhere: Ledger) -> None:
    record = await record_of(engine)
    stored = await engine.row(record.job)
    assert stored.attempt_token is None
    await elsewhere.save(stored, replace(stored, owner=elsewhere.owner))
    with pytest.raises(JobMoved):
        await record.write(replace(record.job, progress=1))


async def test_an_answer_does_not_undo_an_end(engine: Engine, elsewhere: Ledger) -> None:
    record = await record_of(engine, JobState.SUBMITTING)
    stored = await engine.row(record.job)
    await elsewhere.save(stored, carried(stored, JobState.FAILED))
    with pytest.raises(JobMoved):
        await record.write(carried(record.job, JobState.RENDERING))
    assert (await engine.row(record.job)).state is JobState.FAILED


async def test_a_write_is_finished_although_its_caller_is_cancelled(engine: Engine) -> None:
    record = await record_of(engine, JobState.SUBMITTING)
    writing = asyncio.create_task(record.write(carried(record.job, JobState.RENDERING)))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert record.job.state is JobState.RENDERING
    assert await engine.row(record.job) == record.job


async def test_a_cancelled_write_that_fails_is_kept_aside_as_any_other(engine: Engine) -> None:
    record = await record_of(engine, JobState.SUBMITTING)
    engine.ledger.fail("save")
    writing = asyncio.create_task(record.write(carried(record.job, JobState.RENDERING)))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert record.is_behind
    assert kept_aside(engine, record.job) is not None


async def test_only_a_job_taken_over_in_mid_submit_is_an_orphan(engine: Engine) -> None:
    record = await record_of(engine)
    assert not record.is_orphan
    await record.write(carried(record.job, JobState.SUBMITTING))
    assert not record.is_orphan
    assert engine.record(record.job).is_orphan


async def test_what_the_last_driver_kept_is_taken_up_with_its_audit_rows(engine: Engine) -> None:
    record = await record_of(engine, JobState.SUBMITTING)
    done = carried(carried(record.job, JobState.STORING), JobState.DONE, owner="another")
    audited = audit_row()
    engine.write_ahead.keep(done, [audited])
    await record.learn()
    row = await engine.row(record.job)
    assert (row.state, row.owner, row.settled_usd) == (JobState.DONE, engine.ledger.owner, done.settled_usd)
    assert len(await engine.ledger.records(audited.table, [audited.id])) == 1
    assert kept_aside(engine, row) is None


async def test_what_was_kept_stays_where_it_is_while_the_ledger_is_away(engine: Engine) -> None:
    record = await record_of(engine, JobState.SUBMITTING)
    engine.write_ahead.keep(carried(record.job, JobState.RENDERING), [])
    engine.ledger.fail("save")
    await record.learn()
    assert (record.job.state, record.is_behind) == (JobState.RENDERING, True)
    assert kept_aside(engine, record.job) is not None
    await record.catch_up()
    assert kept_aside(engine, record.job) is None


async def test_what_was_kept_and_cannot_be_understood_is_set_aside(engine: Engine) -> None:
    record = await record_of(engine, JobState.SUBMITTING)
    engine.unwritten.mkdir()
    (engine.unwritten / f"{record.job.id}.json").write_text("{")
    before = record.job
    await record.learn()
    assert record.job == before == await engine.row(before)
    assert engine.write_ahead.list_left() == ([], [before.id])


async def test_a_handle_is_saved_once_its_row_has_it(engine: Engine) -> None:
    record = await record_of(engine, JobState.SUBMITTING)
    assert not record.has_saved_handle, "there is none yet"
    engine.ledger.fail("save")
    await record.write(carried(record.job, JobState.RENDERING))
    assert not record.has_saved_handle
    await record.catch_up()
    assert record.has_saved_handle


@pytest.mark.parametrize(("token", "left"), [(None, []), ("another", [".stale"])])
async def test_what_was_kept_and_is_no_news_changes_nothing(engine: Engine, token: str | None, left: list[str]) -> None:
    record = await record_of(engine, JobState.SUBMITTING)
    kept = record.job
    await record.write(carried(record.job, JobState.RENDERING))
    engine.write_ahead.keep(replace(kept, attempt_token=token or kept.attempt_token), [])
    before = record.job
    await record.learn()
    assert record.job == before == await engine.row(before)
    assert [path.suffix for path in engine.unwritten.iterdir()] == left


# A ledger that does not answer


@pytest.mark.parametrize("method", ["save", "get"])
async def test_a_handle_is_on_the_disk_while_the_ledger_does_not_answer(
    engine: Engine, clock: FakeClock, method: str, elsewhere: Ledger
) -> None:
    """A process that is killed meanwhile must not take it along: only it has been told."""
    record = await record_of(engine, JobState.SUBMITTING)
    after = carried(record.job, JobState.RENDERING, provider_request_id="request-7")
    gate = engine.ledger.hang(method)
    looking = asyncio.create_task(record.write_what_is_lost() if method == "get" else asyncio.sleep(0))
    await asyncio.sleep(0)
    writing = asyncio.create_task(record.write(after, [row := audit_row()]))
    await until(lambda: kept_aside(engine, after) is not None)
    assert not writing.done()
    await engine.write_ahead.replay(elsewhere)  # as the next start does it, after a kill
    stored = await engine.ledger._ledger.get(after.id)
    assert (stored.state, stored.provider_request_id, stored.owner) == (JobState.RENDERING, "request-7", None)
    assert len(await elsewhere.records("generated_images", [row.id])) == 1
    gate.set()
    with pytest.raises(JobMoved):
        await writing
    await asyncio.gather(looking, return_exceptions=True)


async def test_facts_that_were_kept_before_stay_where_another_process_was_quicker(
    engine: Engine, elsewhere: Ledger
) -> None:
    """They may be all there is: whoever reads them next decides."""
    record = await record_of(engine, JobState.SUBMITTING)
    kept = carried(record.job, JobState.RENDERING)
    engine.write_ahead.keep(kept, [])
    gate = engine.ledger.hang("save")
    learning = asyncio.create_task(record.learn())
    await asyncio.wait({learning}, timeout=KEEP_AFTER_S + 0.2)
    await elsewhere.save(record.job, carried(record.job, JobState.FAILED))
    gate.set()
    with pytest.raises(JobMoved):
        await learning
    assert kept_aside(engine, kept) is not None


async def test_what_a_slow_ledger_takes_in_the_end_is_not_kept(engine: Engine) -> None:
    record = await record_of(engine, JobState.SUBMITTING)
    gate = engine.ledger.hang("save")
    writing = asyncio.create_task(record.write(carried(record.job, JobState.RENDERING)))
    await until(lambda: kept_aside(engine, record.job) is not None)
    gate.set()
    assert (await writing).state is JobState.RENDERING
    assert (kept_aside(engine, record.job), record.is_behind) == (None, False)
    assert await engine.row(record.job) == record.job


async def test_what_a_slow_ledger_refuses_in_the_end_stays_kept(engine: Engine) -> None:
    record = await record_of(engine, JobState.SUBMITTING)
    gate = engine.ledger.hang("save")
    engine.ledger.fail("save")
    writing = asyncio.create_task(record.write(carried(record.job, JobState.RENDERING)))
    await until(lambda: kept_aside(engine, record.job) is not None)
    gate.set()
    await writing
    assert record.is_behind
    kept = kept_aside(engine, record.job)
    assert kept is not None
    assert kept["job"]["state"] == "rendering"


async def test_no_intent_is_kept_that_a_slow_ledger_has_not_taken(engine: Engine) -> None:
    """It is sent only once it is written: kept, it would look as if it had been."""
    record = await record_of(engine)
    gate = engine.ledger.hang("save")
    writing = asyncio.create_task(record.write(carried(record.job, JobState.SUBMITTING), must=True))
    await asyncio.wait({writing}, timeout=KEEP_AFTER_S + 0.2)
    assert not engine.unwritten.exists()
    gate.set()
    await writing
