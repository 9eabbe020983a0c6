"""Marks of what callers were given: beside the answer, and before anybody who asks for the same again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ring_mcp.domain import Job, JobState
from ring_mcp.errors import LedgerError
from ring_mcp.jobs.delivery import Delivery
from tests.fake_clock import LIMIT_S, FakeClock
from tests.jobs.engine import Engine, engine_on, started_engine
from tests.ledger_samples import carried, sample_plan


async def ended(engine: Engine) -> Job:
    job = await engine.new()
    for state in (JobState.SUBMITTING, JobState.FAILED):
        job = await engine.ledger.save(job, carried(job, state))
    return job


@pytest.fixture
def delivery(engine: Engine) -> Delivery:
    return engine.opening.delivery


async def test_nobody_waits_for_a_mark_and_it_is_written(engine: Engine, delivery: Delivery) -> None:
    job = await ended(engine)
    await delivery.mark(job)
    assert "mark_delivered" not in engine.ledger.calls
    await delivery.aclose()
    assert (await engine.row(job)).delivered_at == engine.clock.now()


async def test_where_others_open_jobs_the_mark_is_waited_for(tmp_path: Path, clock: FakeClock) -> None:
    async with started_engine(tmp_path, clock, beside=False) as engine:
        job = await ended(engine)
        await engine.opening.delivery.mark(job)
        assert (await engine.row(job)).delivered_at == clock.now()
        engine.ledger.fail("mark_delivered")
        with pytest.raises(LedgerError):
            await engine.opening.delivery.mark(job)


async def test_the_same_request_waits_for_the_mark(engine: Engine, delivery: Delivery) -> None:
    job = await ended(engine)
    await delivery.mark(job)
    await delivery.settle("another request")
    assert "mark_delivered" not in engine.ledger.calls
    await asyncio.wait_for(delivery.settle(job.request_hash), LIMIT_S)
    assert (await engine.row(job)).delivered_at is not None


async def test_a_mark_that_failed_is_tried_again_before_the_same_is_opened(engine: Engine, delivery: Delivery) -> None:
    engine.ledger.fail("mark_delivered", 2)
    job = await ended(engine)
    await delivery.mark(job)
    await delivery.aclose()
    with pytest.raises(LedgerError) as told:
        await delivery.settle(job.request_hash)
    assert (told.value.billed, (await engine.row(job)).delivered_at) == ("no", None)
    await delivery.settle(job.request_hash)
    assert (await engine.row(job)).delivered_at is not None


async def test_two_answers_about_one_job_owe_one_mark(engine: Engine, delivery: Delivery) -> None:
    job = await ended(engine)
    await delivery.mark(job)
    await delivery.mark(job)
    await delivery.settle(job.request_hash)
    assert engine.ledger.calls.count("mark_delivered") == 1
    await delivery.mark(await engine.row(job))
    await delivery.aclose()
    assert engine.ledger.calls.count("mark_delivered") == 1


async def test_a_call_after_the_answer_is_a_new_one_before_the_mark(tmp_path: Path, engine: Engine) -> None:
    async def ask() -> Job:
        opened = await engine.opening.open(sample_plan(), actor_id="ann", idempotency_key=None)
        assert not opened.joined
        return await engine.ended(opened.job)

    first = await ask()
    await engine.opening.delivery.mark(first)
    second = await ask()
    assert second.id != first.id


async def test_a_process_that_dies_before_its_mark_leaves_a_job_to_join(engine: Engine, clock: FakeClock) -> None:
    opened = await engine.opening.open(sample_plan(), actor_id="ann", idempotency_key=None)
    done = await engine.ended(opened.job)
    engine.ledger.fail("mark_delivered")
    await engine.opening.delivery.mark(done)
    await engine.opening.delivery.aclose()
    after = engine_on(engine.ledger, clock, engine.state)
    again = await after.opening.open(sample_plan(), actor_id="ann", idempotency_key=None)
    assert (again.joined, again.job.id, len(engine.pictures.submitted)) == (True, done.id, 1)
