"""How far the transaction that opens a job looks back; what it opens stands in ``tests/contracts``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest

from ring_mcp.domain import Job, JobState
from tests.fake_clock import START
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import sample_job


def insert(database: LedgerDatabase, jobs: Iterable[Job]) -> None:
    """In one transaction, past the ledger."""
    with database.transaction() as connection:
        for job in jobs:
            values = database.columns(job)
            places = ", ".join(f":{name}" for name in values)
            connection.query(f"INSERT INTO media_jobs ({', '.join(values)}) VALUES ({places})", values)


@pytest.mark.parametrize("state", [JobState.DONE, JobState.RENDERING])
async def test_an_unused_still_is_looked_for_among_the_newest_hundred(sqlite: LedgerDatabase, state: JobState) -> None:
    """A free one is taken by the next call that wants it, so that it is never far behind."""
    ended, going_on = sample_job(JobState.FAILED, kind="video"), sample_job(JobState.PLANNED, kind="video")
    stills = [
        replace(
            sample_job(state, request_hash="v1:a gull", created_at=START + timedelta(seconds=n)),
            parent_job_id=clip.id,
        )
        for n, clip in enumerate([ended, *[going_on] * 100])
    ]
    async with sqlite.started() as ledger:
        insert(sqlite, (ended, going_on, *stills[:100]))
        found = await ledger.find_unused_still(stills[0])
        assert found is not None
        assert found.id == stills[0].id
        insert(sqlite, stills[100:])
        assert await ledger.find_unused_still(stills[0]) is None
