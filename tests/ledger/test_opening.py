"""How far the transaction that opens a job looks back, for whom it waits, and what it joins first; what it opens stands
in ``tests/contracts``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest

from ring_mcp.domain import Caps, Job, JobState, Member, hash_token
from ring_mcp.errors import Unauthorized
from ring_mcp.ledger import locks
from tests.fake_clock import START
from tests.jobs.engine import still_clip_plan
from tests.ledger.test_questions import YES, item, wanted
from tests.ledger.waiting import LIMIT_S, until_somebody_waits_for_a_lock
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import NO_CAPS, PRICE_USD, carried, planned, sample_job


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


CLIP = planned(actor_id="ann", kind="video", plan=still_clip_plan())
STILL = planned(actor_id="ann", idempotency_key="its still")
KEYED = planned(actor_id="ann", idempotency_key="mine")
FOR_BOTH = Caps(per_day_usd=2 * PRICE_USD)
OF_ANN = locks.of_money(NO_CAPS, FOR_BOTH, "ann", sandbox=False)


@pytest.mark.parametrize(
    ("lock", "job", "still", "caps"),
    [
        pytest.param(locks.of_request(CLIP), CLIP, None, NO_CAPS, id="the same request"),
        pytest.param(locks.of_key("ann", "mine", sandbox=False), KEYED, None, NO_CAPS, id="the same key"),
        pytest.param(locks.of_request(STILL), CLIP, STILL, NO_CAPS, id="the key of the still"),
        pytest.param(locks.of_request(replace(STILL, idempotency_key=None)), CLIP, STILL, NO_CAPS, id="the same still"),
        pytest.param(OF_ANN[0], CLIP, None, NO_CAPS, id="the money of its actor"),
        pytest.param(locks.of_spending(False), CLIP, None, FOR_BOTH, id="the money of all"),
    ],
)
async def test_an_opening_waits_for_who_opens_or_spends_the_same(
    postgres: LedgerDatabase, lock: int, job: Job, still: Job | None, caps: Caps
) -> None:
    async with postgres.started(lock_timeout_s=LIMIT_S) as ledger:
        await ledger.add_member(Member(name="ann", caps=FOR_BOTH, created_at=START), hash_token("a token"))
        with postgres.transaction() as other:
            other.query("SELECT pg_advisory_xact_lock(:lock)", {"lock": lock})
            opening = asyncio.create_task(ledger.open(job, caps, still))
            waiting = asyncio.create_task(until_somebody_waits_for_a_lock(postgres))
            await asyncio.wait({opening, waiting}, return_when=asyncio.FIRST_COMPLETED)
            assert not opening.done()
            await waiting
        assert not (await asyncio.wait_for(opening, LIMIT_S)).joined


async def test_who_is_just_being_revoked_is_waited_for_and_opens_nothing(postgres: LedgerDatabase) -> None:
    async with postgres.started(lock_timeout_s=LIMIT_S) as ledger:
        ann = Member(name="ann", created_at=START)
        await ledger.add_member(ann, hash_token("a token"))
        with postgres.transaction() as revoking:
            revoking.query("UPDATE ring_mcp_actors SET revoked_at = now()")
            assert await asyncio.wait_for(ledger.find_member("ann"), LIMIT_S) == ann, "to look at them waits for nobody"
            opening = asyncio.create_task(ledger.open(CLIP, NO_CAPS))
            waiting = asyncio.create_task(until_somebody_waits_for_a_lock(postgres))
            await asyncio.wait({opening, waiting}, return_when=asyncio.FIRST_COMPLETED)
            assert not opening.done()
            await waiting
        with pytest.raises(Unauthorized, match="revoked"):
            await asyncio.wait_for(opening, LIMIT_S)


async def test_what_was_paid_for_and_told_nobody_comes_before_an_old_yes(sqlite: LedgerDatabase) -> None:
    async with sqlite.started() as ledger:
        await ledger.put_question([item()])
        first = (await ledger.open(wanted(), NO_CAPS, None, YES)).job
        for state in (JobState.SUBMITTING, JobState.STORING, JobState.DONE):
            first = await ledger.save(first, carried(first, state))
        await ledger.mark_delivered(first.id, START)
        second = (await ledger.open(wanted(), NO_CAPS)).job
        again = await ledger.open(wanted(), NO_CAPS, None, YES)
        assert (again.joined, again.job.id) == (True, second.id)


async def test_who_joins_a_job_waits_for_nobodys_money(postgres: LedgerDatabase) -> None:
    async with postgres.started(lock_timeout_s=LIMIT_S) as ledger:
        await ledger.open(replace(CLIP, id="the first"), NO_CAPS)
        with postgres.transaction() as other:
            other.query("SELECT pg_advisory_xact_lock(:lock)", {"lock": locks.of_spending(False)})
            joining = await asyncio.wait_for(ledger.open(CLIP, FOR_BOTH), LIMIT_S)
        assert joining.job.id == "the first"
