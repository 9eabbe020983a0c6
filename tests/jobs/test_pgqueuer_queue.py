"""Jobs given by PgQueuer: what is its own beside the contract of queues (``tests/contracts/test_queue.py``)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from ring_mcp.domain import Job, JobState
from ring_mcp.jobs.queue.pgqueuer import _TAKEN_AT_ONCE, PgqueuerQueue
from ring_mcp.ledger.postgres_channel import PostgresChannel
from ring_mcp.ledger.tasks import TABLE
from ring_mcp.providers.base import Accepted, Running
from tests.contracts.queue_backends import Process, Processes, settled, until
from tests.jobs.scripted_provider import Gate, finished
from tests.ledger_databases import LedgerDatabase

LIMIT_S = 60.0
REQUEST = Accepted(provider_request_id="request-1")


def task_of(database: LedgerDatabase, job: Job) -> list[dict[str, Any]]:
    return database.query(
        f"SELECT CAST(status AS text), CAST(queue_manager_id AS text) AS owner FROM {TABLE} WHERE dedupe_key = :id",
        {"id": job.id},
    )


async def driven(
    processes: Processes, answer: Any, *, take_over: bool = True, **options: Any
) -> tuple[Process, Job, Gate]:
    """A process, and a job that it has sent and looks for, until the gate is opened."""
    gate = Gate(answer)
    processes.pictures.looks += [gate]
    process = await processes.open(**options)
    await process.queue.start(take_over=take_over)
    job = await process.engine.new()
    process.queue.enqueue(job)
    await until(lambda: gate.asked)
    await process.engine.accepted(job)
    return process, job, gate


async def test_a_process_that_ends_hands_its_jobs_to_one_that_is_there(
    processes: Processes, database: LedgerDatabase
) -> None:
    first, job, _ = await driven(processes, Running())
    second = await processes.open()
    await second.queue.start(take_over=True)
    await first.end()
    done = await settled(second, job)  # a lease of a minute has not run out by far
    assert (done.state, done.owner) == (JobState.DONE, second.engine.ledger.owner)
    assert len(processes.pictures.submitted) == 1


async def test_the_task_of_a_job_that_has_ended_goes(processes: Processes, database: LedgerDatabase) -> None:
    process, job, gate = await driven(processes, finished())
    assert task_of(database, job) == [{"status": "picked", "owner": process.engine.ledger.owner}]
    gate.is_open.set()
    assert (await settled(process, job)).state is JobState.DONE
    await until(lambda: task_of(database, job) == [])


async def test_a_task_lost_while_its_job_is_driven_is_made_again(
    processes: Processes, database: LedgerDatabase
) -> None:
    process, job, gate = await driven(processes, finished())
    database.query(f"DELETE FROM {TABLE}")
    await until(lambda: task_of(database, job) != [])
    gate.is_open.set()
    assert (await settled(process, job)).state is JobState.DONE
    assert len(processes.pictures.submitted) == 1


@pytest.mark.long
async def test_many_jobs_lost_at_once_keep_nobody_from_the_database(processes: Processes) -> None:
    """As when a process goes on that was stopped for longer than a lease."""
    gate, count = Gate(finished()), 3 * _TAKEN_AT_ONCE
    processes.pictures.looks += [gate] * count
    process = await processes.open()
    await process.queue.start(take_over=True)
    jobs = [await process.engine.new() for _ in range(count)]
    for job in jobs:
        process.queue.enqueue(job)
    await until(lambda: gate.asked == count)
    for job in jobs:
        await process.engine.accepted(job)
    queue, calls = process.queue, process.engine.ledger.calls
    assert isinstance(queue, PgqueuerQueue)
    calls.clear()
    for job in jobs:
        queue._lose(job.id)
    for _ in range(4):
        await asyncio.sleep(0)
    assert 0 < calls.count("get") <= _TAKEN_AT_ONCE == 16
    await until(lambda: calls.count("get") >= count)
    gate.is_open.set()
    for job in jobs:
        assert (await settled(process, job)).state is JobState.DONE


async def test_a_process_that_was_taken_from_leaves_the_task_alone(
    processes: Processes, database: LedgerDatabase
) -> None:
    process, job, gate = await driven(processes, finished())
    other = "11111111-2222-3333-4444-555555555555"
    database.query(f"UPDATE {TABLE} SET queue_manager_id = CAST(:other AS uuid)", {"other": other})
    gate.is_open.set()
    await settled(process, job)
    await process.end()
    assert task_of(database, job) == [{"status": "picked", "owner": other}]


async def test_a_job_that_another_process_has_is_let_go_of(
    processes: Processes, caplog: pytest.LogCaptureFixture
) -> None:
    process, job, _ = await driven(processes, Running())
    other = await processes.open()
    row = await process.engine.row(job)
    theirs = await other.engine.ledger.save(row, replace(row, owner=other.engine.ledger.owner, due_at=None))
    await until(lambda: f"job {job.id}: another process has it now" in caplog.text)
    await process.end()
    assert await other.engine.row(job) == theirs


async def test_a_server_that_does_not_drive_waits_for_one_that_does(
    processes: Processes, database: LedgerDatabase
) -> None:
    server = await processes.open()
    queue = PgqueuerQueue(
        server.engine.ledger,
        server.engine.runner,
        server.engine.watch,
        server.engine.accounts,
        server.engine.clock,
        PostgresChannel(database.address),
        drain_s=0.5,
        drives=False,
    )
    try:
        await queue.start(take_over=True)
        job = await server.engine.new()
        queue.enqueue(job)
        await queue.adopt(job)
        waiting = asyncio.create_task(server.engine.watch.wait(job.id, 600.0))
        worker = await processes.open()
        await worker.queue.start(take_over=True)
        async with asyncio.timeout(LIMIT_S):
            done = await waiting
        assert done is not None
        assert (done.state, done.owner) == (JobState.DONE, worker.engine.ledger.owner)
        assert list(server.engine.runner.records) == []
    finally:
        await queue.aclose()


async def test_a_database_that_restarts_meanwhile_ends_nothing(processes: Processes, database: LedgerDatabase) -> None:
    process, job, gate = await driven(processes, Running())
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    database.query(f"{cut} AND pid <> pg_backend_pid()")
    gate.is_open.set()
    assert (await settled(process, job)).state is JobState.DONE
    another = await process.engine.new()
    process.queue.enqueue(another)
    assert (await settled(process, another)).state is JobState.DONE
    assert len(processes.pictures.submitted) == 2


async def test_what_was_sent_is_no_plan_in_a_database_that_fell_back(
    processes: Processes, database: LedgerDatabase
) -> None:
    """It comes back as a replica that lacked the last writes."""
    gate = Gate(REQUEST)
    processes.pictures.answers += [gate]
    process = await processes.open()
    await process.queue.start(take_over=True)
    job = await process.engine.new()
    process.queue.enqueue(job)
    await until(lambda: gate.asked)
    plan = "state = 'planned', attempt_token = NULL, submit_deadline_at = NULL, version = 1, updated_at = created_at"
    database.query(f"UPDATE media_jobs SET {plan} WHERE id = :id", {"id": job.id})
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    database.query(f"{cut} AND pid <> pg_backend_pid()")
    async with asyncio.timeout(LIMIT_S):
        while (await process.engine.row(job)).state is not JobState.SUBMITTING:
            await asyncio.sleep(0.02)
    gate.is_open.set()
    assert (await settled(process, job)).state is JobState.DONE
    assert len(processes.pictures.submitted) == 1


# A server that takes nobody else's jobs


async def test_a_server_that_takes_no_others_drives_its_own(processes: Processes, database: LedgerDatabase) -> None:
    process = await processes.open()
    await process.queue.start(take_over=False)
    asked_later, job = await process.engine.new(), await process.engine.new()
    process.queue.enqueue(job)
    assert (await settled(process, job)).state is JobState.DONE
    await until(lambda: task_of(database, job) == [])
    assert (await process.engine.row(asked_later)).state is JobState.PLANNED
    await process.queue.adopt(asked_later)
    assert (await settled(process, asked_later)).state is JobState.DONE
    await until(lambda: task_of(database, asked_later) == [])


async def test_a_task_lost_where_nobody_else_is_served_is_made_again(
    processes: Processes, database: LedgerDatabase
) -> None:
    process, job, gate = await driven(processes, finished(), take_over=False, lease_s=2.0)
    picked = [{"status": "picked", "owner": process.engine.ledger.owner}]
    assert task_of(database, job) == picked
    database.query(f"DELETE FROM {TABLE}")
    await until(lambda: task_of(database, job) == picked)
    gate.is_open.set()
    assert (await settled(process, job)).state is JobState.DONE
    assert len(processes.pictures.submitted) == 1


@pytest.mark.parametrize("take_over", [True, False])
async def test_a_ledger_away_when_a_job_is_taken_is_asked_again(processes: Processes, take_over: bool) -> None:
    process = await processes.open()
    await process.queue.start(take_over=take_over)
    process.engine.ledger.fail("claim_one", times=2)
    job = await process.engine.new()
    process.queue.enqueue(job)
    assert (await settled(process, job)).state is JobState.DONE
    assert process.engine.ledger.calls.count("claim_one") >= 3
    assert len(processes.pictures.submitted) == 1


async def test_open_jobs_of_a_time_without_accounts_are_told_of_once(
    processes: Processes, caplog: pytest.LogCaptureFixture
) -> None:
    process = await processes.open()
    jobs = [await process.engine.new(key_fingerprint=None) for _ in range(3)]
    await process.queue.start(take_over=True)
    for job in jobs:
        assert (await settled(process, job)).state is JobState.DONE
    assert caplog.text.count("open jobs from before accounts were recorded") == 1
