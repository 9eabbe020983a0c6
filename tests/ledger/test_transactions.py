"""For whom a transaction waits that writes a job anew; what it writes stands in ``tests/contracts``."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from ring_mcp.domain import Job, JobState
from ring_mcp.jobs.outcomes import resolve_by_hand
from ring_mcp.ledger import locks
from tests.fake_clock import START
from tests.ledger.waiting import LIMIT_S, until_somebody_waits_for_a_lock
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import carried, opened


async def result_beside(postgres: LedgerDatabase, lock: int, writing: Coroutine[Any, Any, Job]) -> Job:
    """What was written, once the holder of a lock has ended: it waits for that."""
    with postgres.transaction() as other:
        other.query("SELECT pg_advisory_xact_lock(:lock)", {"lock": lock})
        task = asyncio.create_task(writing)
        waiting = asyncio.create_task(until_somebody_waits_for_a_lock(postgres))
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        assert not task.done()
        await waiting
    return await asyncio.wait_for(task, LIMIT_S)


async def test_a_lost_row_is_written_after_who_opens_the_same(postgres: LedgerDatabase) -> None:
    async with postgres.started(lock_timeout_s=LIMIT_S) as ledger:
        job = await opened(ledger, JobState.RENDERING)
        postgres.query("DELETE FROM media_jobs")
        restored = await result_beside(postgres, locks.of_request(job), ledger.restore(job))
        assert restored == await ledger.get(job.id)


async def test_a_late_answer_is_written_after_who_takes_its_key(postgres: LedgerDatabase) -> None:
    async with postgres.started(lock_timeout_s=LIMIT_S) as ledger:
        submitting = await opened(ledger, JobState.SUBMITTING, idempotency_key="mine")
        unknown = await ledger.save(submitting, carried(submitting, JobState.UNKNOWN))
        settled = await ledger.save(unknown, resolve_by_hand(unknown, paid=False, now=START))
        key = locks.of_key(settled.actor_id, "mine", sandbox=False)
        late = ledger.save(settled, carried(submitting, JobState.RENDERING))
        assert (await result_beside(postgres, key, late)).idempotency_key == "mine"
