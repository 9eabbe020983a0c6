"""What the SQLite ledger says by itself: which jobs are due and without a living driver, and which are one's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import cast

import pytest

from ring_mcp.domain import Holder, JobState
from ring_mcp.ledger.base import ClaimingLedger
from tests.fake_clock import START, FakeClock
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import ACCOUNT, HOLDER, left_behind, opened

SETTLED = [JobState.UNKNOWN, JobState.DONE, JobState.FAILED, JobState.REFUSED, JobState.EXPIRED]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def ledger(sqlite: LedgerDatabase, clock: FakeClock) -> AsyncIterator[ClaimingLedger]:
    async with sqlite.started(clock) as started:
        yield cast("ClaimingLedger", started)


@pytest.fixture
async def second_ledger(
    ledger: ClaimingLedger, sqlite: LedgerDatabase, clock: FakeClock
) -> AsyncIterator[ClaimingLedger]:
    async with sqlite.started(clock) as started:
        yield cast("ClaimingLedger", started)


async def test_the_one_who_opens_a_job_has_it(ledger: ClaimingLedger, second_ledger: ClaimingLedger) -> None:
    job = await opened(ledger)
    assert await second_ledger.heartbeat(HOLDER) == set()
    assert await ledger.heartbeat(HOLDER) == {job.id}


async def test_jobs_of_a_living_process_are_left_alone(ledger: ClaimingLedger, second_ledger: ClaimingLedger) -> None:
    job = await opened(ledger, JobState.RENDERING)
    assert await second_ledger.claim(HOLDER, 10, parked=True) == []
    assert await ledger.heartbeat(HOLDER) == {job.id}


async def test_jobs_of_a_process_that_has_ended_are_all_taken_over(
    ledger: ClaimingLedger, sqlite: LedgerDatabase
) -> None:
    async with sqlite.started() as ending:
        left = {state: await opened(ending, state) for state in JobState}
        assert await ledger.claim(HOLDER, 10, parked=True) == []
    claimed = await ledger.claim(HOLDER, 10)
    assert {job.state for job in claimed} == set(left) - set(SETTLED)
    for job in claimed:
        before = left[job.state]
        assert job == replace(before, owner=job.owner, version=before.version + 1, updated_at=job.updated_at)
    assert await ledger.heartbeat(HOLDER) == {job.id for job in claimed}
    assert await ledger.claim(HOLDER, 10) == []


async def test_only_due_jobs_are_claimed_unless_parked_ones_are_asked_for(
    ledger: ClaimingLedger, clock: FakeClock
) -> None:
    due = await left_behind(ledger, JobState.RENDERING, due_at=clock.now())
    later = await left_behind(ledger, JobState.RENDERING, due_at=clock.now() + timedelta(seconds=1))
    parked = await left_behind(ledger, JobState.STORING, due_at=None)
    assert [job.id for job in await ledger.claim(HOLDER, 10)] == [due.id]
    clock.advance(1)
    assert [job.id for job in await ledger.claim(HOLDER, 10)] == [later.id]
    assert [job.id for job in await ledger.claim(HOLDER, 10, parked=True)] == [parked.id]


async def test_a_job_put_back_is_nobodys_and_can_be_claimed(ledger: ClaimingLedger) -> None:
    job = await left_behind(ledger)
    assert await ledger.heartbeat(HOLDER) == set()
    assert [claimed.id for claimed in await ledger.claim(HOLDER, 10)] == [job.id]


async def test_no_more_jobs_are_claimed_than_asked_for_and_the_oldest_first(ledger: ClaimingLedger) -> None:
    jobs = [await left_behind(ledger, created_at=START - timedelta(minutes=i)) for i in range(5)]
    assert {job.id for job in await ledger.claim(HOLDER, 2)} == {jobs[4].id, jobs[3].id}
    assert {job.id for job in await ledger.claim(HOLDER, 9)} == {jobs[2].id, jobs[1].id, jobs[0].id}


@pytest.mark.parametrize("state", SETTLED)
async def test_a_job_for_which_nothing_is_left_to_do_is_not_claimed(
    ledger: ClaimingLedger, sqlite: LedgerDatabase, state: JobState
) -> None:
    async with sqlite.started() as ending:
        await opened(ending, state)
    assert await ledger.claim(HOLDER, 10, parked=True) == []


async def test_two_who_claim_at_once_never_both_get_a_job(
    ledger: ClaimingLedger, second_ledger: ClaimingLedger
) -> None:
    jobs = {(await left_behind(ledger)).id for _ in range(30)}
    both = (ledger, second_ledger)
    taken = await asyncio.gather(*(both[i % 2].claim(HOLDER, 4) for i in range(20)))
    ids = [job.id for claimed in taken for job in claimed]
    assert sorted(ids) == sorted(jobs)


async def test_jobs_are_taken_over_by_the_holder_of_their_account_alone(ledger: ClaimingLedger) -> None:
    theirs = await left_behind(ledger, key_fingerprint="theirs")
    played = await left_behind(ledger, sandbox=True)
    mine = await left_behind(ledger)
    assert [job.id for job in await ledger.claim(HOLDER, 10)] == [mine.id]
    assert await ledger.heartbeat(HOLDER) == {mine.id}
    sandbox = Holder(sandbox=True, accounts=(ACCOUNT,))
    assert await ledger.heartbeat(sandbox) == set()
    assert [job.id for job in await ledger.claim(sandbox, 10)] == [played.id]
    other = Holder(sandbox=False, accounts=(replace(ACCOUNT, key_fingerprint="theirs"),))
    assert [job.id for job in await ledger.claim(other, 10)] == [theirs.id]
