"""Open rows without a task, and accounts that are new, are found by a process that takes jobs."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from ring_mcp.domain import Account, Holder, JobState
from ring_mcp.jobs import reconciling
from ring_mcp.ledger.tasks import TABLE
from tests.contracts.queue_backends import Processes, settled
from tests.fake_clock import FakeClock
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import left_behind, opened

LIMIT_S = 60.0


async def test_an_open_row_without_a_task_is_found(
    processes: Processes, database: LedgerDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    process = await processes.open()
    jobs = [
        await opened(process.engine.ledger, JobState.RENDERING),
        await left_behind(process.engine.ledger, JobState.STORING, due_at=None),
    ]
    database.query(f"DELETE FROM {TABLE}")
    await process.queue.start(take_over=True)
    for job in jobs:
        assert (await settled(process, job)).state is JobState.DONE
    assert "2 open jobs had no task, and have one now" in caplog.text


async def test_jobs_of_another_key_of_ones_account_are_taken(processes: Processes) -> None:
    mine = Account(provider="xai", account_id="team", key_fingerprint="f" * 32)
    process = await processes.open(Holder(sandbox=False, accounts=(mine,)))
    await process.queue.start(take_over=True)
    other = await processes.open()
    job = await other.engine.new(account_id="team", key_fingerprint="e" * 32)
    done = await settled(process, job)
    assert (done.state, done.owner) == (JobState.DONE, process.engine.ledger.owner)


async def test_what_rests_is_looked_at_when_a_process_begins(processes: Processes, database: LedgerDatabase) -> None:
    process = await processes.open()
    job = await opened(process.engine.ledger, JobState.STORING)
    await process.engine.ledger.save(job, replace(job, owner=None, due_at=None))
    database.query(f"UPDATE {TABLE} SET execute_after = now() + interval '1 year'")
    await process.queue.start(take_over=True)
    assert (await settled(process, job)).state is JobState.DONE


@pytest.mark.long
async def test_very_many_rows_without_a_task_are_found_in_one_round(database: LedgerDatabase, tmp_path: Path) -> None:
    clock = FakeClock()  # it stands still: there is no second round
    processes = Processes("pgqueuer", database, tmp_path / "processes", clock)
    process = await processes.open(Holder(sandbox=False, accounts=()))  # whoever carries them on
    job = await opened(process.engine.ledger, JobState.RENDERING)
    names = ", ".join(name for name in columns_of_jobs(database) if name != "id")
    database.query(
        f"INSERT INTO media_jobs (id, {names}) SELECT gen_random_uuid(), {names} FROM media_jobs,"
        f" generate_series(1, {reconciling.PAGE}) WHERE id = '{job.id}'"
    )
    database.query(f"DELETE FROM {TABLE}")
    await process.queue.start(take_over=True)
    async with asyncio.timeout(LIMIT_S):
        while len(database.query(f"SELECT 1 FROM {TABLE}")) <= reconciling.PAGE:
            await asyncio.sleep(0.02)
    await processes.end()


def columns_of_jobs(database: LedgerDatabase) -> list[str]:
    return [
        row["column_name"]
        for row in database.query(
            "SELECT column_name FROM information_schema.columns"
            " WHERE table_name = 'media_jobs' AND is_generated = 'NEVER'"
        )
    ]
