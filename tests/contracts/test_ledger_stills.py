"""A clip and the still that it begins with, opened in one transaction: both or neither, counted together."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from ring_mcp.domain import Caps, Failure, Job, JobState, VideoPlan
from ring_mcp.errors import CapExceeded, InvalidRequest
from ring_mcp.ledger.base import JobQuery, Ledger
from tests.fake_clock import START
from tests.jobs.engine import still_clip_plan
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import NO_CAPS, PRICE_USD, carried, planned, sample_plan

CLIP_USD = Decimal("0.30")
BOTH_USD = CLIP_USD + PRICE_USD
A_CENT = Decimal("0.01")


def clip(**changes: Any) -> Job:
    return planned(**({"kind": "video", "plan": still_clip_plan(), "reserved_usd": CLIP_USD} | changes))


async def rows(ledger: Ledger) -> list[Job]:
    return list((await ledger.list_jobs(JobQuery(limit=100))).jobs)


async def ended(ledger: Ledger, job: Job, *states: JobState, **facts: Any) -> Job:
    for state in states:
        job = await ledger.save(job, carried(job, state, **(facts if state is states[-1] else {})))
    return job


async def test_both_are_written_owned_and_linked(ledger: Ledger) -> None:
    asked = clip()
    opened = await ledger.open(asked, NO_CAPS, planned(parent_job_id=asked.id))
    assert not opened.joined
    assert opened.still is not None
    assert isinstance(opened.job.plan, VideoPlan)
    assert opened.job.plan.frame_job_id == opened.still.id
    assert opened.job.owner == opened.still.owner == ledger.owner
    assert opened.still.parent_job_id == opened.job.id
    assert {job.id: job for job in await rows(ledger)} == {job.id: job for job in (opened.job, opened.still)}


async def test_a_clip_without_a_still_has_none(ledger: Ledger) -> None:
    opened = await ledger.open(clip(), NO_CAPS)
    assert opened.still is None
    assert isinstance(opened.job.plan, VideoPlan)
    assert opened.job.plan.frame_job_id is None


@pytest.mark.parametrize("name", ["per_call_usd", "per_day_usd", "per_month_usd"])
async def test_every_cap_counts_both_to_the_cent(ledger: Ledger, name: str) -> None:
    with pytest.raises(CapExceeded, match=r"\$0\.36"):
        await ledger.open(clip(), Caps(**{name: BOTH_USD - A_CENT}), planned())
    assert await rows(ledger) == []
    assert (await ledger.open(clip(), Caps(**{name: BOTH_USD}), planned())).still is not None


async def test_both_reservations_are_spent_until_they_are_settled(ledger: Ledger) -> None:
    await ledger.open(clip(), NO_CAPS, planned())
    spend = await ledger.spend(START, sandbox=False)
    assert (spend.day_reserved_usd, spend.open_jobs) == (BOTH_USD, 2)


async def test_a_still_that_stands_already_is_taken_and_not_counted_again(ledger: Ledger) -> None:
    first = await ledger.open(clip(), NO_CAPS, planned(idempotency_key="still", request_hash="v1:still"))
    cap = Caps(per_day_usd=BOTH_USD + CLIP_USD)
    second = await ledger.open(clip(), cap, planned(idempotency_key="still", request_hash="v1:still"))
    assert not second.joined
    assert second.still == first.still
    assert isinstance(second.job.plan, VideoPlan)
    assert second.job.plan.frame_job_id == first.still.id  # type: ignore[union-attr]
    assert len(await rows(ledger)) == 3


async def test_a_still_that_was_paid_for_is_taken_as_it_stands(ledger: Ledger) -> None:
    first = await ledger.open(clip(), NO_CAPS, planned(idempotency_key="still", request_hash="v1:still"))
    assert first.still is not None
    done = await ended(ledger, first.still, JobState.SUBMITTING, JobState.STORING, JobState.DONE)
    second = await ledger.open(clip(), NO_CAPS, planned(idempotency_key="still", request_hash="v1:still"))
    assert second.still == replace(done, parent_job_id=second.job.id, version=done.version + 1)
    assert isinstance(second.job.plan, VideoPlan)
    assert second.job.plan.frame_was_paid


async def test_a_still_that_cost_nothing_is_made_anew(ledger: Ledger) -> None:
    first = await ledger.open(clip(), NO_CAPS, planned(idempotency_key="still", request_hash="v1:still"))
    assert first.still is not None
    await ended(ledger, first.still, JobState.SUBMITTING, JobState.FAILED, settled_usd=Decimal(0))
    second = await ledger.open(clip(), NO_CAPS, planned(idempotency_key="still", request_hash="v1:still"))
    assert second.still is not None
    assert second.still.id != first.still.id
    assert second.still.state is JobState.PLANNED


async def test_a_clip_that_joins_writes_no_still(ledger: Ledger) -> None:
    first = await ledger.open(clip(request_hash="v1:clip"), NO_CAPS, planned())
    second = await ledger.open(clip(request_hash="v1:clip"), NO_CAPS, planned())
    assert (second.joined, second.still, second.job) == (True, None, first.job)
    assert len(await rows(ledger)) == 2


async def test_a_still_whose_key_stands_for_something_else_leaves_nothing_behind(ledger: Ledger) -> None:
    await ledger.open(planned(idempotency_key="still", plan=sample_plan()), NO_CAPS)
    before = await rows(ledger)
    with pytest.raises(InvalidRequest, match="already stands for another request"):
        await ledger.open(clip(), NO_CAPS, planned(idempotency_key="still"))
    assert await rows(ledger) == before


async def test_a_cap_holds_against_many_clips_with_stills(ledger: Ledger, second_ledger: Ledger) -> None:
    room_for_three = Caps(per_day_usd=3 * BOTH_USD + CLIP_USD)  # and for a fourth clip without its still
    calls = (which.open(clip(), room_for_three, planned()) for which in (ledger, second_ledger) * 5)
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(answer, CapExceeded) for answer in answers) == 7
    assert len(await rows(ledger)) == 6


def a_still(of: Job, **changes: Any) -> Job:
    return planned(**({"parent_job_id": of.id, "request_hash": "v1:a gull", "idempotency_key": of.id} | changes))


async def clip_with_a_paid_still(ledger: Ledger, end: JobState, **facts: Any) -> tuple[Job, Job]:
    """A clip that came to this end after its still was there; and the still."""
    asked = clip()
    opened = await ledger.open(asked, NO_CAPS, a_still(asked))
    assert opened.still is not None
    still = await ended(ledger, opened.still, JobState.SUBMITTING, JobState.STORING, JobState.DONE)
    path = (JobState.SUBMITTING, JobState.STORING, end) if end is JobState.DONE else (JobState.SUBMITTING, end)
    return await ended(ledger, opened.job, *path, **facts), still


@pytest.mark.parametrize("end", [JobState.FAILED, JobState.REFUSED, JobState.EXPIRED])
async def test_a_still_whose_clip_never_came_is_taken_by_the_next(ledger: Ledger, end: JobState) -> None:
    _, still = await clip_with_a_paid_still(ledger, end)
    asked = clip()
    found = await ledger.find_unused_still(a_still(asked))
    assert found is not None
    assert found.id == still.id
    opened = await ledger.open(asked, Caps(per_call_usd=CLIP_USD), a_still(asked))
    assert opened.still is not None
    assert (opened.still.id, opened.still.parent_job_id) == (still.id, asked.id)
    assert isinstance(opened.job.plan, VideoPlan)
    assert (opened.job.plan.frame_job_id, opened.job.plan.frame_was_paid) == (still.id, True)
    assert await ledger.find_unused_still(a_still(clip())) is None, "it has a clip now"
    assert (await ledger.get(still.id)) == opened.still


@pytest.mark.parametrize("state", [JobState.PLANNED, JobState.SUBMITTING, JobState.RENDERING, JobState.STORING])
async def test_a_still_under_way_whose_clip_was_broken_off_is_taken(ledger: Ledger, state: JobState) -> None:
    path = (JobState.SUBMITTING, JobState.RENDERING, JobState.STORING)
    first = clip()
    opened = await ledger.open(first, NO_CAPS, a_still(first))
    assert opened.still is not None
    still = await ended(ledger, opened.still, *path[: 0 if state is JobState.PLANNED else path.index(state) + 1])
    asked = clip()
    assert await ledger.find_unused_still(a_still(asked)) is None, "its clip still waits for it"
    await ended(ledger, opened.job, JobState.FAILED, settled_usd=Decimal(0))
    again = await ledger.open(asked, Caps(per_call_usd=CLIP_USD), a_still(asked))
    assert again.still is not None
    assert (again.still.id, again.still.parent_job_id, again.still.state) == (still.id, asked.id, state)
    assert isinstance(again.job.plan, VideoPlan)
    assert (again.job.plan.frame_job_id, again.job.plan.frame_was_paid) == (still.id, False)
    assert await ledger.find_unused_still(a_still(clip())) is None, "it has a clip again"
    # Whoever drives it was not asked, and goes on with the row as it knows it.
    rest = path if state is JobState.PLANNED else path[path.index(state) + 1 :]
    done = await ended(ledger, still, *rest, JobState.DONE)
    stored = await ledger.get(still.id)
    assert stored is not None
    assert (stored.state, stored.version, stored.parent_job_id) == (JobState.DONE, done.version, asked.id)


@pytest.mark.parametrize(("key", "is_taken"), [("mine", True), ("another", False)])
async def test_a_still_under_way_is_taken_by_its_own_account_alone(ledger: Ledger, key: str, is_taken: bool) -> None:
    first = clip()
    opened = await ledger.open(first, NO_CAPS, a_still(first, key_fingerprint="mine", account_id=None))
    assert opened.still is not None
    await ended(ledger, opened.still, JobState.SUBMITTING, JobState.RENDERING)
    await ended(ledger, opened.job, JobState.FAILED, settled_usd=Decimal(0))
    found = await ledger.find_unused_still(a_still(clip(), key_fingerprint=key, account_id=None))
    assert (found is not None) is is_taken


async def test_a_still_of_unknown_outcome_is_not_taken(ledger: Ledger) -> None:
    first = clip()
    opened = await ledger.open(first, NO_CAPS, a_still(first))
    assert opened.still is not None
    await ended(ledger, opened.still, JobState.SUBMITTING, JobState.UNKNOWN)
    await ended(ledger, opened.job, JobState.FAILED, settled_usd=Decimal(0))
    assert await ledger.find_unused_still(a_still(clip())) is None


async def test_a_still_that_has_its_clip_is_not_taken_from_it(ledger: Ledger) -> None:
    await clip_with_a_paid_still(ledger, JobState.DONE)
    asked = clip()
    opened = await ledger.open(asked, NO_CAPS, a_still(asked))
    assert opened.still is not None
    assert opened.still.state is JobState.PLANNED
    assert isinstance(opened.job.plan, VideoPlan)
    assert not opened.job.plan.frame_was_paid


@pytest.mark.parametrize("change", [{"actor_id": "somebody else"}, {"sandbox": True}, {"request_hash": "v1:a tern"}])
async def test_another_still_is_not_taken_for_it(ledger: Ledger, change: dict[str, Any]) -> None:
    await clip_with_a_paid_still(ledger, JobState.FAILED)
    assert await ledger.find_unused_still(a_still(clip(), **change)) is None


async def test_a_still_that_could_not_be_read_is_not_taken_again(ledger: Ledger) -> None:
    asked = clip()
    opened = await ledger.open(asked, NO_CAPS, a_still(asked))
    assert opened.still is not None
    await ended(ledger, opened.still, JobState.SUBMITTING, JobState.STORING, JobState.DONE)
    unread = Failure(code="invalid_request", message="imageUrl cannot be used", billed="no")
    await ended(ledger, opened.job, JobState.FAILED, failure=unread, settled_usd=Decimal(0))
    assert await ledger.find_unused_still(a_still(clip())) is None


async def test_of_two_clips_at_once_one_takes_the_still(ledger: Ledger, second_ledger: Ledger) -> None:
    _, still = await clip_with_a_paid_still(ledger, JobState.FAILED)
    asked = [clip(), clip()]
    both = await asyncio.gather(
        *(which.open(one, NO_CAPS, a_still(one)) for which, one in zip((ledger, second_ledger), asked, strict=True))
    )
    assert sorted(opened.still is not None and opened.still.id == still.id for opened in both) == [False, True]


async def broken_off(ledger: Ledger, **facts: Any) -> Job:
    """A still under way whose clip has failed."""
    first = clip()
    opened = await ledger.open(first, NO_CAPS, a_still(first, **facts))
    assert opened.still is not None
    still = await ended(ledger, opened.still, JobState.SUBMITTING, JobState.RENDERING)
    await ended(ledger, opened.job, JobState.FAILED, settled_usd=Decimal(0))
    return still


@pytest.mark.parametrize("change", [{"actor_id": "somebody else"}, {"sandbox": True}, {"request_hash": "v1:a tern"}])
async def test_another_still_under_way_is_not_taken_either(ledger: Ledger, change: dict[str, Any]) -> None:
    await broken_off(ledger)
    assert await ledger.find_unused_still(a_still(clip(), **change)) is None


async def test_a_still_under_way_of_no_known_account_is_anybodys(ledger: Ledger) -> None:
    still = await broken_off(ledger, key_fingerprint=None)
    found = await ledger.find_unused_still(a_still(clip()))
    assert found is not None
    assert found.id == still.id


async def test_a_still_under_way_of_a_strange_account_hides_no_older_one(ledger: Ledger) -> None:
    mine = await broken_off(ledger)
    await broken_off(ledger, key_fingerprint="another", created_at=START + timedelta(minutes=1))
    found = await ledger.find_unused_still(a_still(clip()))
    assert found is not None
    assert found.id == mine.id


@pytest.mark.parametrize("is_done", [True, False])
async def test_the_newest_still_is_taken_first(ledger: Ledger, database: LedgerDatabase, is_done: bool) -> None:
    stills = []
    for minutes in (1, 3, 2):
        asked, at = clip(), START + timedelta(minutes=minutes)
        opened = await ledger.open(asked, NO_CAPS, planned(parent_job_id=asked.id, created_at=at))
        assert opened.still is not None
        way = (JobState.SUBMITTING, JobState.STORING, JobState.DONE) if is_done else (JobState.SUBMITTING,)
        stills.append(await ended(ledger, opened.still, *way))
        await ended(ledger, opened.job, JobState.SUBMITTING, JobState.FAILED)
    # Of one hash only now: while one is unused, no other is made.
    database.query("UPDATE media_jobs SET request_hash = :hash WHERE kind = 'image'", {"hash": "v1:a gull"})
    found = await ledger.find_unused_still(a_still(clip()))
    assert found is not None
    assert found.id == stills[1].id


@pytest.mark.parametrize(("was_sent", "is_taken"), [(True, True), (False, False)])
async def test_a_still_that_a_refused_request_had_read_is_taken(
    ledger: Ledger, database: LedgerDatabase, was_sent: bool, is_taken: bool
) -> None:
    """Newest first: what could not be read hides no older still."""
    _, older = await clip_with_a_paid_still(ledger, JobState.FAILED)
    asked, at = clip(), START + timedelta(minutes=1)
    opened = await ledger.open(asked, NO_CAPS, planned(parent_job_id=asked.id, created_at=at, request_hash="v1:2"))
    assert opened.still is not None
    still = await ended(ledger, opened.still, JobState.SUBMITTING, JobState.STORING, JobState.DONE)
    refused = Failure(code="invalid_request", message="prompt is too long", billed="no")
    way = [JobState.SUBMITTING] * was_sent
    await ended(ledger, opened.job, *way, JobState.FAILED, failure=refused)
    database.query("UPDATE media_jobs SET request_hash = :hash WHERE id = :id", {"hash": "v1:a gull", "id": still.id})
    found = await ledger.find_unused_still(a_still(clip()))
    assert found is not None
    assert found.id == (still if is_taken else older).id
