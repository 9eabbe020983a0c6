"""What both create tools do around their plans: a quote, a job that is waited for, and its result for the caller."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.conductors.allowance import Allowance
from ring_mcp.conductors.confirming import Confirming
from ring_mcp.conductors.paid_calls import PaidCalls
from ring_mcp.conductors.results import GenerateImageResult, GenerateVideoResult, JobResult
from ring_mcp.domain import Account, Caps, Holder, Job, JobState
from ring_mcp.domain.caps import usd
from ring_mcp.domain.consent import Rule
from ring_mcp.errors import CapExceeded, InvalidRequest, LedgerError, ProviderAuthError, StorageRefused
from ring_mcp.jobs.accounts import describe_needed_account
from ring_mcp.ledger.sqlite import SqliteLedger
from ring_mcp.providers.base import Running
from tests.fake_clock import FakeClock
from tests.jobs.engine import PACE, Engine, clip_plan, started_engine, still_clip_plan, until
from tests.jobs.scripted_provider import jpeg
from tests.ledger_samples import NO_CAPS, PRICE_USD, carried, sample_plan

CLIP_USD = Decimal("0.30")
TIMEOUTS_S = {kind: pace.poll_timeout_s for kind, pace in PACE.items()}


def calls_on(engine: Engine, caps: Caps = NO_CAPS) -> PaidCalls:
    return PaidCalls(
        opening=engine.opening,
        accounts=engine.accounts,
        queue=engine.queue,
        watch=engine.watch,
        inputs=engine.inputs,
        ledger=engine.ledger,
        storage=engine.storage,
        allowance=Allowance(engine.ledger, caps, engine.clock, sandbox=engine.accounts.holder.sandbox),
        clock=engine.clock,
        timeouts_s=TIMEOUTS_S,
        confirming=Confirming(Rule(), engine.ledger, engine.clock, sandbox=False),
    )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def engine(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Engine]:
    async with started_engine(tmp_path, clock) as engine:
        yield engine


async def make(engine: Engine, plan: Any = None, **options: Any) -> JobResult:
    asked = {"actor_id": "ann", "idempotency_key": None, "wait_s": 50.0} | options
    return await calls_on(engine).make(plan or sample_plan(), **asked)


async def rendering(engine: Engine, **changes: Any) -> Job:
    job = await engine.new(**changes)
    for state in (JobState.SUBMITTING, JobState.RENDERING):
        job = await engine.ledger.save(job, carried(job, state))
    return job


async def test_a_quote_has_every_price_its_total_and_spends_nothing(engine: Engine) -> None:
    quote = await calls_on(engine).quote(still_clip_plan())
    assert isinstance(quote, GenerateVideoResult)
    assert [(line.what, line.total_usd) for line in quote.prices or ()] == [("second", CLIP_USD), ("image", PRICE_USD)]
    assert (quote.total_usd, quote.dry_run, quote.cap_left_usd) == (CLIP_USD + PRICE_USD, True, None)
    assert (quote.warnings, quote.sandbox) == (None, None)
    assert "open" not in engine.ledger.calls


async def test_a_quote_says_what_the_caps_leave_and_whether_they_would_refuse(engine: Engine) -> None:
    await engine.new()
    plan = sample_plan().model_copy(update={"warnings": ("of the plan",)})
    fits = await calls_on(engine, Caps(per_call_usd=PRICE_USD, per_day_usd=2 * PRICE_USD)).quote(plan)
    assert fits.cap_left_usd == {"perCall": PRICE_USD, "today": PRICE_USD}
    assert fits.warnings == ("of the plan",)
    full = await calls_on(engine, Caps(per_day_usd=Decimal("0.1"))).quote(plan)
    assert full.warnings == (
        "of the plan",
        "this call needs $0.06 and the cap today leaves $0.04: it would be refused",
    )


@pytest.mark.parametrize(("max_usd", "warnings"), [(PRICE_USD, 0), (PRICE_USD - Decimal("0.01"), 1)])
async def test_a_quote_says_whether_the_callers_own_limit_refuses(
    engine: Engine, max_usd: Decimal, warnings: int
) -> None:
    quote = await calls_on(engine).quote(sample_plan(), max_usd)
    assert len(quote.warnings or ()) == warnings
    assert all(f"maxUsd is {usd(max_usd)}: it would be refused" in each for each in quote.warnings or ())


async def test_a_quote_counts_its_own_world_alone(tmp_path: Path, clock: FakeClock) -> None:
    caps = Caps(per_day_usd=PRICE_USD)
    async with started_engine(tmp_path / "real", clock) as engine:
        await engine.new(sandbox=True)
        real = await calls_on(engine, caps).quote(sample_plan())
    assert (real.cap_left_usd, real.sandbox) == ({"today": PRICE_USD}, None)
    async with started_engine(tmp_path / "sandbox", clock, holder=Holder(sandbox=True)) as engine:
        await engine.new(sandbox=True)
        played = await calls_on(engine, caps).quote(sample_plan())
    assert (played.cap_left_usd, played.sandbox) == ({"today": Decimal(0)}, True)


async def test_a_call_is_made_waited_for_and_delivered(engine: Engine) -> None:
    result = await make(engine)
    assert isinstance(result, GenerateImageResult)
    assert (result.success, len(result.images), result.joined) == (True, 1, None)
    job = await engine.told(result.job_id)
    assert (job.state, job.delivered_at, job.actor_id) == (JobState.DONE, engine.clock.now(), "ann")


async def test_an_identical_call_joins_until_the_result_was_delivered(engine: Engine) -> None:
    gate = asyncio.Event()

    async def later() -> Running:
        await gate.wait()
        return Running()

    engine.pictures.looks += [later]
    first, second = (asyncio.create_task(make(engine)) for _ in range(2))
    await until(lambda: engine.ledger.calls.count("open") == 2)
    gate.set()
    await until(lambda: engine.clock.sleepers == 3)  # both callers, and the driver between two looks
    engine.clock.advance(1)
    await until(lambda: first.done() and second.done())
    results = await first, await second
    assert results[0].job_id == results[1].job_id
    assert {result.joined for result in results} == {None, True}
    engine.clock.advance(1)  # looks are spread over a second: one more at this very instant would wait for its turn
    again = await make(engine)
    assert (again.joined, again.job_id == results[0].job_id) == (None, False)


async def test_whoever_waits_no_longer_gets_a_handle_and_the_job_goes_on(engine: Engine) -> None:
    engine.pictures.looks += [asyncio.Event().wait]
    result = await make(engine, wait_s=0)
    assert (result.success, result.state) == (True, "planned")
    assert result.next_action == f"Call ring-job-get with jobId {result.job_id}: it waits for the result."
    assert (await engine.row(result.job_id or "")).delivered_at is None
    await until(lambda: len(engine.pictures.looked_for) == 1)


async def test_without_a_limit_a_call_outwaits_its_job(engine: Engine, clock: FakeClock) -> None:
    engine.pictures.looks += [asyncio.Event().wait]
    waiting = asyncio.create_task(make(engine, wait_s=None))
    await until(lambda: any(record.job.state is JobState.RENDERING for record in engine.runner.records))
    assert (await clock.play(asyncio.wait_for(waiting, 60))).state == "rendering"
    assert clock.monotonic() == TIMEOUTS_S["image"] + 60


async def test_progress_is_told_while_a_call_waits(engine: Engine) -> None:
    told: list[JobState] = []

    async def hear(job: Job) -> None:
        told.append(job.state)

    await make(engine, on_progress=hear)
    assert told
    assert JobState.DONE not in told


async def test_what_is_refused_at_the_beginning_is_raised(tmp_path: Path, clock: FakeClock) -> None:
    async with started_engine(tmp_path, clock, caps=Caps(per_call_usd=Decimal("0.01"))) as engine:
        with pytest.raises(CapExceeded):
            await make(engine)
        engine.ledger.fail("open")
        with pytest.raises(LedgerError):
            await make(engine)


@pytest.mark.parametrize("key", [None, "k1"])
async def test_a_ledger_lost_after_the_opening_names_the_job(engine: Engine, key: str | None) -> None:
    """The job is another process's, as in a fleet, so that whoever waits for it reads the ledger."""
    engine.watch.hold = lambda job: None  # type: ignore[method-assign]
    engine.pictures.looks += [asyncio.Event().wait]
    engine.ledger.after("open", lambda: engine.ledger.fail("get", float("inf")))
    with pytest.raises(LedgerError) as told:
        await make(engine, idempotency_key=key, wait_s=0)
    engine.ledger.recover()
    assert told.value.job_id is not None
    assert (await engine.row(told.value.job_id)).actor_id == "ann"
    assert told.value.billed == "unknown"
    assert "started nothing" not in told.value.next_action


@pytest.mark.parametrize("asked", ["whole", "beginning"])
async def test_a_job_that_cannot_be_read_at_all_may_be_billed(engine: Engine, asked: str) -> None:
    job = await rendering(engine)
    engine.ledger.fail("get" if asked == "whole" else "find_ids", float("inf"))
    with pytest.raises(LedgerError) as told:
        await calls_on(engine).find_own(job.id if asked == "whole" else job.id[:8], "ann")
    assert told.value.billed == "unknown"
    assert "it goes on" in told.value.next_action
    assert "started nothing" not in told.value.next_action


async def test_a_resumed_job_that_cannot_be_read_may_be_billed(engine: Engine) -> None:
    job = await rendering(engine)
    engine.ledger.fail("get", float("inf"))
    engine.watch.hold = lambda job: None  # type: ignore[method-assign]
    with pytest.raises(LedgerError) as told:
        await calls_on(engine).resume(job, 0)
    engine.ledger.recover()
    assert (told.value.billed, told.value.job_id) == ("unknown", job.id)


async def test_an_inline_picture_is_a_file_before_it_is_a_row(engine: Engine) -> None:
    inline = "data:image/jpeg;base64," + base64.b64encode(jpeg()).decode()
    result = await make(engine, sample_plan().model_copy(update={"reference_images": (inline,)}))
    plan = (await engine.row(result.job_id or "")).plan
    assert plan.reference_images[0].startswith("kept:")
    (request,) = engine.pictures.submitted
    assert request.inputs.reference_images == (inline,)


async def test_a_failure_of_the_storage_is_in_the_result(engine: Engine) -> None:
    engine.storage.troubles += [StorageRefused("the token is wrong")]
    result = await make(engine)
    assert (result.success, result.error, result.state) == (False, "the token is wrong", "storing")
    resumed = await calls_on(engine).resume(await engine.row(result.job_id or ""), 50)
    assert (resumed.success, resumed.state) == (True, "done")


async def test_a_resumed_job_is_waited_for_as_long_as_asked(engine: Engine) -> None:
    engine.pictures.looks += [asyncio.Event().wait]
    job = await rendering(engine)
    result = await calls_on(engine).resume(job, 0)
    assert (result.success, result.state) == (True, "rendering")
    await until(lambda: len(engine.runner.records) == 1)


async def test_a_job_that_is_driven_is_read_from_memory(engine: Engine) -> None:
    job = await rendering(engine)
    calls = calls_on(engine)
    assert await calls.read(job.id) == job
    engine.watch.hold(replace(job, progress=50))
    assert await calls.read(job.id) == replace(job, progress=50)
    assert await calls.read("no such job") is None


async def test_the_beginning_of_an_id_is_looked_for_among_ones_own(engine: Engine) -> None:
    """Also where another actor's begins with the same: that there is one is nobody else's business."""
    calls, beginning = calls_on(engine), "0badcafe"
    own = await engine.new(id=f"{beginning}-0000-4000-8000-000000000001", actor_id="ann")
    await engine.new(id=f"{beginning}-0000-4000-8000-000000000002", actor_id="bob")
    assert (await calls.find_own(beginning, "ann")).id == own.id
    assert await calls.read(beginning) is None


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.UNKNOWN])
async def test_an_outcome_that_was_told_is_marked_as_such(engine: Engine, clock: FakeClock, state: JobState) -> None:
    job = await engine.new()
    for step in (JobState.SUBMITTING, state):
        job = await engine.ledger.save(job, carried(job, step))
    clock.advance(5)
    result = await calls_on(engine).deliver(job, joined=True)
    assert (result.success, result.joined) == (False, True)
    assert (await engine.told(job.id)).delivered_at == clock.now()


async def test_a_job_under_way_is_not_marked_as_told(engine: Engine) -> None:
    job = await rendering(engine)
    await calls_on(engine).deliver(job)
    assert "mark_delivered" not in engine.ledger.calls


async def test_a_result_is_delivered_although_the_ledger_is_away_and_says_so(tmp_path: Path, clock: FakeClock) -> None:
    async with started_engine(tmp_path, clock, beside=False) as engine:
        engine.ledger.fail("mark_delivered")
        result = await make(engine)
    assert result.success
    assert result.warnings == (
        "the ledger could not be written (the ledger is away); the row follows as soon as it can",
    )


async def test_somebody_who_only_looks_marks_nothing_as_told(engine: Engine) -> None:
    job = await engine.new()
    for step in (JobState.SUBMITTING, JobState.FAILED):
        job = await engine.ledger.save(job, carried(job, step))
    result = await calls_on(engine).show(job, joined=True)
    assert (result.success, result.joined) == (False, True)
    assert (await engine.row(job)).delivered_at is None


async def test_a_result_not_yet_in_the_ledger_is_not_marked(engine: Engine) -> None:
    engine.ledger.fail("save", 100, skip=1)
    result = await make(engine)
    assert result.success
    assert result.warnings == ("the ledger could not be written; the row follows as soon as it can",)
    assert "mark_delivered" not in engine.ledger.calls


STRANGER = Account(provider="xai", key_fingerprint="f" * 32)


async def test_a_stranded_job_says_at_once_what_it_needs(engine: Engine) -> None:
    job = await rendering(engine, key_fingerprint=STRANGER.key_fingerprint)
    left = await engine.ledger.save(job, replace(job, owner=None))
    result = await calls_on(engine).resume(left, 50)
    assert result.failure is not None
    assert (result.success, result.failure.code) == (False, describe_needed_account(left).code)
    assert result.error == describe_needed_account(left).message
    assert await engine.row(left) == left  # said to the caller alone


async def test_a_job_of_another_living_process_is_waited_for(engine: Engine, tmp_path: Path, clock: FakeClock) -> None:
    elsewhere = SqliteLedger(tmp_path / "ledger.db", clock)
    await elsewhere.start()
    job = await rendering(engine, key_fingerprint=STRANGER.key_fingerprint)
    theirs = await elsewhere.save(job, replace(job, owner=elsewhere.owner))
    result = await calls_on(engine).resume(theirs, 0)
    assert (result.success, result.state) == (True, "rendering")
    assert await engine.row(job) == theirs
    await elsewhere.aclose()


def test_every_provider_of_a_call_is_looked_at_first(engine: Engine) -> None:
    calls = calls_on(engine)
    calls.check_provider(still_clip_plan())
    still = sample_plan().model_copy(update={"provider": "openai"})
    with pytest.raises(InvalidRequest, match="provider must be one of xai for images"):
        calls.check_provider(still_clip_plan(first_frame=still))
    with pytest.raises(InvalidRequest, match="provider must be one of xai for videos"):
        calls.check_provider(clip_plan(provider="openai"))
    engine.pictures.not_ready = ProviderAuthError("XAI_API_KEY is not configured")
    calls.check_provider(clip_plan())
    with pytest.raises(ProviderAuthError):
        calls.check_provider(still_clip_plan())
