"""Rows that the ledger has lost, or whose newest writes it has lost: what a driver knows is written again."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.domain import Job, JobState
from ring_mcp.errors import JobMoved
from ring_mcp.jobs.queue.in_process import HEARTBEAT_INTERVAL_S, SWEEP_INTERVAL_S
from ring_mcp.jobs.record import JobRecord
from ring_mcp.ledger.base import Ledger
from ring_mcp.providers.base import Accepted, Running
from tests.fake_clock import LIMIT_S, FakeClock
from tests.jobs.engine import Engine, until
from tests.jobs.scripted_provider import Gate, finished
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import audit_row, carried

UPKEEP = 2
SENT = [JobState.SUBMITTING, JobState.RENDERING, JobState.STORING]


@pytest.fixture
def database(engine: Engine, tmp_path: Path) -> LedgerDatabase:
    """The back door of the engine's ledger."""
    return LedgerDatabase("sqlite", str(tmp_path / "ledger.db"))


def lose(database: LedgerDatabase, job: Job) -> None:
    database.query("DELETE FROM media_jobs WHERE id = :id", {"id": job.id})


def fall_back(database: LedgerDatabase, job: Job) -> None:
    """The row as it once was."""
    lose(database, job)
    database.insert("media_jobs", database.columns(job))


async def record_in(engine: Engine, *states: JobState, **facts: Any) -> JobRecord:
    record = engine.record(await engine.new(**facts))
    for state in states:
        await record.write(carried(record.job, state))
    return record


# Missing


async def test_an_answer_whose_row_is_gone_becomes_a_row_anew(
    engine: Engine, database: LedgerDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    record = await record_in(engine, JobState.SUBMITTING)
    lose(database, record.job)
    row = audit_row()
    await record.write(carried(record.job, JobState.STORING), [row])
    stored = await engine.row(record.job)
    assert stored == record.job
    assert (stored.state, stored.version, stored.owner) == (JobState.STORING, 3, engine.ledger.owner)
    assert len(await engine.ledger.records("generated_images", [row.id])) == 1
    assert f"job {stored.id}: the ledger had lost its row, which is written again" in caplog.text
    assert (await record.write(replace(record.job, progress=95))).version == 4


async def test_a_job_that_ends_without_a_row_has_one_with_its_cost(engine: Engine, database: LedgerDatabase) -> None:
    record = await record_in(engine, JobState.SUBMITTING, JobState.STORING)
    lose(database, record.job)
    await record.write(carried(record.job, JobState.DONE))
    assert (await engine.row(record.job)).settled_usd == record.job.reserved_usd
    assert (await engine.ledger.spend(engine.clock.now(), sandbox=False)).day_usd == record.job.reserved_usd


async def test_a_request_without_its_row_is_not_sent(engine: Engine, database: LedgerDatabase) -> None:
    job = await engine.new()
    lose(database, job)
    await engine.runner.drive(job)
    assert engine.pictures.submitted == []
    row = await engine.row(job)
    assert (row.state, row.settled_usd) == (JobState.FAILED, Decimal(0))
    assert row.failure is not None
    assert "the ledger has lost the row of this job, whose request was not sent" in row.failure.message
    assert (row.failure.billed, row.failure.next_action) == ("no", "Call again.")


async def test_a_note_on_a_planned_job_whose_row_is_gone_ends_it(engine: Engine, database: LedgerDatabase) -> None:
    record = await record_in(engine)
    lose(database, record.job)
    await record.write(replace(record.job, progress=1))
    assert (record.job.state, record.is_behind) == (JobState.FAILED, False)
    assert await engine.row(record.job) == record.job


async def test_an_answer_found_for_a_plan_whose_row_is_gone_counts(engine: Engine, database: LedgerDatabase) -> None:
    """Its request was made, which the ledger had lost before."""
    record = await record_in(engine)
    lose(database, record.job)
    await record.write(carried(carried(record.job, JobState.SUBMITTING), JobState.RENDERING))
    assert record.job.state is JobState.RENDERING
    assert await engine.row(record.job) == record.job


async def test_a_lost_row_that_somebody_else_wrote_anew_is_read_again(engine: Engine, database: LedgerDatabase) -> None:
    record = await record_in(engine, JobState.SUBMITTING)
    lose(database, record.job)
    engine.ledger.fail("restore", error=JobMoved("somebody has written it anew"))
    await record.write(carried(record.job, JobState.RENDERING))
    assert (await engine.row(record.job), record.is_behind) == (record.job, False)
    assert record.job.state is JobState.RENDERING


async def test_a_row_gone_meanwhile_is_written_when_the_ledger_returns(
    engine: Engine, database: LedgerDatabase
) -> None:
    record = await record_in(engine, JobState.SUBMITTING)
    lose(database, record.job)
    engine.ledger.fail("restore")
    await record.write(carried(record.job, JobState.RENDERING))
    assert record.is_behind
    assert [path.name for path in engine.unwritten.iterdir()] == [f"{record.job.id}.json"]
    await record.catch_up()
    assert (await engine.row(record.job)).state is JobState.RENDERING
    assert list(engine.unwritten.iterdir()) == []


# Older


@pytest.mark.parametrize("state", SENT)
async def test_an_older_row_is_brought_up_to_date(engine: Engine, database: LedgerDatabase, state: JobState) -> None:
    path = [JobState.SUBMITTING, JobState.RENDERING, JobState.STORING]
    record = await record_in(engine, JobState.SUBMITTING)
    older = record.job
    for step in path[1 : path.index(state) + 1]:
        await record.write(carried(record.job, step))
    await record.write(replace(record.job, progress=50))
    known = record.job
    fall_back(database, older)
    await record.write(replace(known, progress=60))
    stored = await engine.row(known)
    assert stored == record.job
    assert (stored.state, stored.progress, stored.version) == (state, 60, known.version + 1)


async def test_a_row_without_the_newest_write_is_brought_up_to_date(engine: Engine, database: LedgerDatabase) -> None:
    record = await record_in(engine, JobState.SUBMITTING, JobState.RENDERING)
    older = record.job
    await record.write(replace(older, progress=50))
    fall_back(database, older)
    await record.write(replace(record.job, due_at=None))
    stored = await engine.row(older)
    assert (stored.progress, stored.due_at, stored.version) == (50, None, 5)


async def test_a_row_that_fell_back_may_be_another_owners_by_now(
    engine: Engine, database: LedgerDatabase, elsewhere: Ledger, clock: FakeClock
) -> None:
    record = await record_in(engine, JobState.SUBMITTING, JobState.RENDERING)
    older = record.job
    await record.write(replace(older, progress=50))
    fall_back(database, older)
    clock.advance(1)
    taken = await elsewhere.save(older, replace(older, owner=elsewhere.owner, updated_at=clock.now()))
    assert taken.version == record.job.version
    with pytest.raises(JobMoved):
        await record.write(replace(record.job, progress=60))
    assert await engine.row(older) == taken


@pytest.mark.parametrize("writes_since", [0, 1, 2, 5])
async def test_a_planned_row_of_before_the_intent_is_brought_up_to_date(
    engine: Engine, database: LedgerDatabase, elsewhere: Ledger, clock: FakeClock, writes_since: int
) -> None:
    """However often somebody else has written it since, without sending anything."""
    record = await record_in(engine)
    planned = record.job
    for state in (JobState.SUBMITTING, JobState.RENDERING):
        await record.write(carried(record.job, state))
    stored = replace(planned, owner=elsewhere.owner)
    fall_back(database, stored)
    for _ in range(writes_since):
        clock.advance(1)
        stored = await elsewhere.save(stored, replace(stored, updated_at=clock.now()))
    await record.write(replace(record.job, progress=10))
    row = await engine.row(planned)
    assert row == record.job
    assert (row.state, row.owner) == (JobState.RENDERING, engine.ledger.owner)
    with pytest.raises(JobMoved):
        await elsewhere.save(stored, carried(stored, JobState.SUBMITTING))


async def test_an_intent_is_written_on_the_known_row_alone(engine: Engine, database: LedgerDatabase) -> None:
    record = await record_in(engine)
    older = record.job
    await record.write(replace(record.job, progress=1))
    fall_back(database, older)
    with pytest.raises(JobMoved):
        await record.write(carried(record.job, JobState.SUBMITTING), must=True)
    assert await engine.row(older) == older


async def test_an_answer_to_a_lost_attempt_is_set_aside(
    engine: Engine,
    clock: FakeClock,
    database: LedgerDatabase,
    elsewhere: Ledger,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The row fell back to its plan, and another process has begun anew: both have been paid."""
    record = await record_in(engine)
    planned = record.job
    await record.write(carried(record.job, JobState.SUBMITTING))
    fall_back(database, planned)
    clock.advance(1)
    begun = carried(planned, JobState.SUBMITTING, owner=elsewhere.owner, updated_at=clock.now())
    again = await elsewhere.save(planned, begun)
    assert again.version == record.job.version, "the version alone does not tell them apart"
    with pytest.raises(JobMoved):
        await record.write(carried(record.job, JobState.RENDERING))
    assert await engine.row(planned) == again
    [path] = engine.unwritten.iterdir()
    assert path.name == f"{planned.id}.stale"
    assert json.loads(path.read_text())["job"]["provider_request_id"] == f"request-{planned.id}"
    assert "do not fit the ledger" in caplog.text
    assert engine.write_ahead.list_left() == ([], [planned.id])


async def test_only_an_answer_is_set_aside(
    engine: Engine, clock: FakeClock, database: LedgerDatabase, elsewhere: Ledger
) -> None:
    """Of a request that may be on its way there is nothing in hand yet."""
    record = await record_in(engine)
    planned = record.job
    await record.write(carried(record.job, JobState.SUBMITTING))
    fall_back(database, planned)
    clock.advance(1)
    await elsewhere.save(planned, carried(planned, JobState.SUBMITTING, updated_at=clock.now()))
    with pytest.raises(JobMoved):
        await record.write(replace(record.job, progress=1))
    assert engine.write_ahead.list_left() == ([], [])


async def test_nothing_of_an_attempt_that_another_carries_on_is_set_aside(engine: Engine, elsewhere: Ledger) -> None:
    record = await record_in(engine, JobState.SUBMITTING, JobState.RENDERING)
    await elsewhere.save(record.job, replace(record.job, owner=elsewhere.owner))
    with pytest.raises(JobMoved):
        await record.write(carried(record.job, JobState.STORING))
    assert engine.write_ahead.list_left() == ([], [])


# Looked after while nothing else happens


async def driven_until(engine: Engine, gate: Gate) -> Job:
    job = await engine.new()
    engine.queue.enqueue(job)
    await asyncio.wait_for(gate.is_reached.wait(), LIMIT_S)
    return await (engine.accepted(job) if engine.pictures.looked_for else engine.row(job))


async def heart_beats(engine: Engine, clock: FakeClock) -> None:
    beats = engine.ledger.calls.count("heartbeat")
    await until(lambda: clock.sleepers >= UPKEEP)
    clock.advance(HEARTBEAT_INTERVAL_S)
    await until(lambda: engine.ledger.calls.count("heartbeat") > beats and clock.sleepers >= UPKEEP)


async def test_a_heartbeat_finds_a_lost_row_and_goes_on(
    engine: Engine, clock: FakeClock, database: LedgerDatabase
) -> None:
    gate = Gate(finished())
    engine.pictures.looks += [gate]
    await engine.queue.start(take_over=True)
    known = await driven_until(engine, gate)
    assert known.state is JobState.RENDERING
    lose(database, known)
    await heart_beats(engine, clock)
    await until(lambda: "restore" in engine.ledger.calls)
    stored = await engine.row(known)
    assert stored.version > known.version
    assert replace(stored, version=known.version, updated_at=known.updated_at) == known
    gate.is_open.set()
    assert (await engine.ended(known, upkeep=UPKEEP)).state is JobState.DONE
    assert len(engine.pictures.submitted) == 1


async def test_a_heartbeat_finds_an_older_row_of_somebody_else(
    engine: Engine, clock: FakeClock, database: LedgerDatabase, elsewhere: Ledger
) -> None:
    gate = Gate(finished())
    engine.pictures.looks += [gate]
    await engine.queue.start(take_over=True)
    known = await driven_until(engine, gate)
    older: dict[str, Any] = {"state": JobState.SUBMITTING, "provider_request_id": None, "owner": elsewhere.owner}
    fall_back(database, replace(known, version=2, **older))
    await heart_beats(engine, clock)
    await until(lambda: engine.ledger.calls.count("save") >= 4)
    stored = await engine.row(known)
    assert (stored.state, stored.owner, stored.version) == (JobState.RENDERING, engine.ledger.owner, 4)
    gate.is_open.set()
    assert (await engine.ended(known, upkeep=UPKEEP)).state is JobState.DONE
    assert len(engine.pictures.submitted) == 1


async def test_an_older_row_claimed_here_is_brought_up_to_date(
    engine: Engine, clock: FakeClock, database: LedgerDatabase
) -> None:
    gate = Gate(finished())
    engine.pictures.looks += [gate]
    await engine.queue.start(take_over=True)
    known = await driven_until(engine, gate)
    # After the sweep of the start: a claim of that moment would have the very version and time of what is known.
    await until(lambda: "claim" in engine.ledger.calls and clock.sleepers >= UPKEEP)
    older: dict[str, Any] = {"state": JobState.SUBMITTING, "provider_request_id": None, "version": 2, "owner": None}
    fall_back(database, replace(known, due_at=clock.now(), **older))
    sweeps = engine.ledger.calls.count("claim")
    clock.advance(SWEEP_INTERVAL_S)
    await until(lambda: engine.ledger.calls.count("claim") > sweeps and clock.sleepers >= UPKEEP)
    claimed = await engine.row(known)
    assert (claimed.version, claimed.owner) == (known.version, known.owner)
    gate.is_open.set()
    ended = await engine.ended(known, upkeep=UPKEEP)
    assert (ended.state, ended.provider_request_id) == (JobState.DONE, known.provider_request_id)
    assert len(engine.pictures.submitted) == 1


async def test_a_heartbeat_restores_the_intent_of_a_request_that_is_under_way(
    engine: Engine, clock: FakeClock, database: LedgerDatabase
) -> None:
    gate = Gate(Accepted(provider_request_id="request-1"))
    engine.pictures.answers += [gate]
    await engine.queue.start(take_over=True)
    intent = await driven_until(engine, gate)
    assert intent.state is JobState.SUBMITTING
    lose(database, intent)
    await heart_beats(engine, clock)
    await until(lambda: "restore" in engine.ledger.calls)
    assert (await engine.row(intent)).attempt_token == intent.attempt_token
    gate.is_open.set()
    assert (await engine.ended(intent, upkeep=UPKEEP)).state is JobState.DONE


@pytest.mark.parametrize("first", ["the driver", "the heartbeat"])
async def test_a_row_written_anew_keeps_its_drivers_writes(
    engine: Engine, database: LedgerDatabase, first: str
) -> None:
    record = await record_in(engine, JobState.SUBMITTING)
    lose(database, record.job)
    answered = carried(record.job, JobState.RENDERING)
    writes = [record.write(answered), record.write_what_is_lost()]
    writes = writes if first == "the driver" else writes[::-1]
    await asyncio.gather(*writes)
    assert (record.job.state, await engine.row(answered)) == (JobState.RENDERING, record.job)


async def test_a_row_that_somebody_else_has_is_not_taken_for_lost(engine: Engine, elsewhere: Ledger) -> None:
    record = await record_in(engine, JobState.SUBMITTING, JobState.RENDERING)
    taken = await elsewhere.save(record.job, replace(record.job, owner=elsewhere.owner))
    with pytest.raises(JobMoved):
        await record.write_what_is_lost()
    assert await engine.row(record.job) == taken


# Neither ledger nor disk


async def test_an_answer_that_neither_ledger_nor_disk_takes_is_held_and_named(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    record = await record_in(engine, JobState.SUBMITTING)
    engine.unwritten.write_text("a file where the folder should be")
    engine.ledger.fail("save", 2)
    with caplog.at_level(logging.ERROR):
        await record.write(carried(record.job, JobState.RENDERING))
        await record.write(replace(record.job, progress=20))
    assert (record.job.state, record.job.progress, record.is_behind) == (JobState.RENDERING, 20, True)
    assert f"request request-{record.job.id}, is held in memory alone" in caplog.text
    await record.catch_up()
    assert await engine.row(record.job) == record.job


async def test_a_job_unwritten_for_a_while_ends_as_any(engine: Engine, clock: FakeClock) -> None:
    engine.pictures.looks += [Running(progress=20), Running(progress=40)]
    job = await engine.new()
    engine.unwritten.write_text("a file where the folder should be")
    engine.ledger.fail("save", 8, skip=1)  # from the handle on
    await clock.play(engine.runner.drive(job))
    row = await engine.row(job)
    assert row.state is JobState.DONE
    assert len(engine.pictures.submitted) == 1
    assert len(await engine.ledger.records("generated_images", [row.assets[0].record_id])) == 1
