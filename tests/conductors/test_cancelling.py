"""Breaking jobs off: certain before the request left, as far as the provider can after it, and never a second bill."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from ring_mcp.app import App
from ring_mcp.conductors.cancelling import CancelConductor, Cancellation
from ring_mcp.domain import Job, JobState, VideoPlan, VideoRequest
from ring_mcp.errors import JobMoved, LedgerError
from ring_mcp.sandbox.server import SandboxServer
from tests.conductors.running import ACTOR, LIMIT_S, charges, job_of, rendering, running, settled
from tests.jobs.failing_ledger import FailingLedger

CLIP = VideoRequest(prompt="a ferry", duration_s=1)
GOOGLE_CLIP = VideoRequest(prompt="a ferry", provider="google", duration_s=3)


async def begin(app: App, request: VideoRequest = CLIP) -> Job:
    """A clip that was ordered and whose caller has not waited."""
    result = await app.videos.generate(request, actor_id=ACTOR, wait_s=0)
    return await job_of(app, result.job_id)


async def plan(app: App) -> Job:
    """A job whose row stands and that nobody carries on."""
    await app.queue.aclose()
    return await begin(app)


async def test_what_was_not_sent_ends_unbilled(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        job = await plan(app)
        assert job.state is JobState.PLANNED
        done = await app.cancelling.cancel(job)
        assert done.is_cancelled
        ended = await job_of(app, job.id)
        assert (ended.state, ended.settled_usd, ended.owner) == (JobState.FAILED, Decimal(0), None)
        assert ended.failure is not None
        assert (ended.failure.code, ended.failure.billed) == ("cancelled", "no")
        assert charges(sandbox) == 0


async def test_its_reservation_is_free_again(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path, RING_MAX_USD_PER_DAY="0.1") as app:
        job = await plan(app)
        before = await app.ledger.spend(job.created_at, sandbox=True)
        await app.cancelling.cancel(job)
        after = await app.ledger.spend(job.created_at, sandbox=True)
    assert (before.day_usd, after.day_usd) == (job.reserved_usd, Decimal(0))


async def test_cancelling_twice_says_that_it_has_ended(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        job = await plan(app)
        await app.cancelling.cancel(job)
        again = await app.cancelling.cancel(job)
    assert (again.is_cancelled, "there is nothing to cancel" in again.text) == (False, True)


async def test_a_clip_at_a_provider_that_cannot_cancel_goes_on(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(render_s=600)
    async with running(sandbox, tmp_path) as app:
        job = await rendering(app, (await begin(app)).id)
        done = await app.cancelling.cancel(job)
        assert not done.is_cancelled
        assert "xAI cannot cancel" in done.text
        assert "the result is kept" in done.text
        sandbox.state.configure(render_s=0)
        assert (await settled(app, job.id)).state is JobState.DONE


async def test_googles_clip_is_cancelled_at_google(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(render_s=600)
    async with running(sandbox, tmp_path) as app:
        job = await rendering(app, (await begin(app, GOOGLE_CLIP)).id)
        done = await app.cancelling.cancel(job)
        assert done.is_asked
        ended = await settled(app, job.id)
    assert ended.state is JobState.FAILED
    assert ended.failure is not None
    assert "cancelled" in ended.failure.message


@pytest.mark.parametrize(
    ("request_", "told"), [(CLIP, "xAI cannot cancel a request"), (GOOGLE_CLIP, "so cancel it again in a moment")]
)
async def test_while_the_request_is_on_its_way_nothing_is_cancelled(
    sandbox: SandboxServer, tmp_path: Path, request_: VideoRequest, told: str
) -> None:
    sandbox.state.faults.add("stall", seconds=LIMIT_S)
    async with running(sandbox, tmp_path, RING_DRAIN_S="0.1") as app:
        job = await begin(app, request_)
        async with asyncio.timeout(LIMIT_S):
            while job.state is not JobState.SUBMITTING:
                await asyncio.sleep(0.01)
                job = await job_of(app, job.id)
        done = await app.cancelling.cancel(job)
        assert (done.is_cancelled, done.is_asked) == (False, False)
        assert told in done.text
        assert "at most, and the result is kept" in done.text


async def test_google_says_no_and_the_clip_goes_on(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(render_s=600)
    async with running(sandbox, tmp_path) as app:
        job = await rendering(app, (await begin(app, GOOGLE_CLIP)).id)
        sandbox.state.faults.add("status", status=503, path="/cancel")
        done = await app.cancelling.cancel(job)
        assert (done.is_cancelled, done.is_asked) == (False, False)
        assert "Google did not cancel" in done.text
        assert (await job_of(app, job.id)).state is JobState.RENDERING


async def test_an_unknown_outcome_is_not_cancelled(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.faults.add("drop_after_accept")
    async with running(sandbox, tmp_path) as app:
        job = await settled(app, (await begin(app)).id)
        assert job.state is JobState.UNKNOWN
        done = await app.cancelling.cancel(job)
    assert (done.is_cancelled, "jobs resolve" in done.text) == (False, True)


async def test_whoever_moved_the_job_first_decides(sandbox: SandboxServer, tmp_path: Path) -> None:
    """The row's version: here the request leaves between the look at the row and the attempt to end it."""
    sandbox.state.configure(render_s=600)
    async with running(sandbox, tmp_path) as app:
        stale = await begin(app)
        job = await rendering(app, stale.id)
        with pytest.raises(JobMoved):
            await app.cancelling._end(stale)
        done = await app.cancelling.cancel(stale)
        assert (done.is_cancelled, done.job.state) == (False, JobState.RENDERING)
        assert charges(sandbox) == 1
        assert job.provider_request_id == done.job.provider_request_id


@pytest.mark.long
async def test_hundreds_of_cancels_against_starts_bill_only_what_lives(sandbox: SandboxServer, tmp_path: Path) -> None:
    """Each job is either cancelled and never charged, or made and charged once."""
    async with running(sandbox, tmp_path) as app:
        jobs = await asyncio.gather(
            *(begin(app, VideoRequest(prompt=f"boat {number}", duration_s=1)) for number in range(30))
        )
        told: list[Cancellation] = await asyncio.gather(*(app.cancelling.cancel(job) for job in jobs))
        ended = [await settled(app, job.id) for job in jobs]
    for cancellation, job in zip(told, ended, strict=True):
        paid = sum(charge.prompt == job.plan.prompt for charge in sandbox.state.books.charges())
        assert (job.state is JobState.FAILED, paid) == ((True, 0) if cancellation.is_cancelled else (False, 1))


async def test_a_clip_takes_its_unsent_still_with_it(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        await app.queue.aclose()
        clip = await begin(app, VideoRequest(prompt="x", first_frame_prompt="a still", duration_s=1))
        done = await app.cancelling.cancel(clip)
        still = await job_of(app, clip.plan.frame_job_id)  # type: ignore[union-attr]
    assert done.is_cancelled
    assert "its first frame" in done.text
    assert still.failure is not None
    assert still.failure.code == "cancelled"


STILL_FIRST = VideoRequest(prompt="x", first_frame_prompt="a still", duration_s=1)


def still_of(job: Job) -> str:
    assert isinstance(job.plan, VideoPlan)
    assert job.plan.frame_job_id is not None
    return job.plan.frame_job_id


async def test_a_cancel_that_fails_half_way_can_be_made_again(sandbox: SandboxServer, tmp_path: Path) -> None:
    """Otherwise the still would be made and paid, of a clip that is said to have ended."""
    async with running(sandbox, tmp_path) as app:
        await app.queue.aclose()
        clip = await begin(app, STILL_FIRST)
        ledger = FailingLedger(app.ledger)
        cancelling = CancelConductor(
            ledger,
            app.watch,
            {},
            app.cancelling._accounts,
            app.clock,
            app.cancelling._allowance,
            app.cancelling._sharing,
        )
        ledger.fail("save", skip=1)
        with pytest.raises(LedgerError):
            await cancelling.cancel(clip)
        done = await cancelling.cancel(clip)
        assert done.is_cancelled
        states = [(await job_of(app, job_id)).state for job_id in (clip.id, still_of(clip))]
    assert states == [JobState.FAILED, JobState.FAILED]


async def test_a_cancelled_clip_says_that_its_still_may_be_billed(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.faults.add("stall", seconds=LIMIT_S, path="images/generations")
    async with running(sandbox, tmp_path, RING_DRAIN_S="0.1") as app:
        clip = await begin(app, STILL_FIRST)
        async with asyncio.timeout(LIMIT_S):
            while (await job_of(app, still_of(clip))).state is not JobState.SUBMITTING:
                await asyncio.sleep(0.01)
        done = await app.cancelling.cancel(clip)
        assert (done.is_cancelled, "its bill is in its own row" in done.text) == (True, True)
        row = await job_of(app, clip.id)
    assert row.failure is not None
    assert (row.failure.billed, row.settled_usd) == ("unknown", Decimal(0))
    assert f"its first frame (job {still_of(clip)}) is submitting" in row.failure.message
