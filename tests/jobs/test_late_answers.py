"""Answers that come after a person has settled their jobs by hand: they count, and nobody misses it."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from ring_mcp.domain import Job, JobState
from ring_mcp.errors import ContentRefused, JobMoved, OutcomeUnknown, ProviderRejected
from ring_mcp.jobs.answers import Answer
from ring_mcp.jobs.outcomes import resolve_by_hand
from ring_mcp.ledger.base import Ledger
from ring_mcp.providers.base import Accepted
from tests.fake_clock import FakeClock
from tests.jobs.engine import Engine
from tests.jobs.scripted_provider import finished
from tests.ledger_samples import PRICE_USD, carried

NOTHING = Decimal(0)
ACCEPTED = Accepted(provider_request_id="request-7")
COUNTS = (
    "the provider answered after a person had settled this job "
    "(outcome unknown; resolved by hand as {}): the answer counts"
)


async def settle(ledger: Ledger, job: Job, clock: FakeClock, *, paid: bool) -> Job:
    """As a person does it, after the attempt was called unknown; whoever asks is told."""
    clock.advance(60)
    stored = await ledger.get(job.id)
    assert stored is not None
    unknown = await ledger.save(stored, carried(stored, JobState.UNKNOWN, updated_at=clock.now()))
    clock.advance(60)
    settled = await ledger.save(unknown, resolve_by_hand(unknown, paid=paid, now=clock.now()))
    await ledger.mark_delivered(settled.id, clock.now())
    told = await ledger.get(settled.id)
    assert told is not None
    return told


@pytest.mark.parametrize("paid", [True, False])
async def test_a_driver_whose_answer_comes_late_finishes_the_job_and_says_so(
    engine: Engine, clock: FakeClock, elsewhere: Ledger, caplog: pytest.LogCaptureFixture, paid: bool
) -> None:
    async def late() -> Accepted:
        [record] = engine.runner.records
        await settle(elsewhere, record.job, clock, paid=paid)
        return ACCEPTED

    engine.pictures.answers += [late]
    engine.pictures.looks += [finished(billed_usd=Decimal("0.05"))]
    job = await engine.new()
    await clock.play(engine.runner.drive(job))
    row = await engine.row(job)
    assert (row.state, row.billed_usd, row.settled_usd) == (JobState.DONE, Decimal("0.05"), Decimal("0.05"))
    assert row.warnings == (COUNTS.format("paid" if paid else "not paid"),)
    assert row.delivered_at is None, "what a caller was told no longer holds"
    assert (await engine.ledger.spend(clock.now(), sandbox=False)).day_usd == Decimal("0.05")
    assert "request request-7" in caplog.text


@pytest.mark.parametrize(
    ("answer", "state", "settled_usd"),
    [
        (ProviderRejected("no such model"), JobState.FAILED, NOTHING),
        (ContentRefused("moderated", billed_usd=Decimal("0.02")), JobState.REFUSED, Decimal("0.02")),
    ],
)
async def test_a_refusal_that_comes_late_sets_the_books_right(
    engine: Engine, clock: FakeClock, elsewhere: Ledger, answer: Exception, state: JobState, settled_usd: Decimal
) -> None:
    async def late() -> Accepted:
        [record] = engine.runner.records
        await settle(elsewhere, record.job, clock, paid=True)
        raise answer

    engine.pictures.answers += [late]
    job = await engine.new()
    await engine.runner.drive(job)
    row = await engine.row(job)
    assert (row.state, row.settled_usd) == (state, settled_usd)
    assert row.warnings == (COUNTS.format("paid"),)


async def test_a_lost_answer_leaves_what_a_person_has_settled(
    engine: Engine, clock: FakeClock, elsewhere: Ledger
) -> None:
    async def late() -> Accepted:
        [record] = engine.runner.records
        await settle(elsewhere, record.job, clock, paid=True)
        raise OutcomeUnknown("the connection broke")

    engine.pictures.answers += [late]
    job = await engine.new()
    await engine.runner.drive(job)
    row = await engine.row(job)
    assert (row.state, row.is_resolved_by_hand, row.settled_usd) == (JobState.FAILED, True, PRICE_USD)
    assert row.warnings == ()


async def test_an_answer_to_an_earlier_attempt_leaves_what_a_person_has_settled(
    engine: Engine, clock: FakeClock
) -> None:
    record = engine.record(await engine.new())
    await record.write(carried(record.job, JobState.SUBMITTING))
    other = await engine.ledger.save(record.job, carried(record.job, JobState.UNKNOWN, attempt_token="another"))
    settled = await engine.ledger.save(other, resolve_by_hand(other, paid=False, now=clock.now()))
    with pytest.raises(JobMoved):
        await record.write(carried(record.job, JobState.RENDERING))
    assert await engine.row(settled) == settled
    assert engine.write_ahead.list_left() == ([], [settled.id]), "an answer is not dropped, somebody has to look at it"


# From a courier


async def left_by_a_courier(engine: Engine, answer: Answer, *, paid: bool) -> Job:
    """A job that was settled by hand, and the answer that a courier wrote down after all."""
    record = engine.record(await engine.new())
    await record.write(carried(record.job, JobState.SUBMITTING))
    token = record.job.attempt_token
    assert token is not None
    await asyncio.to_thread(engine.answers.write, record.job.id, token, answer)
    return await settle(engine.ledger, record.job, engine.clock, paid=paid)


@pytest.mark.parametrize("paid", [True, False])
async def test_an_answer_that_a_courier_has_left_counts_at_the_next_start(engine: Engine, paid: bool) -> None:
    job = await left_by_a_courier(engine, finished(billed_usd=Decimal("0.05")), paid=paid)
    await engine.late.apply_own(engine.ledger)
    row = await engine.row(job)
    assert (row.state, row.owner, row.billed_usd, row.settled_usd) == (JobState.STORING, None, Decimal("0.05"), None)
    assert row.warnings == (COUNTS.format("paid" if paid else "not paid"),)
    await engine.clock.play(engine.runner.run(job.id))
    assert (await engine.row(job)).state is JobState.DONE
    assert engine.answers.job_ids() == []


async def test_a_courier_that_knows_no_more_leaves_what_a_person_has_settled(engine: Engine) -> None:
    job = await left_by_a_courier(engine, OutcomeUnknown("the courier has died"), paid=False)
    await engine.late.apply_own(engine.ledger)
    assert await engine.row(job) == job
    assert engine.answers.job_ids() == []
