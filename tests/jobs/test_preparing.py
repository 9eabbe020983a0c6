"""What a clip waits for before its paid request: its still, in the ledger, and inputs that can be read."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import math
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.domain import Failure, Job, JobState, VideoPlan
from ring_mcp.errors import FirstFrameFailed, JobMoved, MediaGone, StorageError, StorageRefused
from ring_mcp.jobs.accounts import describe_needed_account
from ring_mcp.jobs.outcomes import Park, Pause, park
from ring_mcp.jobs.preparing import LOOK_AGAIN_S, LOOK_AT_STILL_S, find_awaited_still
from ring_mcp.jobs.record import JobRecord
from ring_mcp.jobs.shared_names import input_name
from ring_mcp.jobs.submitting import STALE_PLAN_S, WRITE_AGAIN_S
from ring_mcp.providers.base import Inputs
from tests.fake_clock import LIMIT_S, FakeClock
from tests.jobs.engine import Engine, clip_plan, engine_on, started_engine, still_clip_plan
from tests.jobs.scripted_provider import jpeg
from tests.jobs.shared_folder import SharedFolder
from tests.ledger_samples import NO_CAPS, carried, planned, sample_asset, sample_plan

ADDRESS = "https://pictures.example/a.jpg"
BILLED = Decimal("0.04")
NOTHING = Decimal(0)
_S = JobState


async def waiting_clip(engine: Engine, *states: JobState, **facts: Any) -> tuple[JobRecord, Job]:
    """A clip, and its still in the state that these arrows lead to, which nobody drives."""
    clip, still = await engine.new_clip_with_still()
    for state in states:
        still = await engine.ledger.save(still, carried(still, state, **(facts if state is states[-1] else {})))
    return engine.record(clip), still


async def prepared(engine: Engine, record: JobRecord, *, as_bytes: bool = False) -> Inputs | Pause | Park | None:
    """What is there for the request; a job that is to be parked is, as its driver does it."""
    answer = await engine.preparing.prepare(record, as_bytes=as_bytes)
    if isinstance(answer, Park):
        await record.write(park(record.job, answer, engine.clock.now()))
    return answer


@pytest.mark.parametrize("states", [(), (_S.SUBMITTING,), (_S.SUBMITTING, _S.RENDERING), (_S.SUBMITTING, _S.STORING)])
async def test_a_clip_looks_at_its_still_every_second_or_when_it_changes(
    engine: Engine, states: tuple[JobState, ...]
) -> None:
    record, still = await waiting_clip(engine, *states)
    before = record.job
    assert await prepared(engine, record) == Pause(LOOK_AT_STILL_S, until=still.id)
    assert record.job == before
    assert LOOK_AT_STILL_S == 1.0


async def test_a_still_that_is_made_goes_along_with_what_it_cost(engine: Engine) -> None:
    asset = sample_asset().model_copy(update={"url": ADDRESS})
    record, _ = await waiting_clip(engine, _S.SUBMITTING, _S.STORING, _S.DONE, assets=(asset,), billed_usd=BILLED)
    assert await prepared(engine, record) == Inputs(image_url=ADDRESS)
    plan = (await engine.row(record.job)).plan
    assert isinstance(plan, VideoPlan)
    assert (plan.made_frame, plan.made_frame_billed_usd) == (asset, BILLED)


async def test_a_still_that_is_there_is_not_asked_for_again(engine: Engine) -> None:
    asset = sample_asset().model_copy(update={"url": ADDRESS})
    record, _ = await waiting_clip(engine, _S.SUBMITTING, _S.STORING, _S.DONE, assets=(asset,))
    await prepared(engine, record)
    engine.ledger.calls.clear()
    assert await prepared(engine, record) == Inputs(image_url=ADDRESS)
    assert engine.ledger.calls == []


async def test_the_trouble_of_a_clip_ends_when_its_still_is_there(engine: Engine) -> None:
    record, still = await waiting_clip(engine, _S.SUBMITTING, _S.STORING)
    await engine.ledger.save(still, replace(still, failure=Failure(code="x", message="a full disk", billed="yes")))
    await prepared(engine, record)
    assert record.job.failure is not None
    stored = await engine.row(still)
    asset = sample_asset().model_copy(update={"url": ADDRESS})
    await engine.ledger.save(stored, carried(stored, _S.DONE, failure=None, assets=(asset,)))
    assert await prepared(engine, record) == Inputs(image_url=ADDRESS)
    assert (await engine.row(record.job)).failure is None


@pytest.mark.parametrize(
    ("state", "billed", "next_step"),
    [
        (_S.FAILED, "no", "Call again."),
        (_S.REFUSED, "yes", FirstFrameFailed.next_action),
        (_S.EXPIRED, "unknown", FirstFrameFailed.next_action),
    ],
)
async def test_a_still_that_failed_ends_its_clip_with_reason_and_bill(
    engine: Engine, state: JobState, billed: Any, next_step: str
) -> None:
    why = Failure(code="content_refused", message="no lighthouses", billed=billed)
    path = (_S.SUBMITTING, _S.RENDERING, state)
    record, _ = await waiting_clip(engine, *path, failure=why)
    assert await prepared(engine, record) is None
    clip = await engine.row(record.job)
    assert (clip.state, clip.settled_usd, clip.billed_usd) == (_S.FAILED, NOTHING, None)
    assert clip.failure is not None
    assert (clip.failure.code, clip.failure.billed) == ("first_frame_failed", billed)
    assert isinstance(record.job.plan, VideoPlan)
    still = f"the first frame (job {record.job.plan.frame_job_id})"
    assert clip.failure.message == f"{still} failed, the video was not started: no lighthouses"
    assert clip.failure.next_action == next_step


async def test_a_still_that_is_parked_without_a_word_parks_its_clip(engine: Engine) -> None:
    record, still = await waiting_clip(engine, _S.SUBMITTING, _S.STORING)
    why = Failure(code="storage_refused", message="the token is wrong", billed="yes")
    await engine.ledger.save(still, replace(park(still, Park(why, None), still.created_at), failure=None))
    parked = await prepared(engine, record)
    assert isinstance(parked, Park)
    assert parked.failure.message == (
        f"the first frame (job {still.id}) is not there yet, so the video was not started"
    )


@pytest.mark.parametrize(("was_paid", "billed_usd"), [(False, BILLED), (True, NOTHING)])
async def test_a_still_that_was_paid_before_costs_its_clip_nothing(
    engine: Engine, was_paid: bool, billed_usd: Decimal
) -> None:
    clip, still = await engine.new_clip_with_still()
    for state in (_S.SUBMITTING, _S.STORING):
        still = await engine.ledger.save(still, carried(still, state))
    await engine.ledger.save(still, carried(still, _S.DONE, billed_usd=BILLED))
    plan = clip.plan.model_copy(update={"frame_was_paid": was_paid})
    record = engine.record(await engine.ledger.save(clip, replace(clip, plan=plan)))
    await prepared(engine, record)
    assert isinstance(record.job.plan, VideoPlan)
    assert record.job.plan.made_frame_billed_usd == billed_usd


async def test_an_unknown_still_parks_its_clip_with_the_way_out(engine: Engine) -> None:
    record, still = await waiting_clip(engine, _S.SUBMITTING, _S.UNKNOWN)
    assert isinstance(await prepared(engine, record), Park)
    clip = await engine.row(record.job)
    assert clip.state is _S.PLANNED
    assert clip.failure is not None
    assert (clip.failure.code, clip.failure.billed, clip.failure.retryable) == ("unknown_outcome", "unknown", False)
    assert still.id in clip.failure.message
    assert f"ring-mcp jobs resolve {still.id}" in clip.failure.next_action


async def test_a_still_that_is_parked_parks_its_clip_with_the_stills_reason(engine: Engine) -> None:
    record, still = await waiting_clip(engine, _S.SUBMITTING, _S.STORING)
    why = Failure(code="storage_refused", message="the token is wrong", billed="yes")
    await engine.ledger.save(still, park(still, Park(why, None), still.created_at))
    assert isinstance(await prepared(engine, record), Park)
    clip = await engine.row(record.job)
    assert clip.failure is not None
    assert (clip.failure.code, clip.failure.billed, clip.failure.retryable) == ("first_frame_pending", "unknown", True)
    assert clip.failure.message.endswith("so the video was not started: the token is wrong")
    assert clip.failure.next_action == "Call ring-job-get with the jobId: it goes on waiting."
    assert still.id in clip.failure.message


async def test_a_still_that_is_tried_again_is_told_and_waited_for(engine: Engine) -> None:
    record, still = await waiting_clip(engine, _S.SUBMITTING, _S.STORING)
    why = Failure(code="storage_failed", message="a full disk", billed="yes", retryable=True)
    await engine.ledger.save(still, replace(still, failure=why))
    assert await prepared(engine, record) == Pause(LOOK_AT_STILL_S, until=still.id)
    told = await engine.row(record.job)
    assert told.failure is not None
    assert told.failure.message.endswith(": a full disk")
    await prepared(engine, record)
    assert await engine.row(record.job) == told  # said once


async def test_a_clip_that_another_process_has_is_told_nothing_here(engine: Engine) -> None:
    record, still = await waiting_clip(engine, _S.SUBMITTING, _S.STORING)
    why = Failure(code="storage_failed", message="a full disk", billed="yes", retryable=True)
    await engine.ledger.save(still, replace(still, failure=why))
    row = await engine.row(record.job)
    taken = await engine.ledger.save(row, replace(row, progress=1))
    with pytest.raises(JobMoved):
        await prepared(engine, record)
    assert (await engine.row(record.job), record.job.failure) == (taken, None)


async def test_a_ledger_that_does_not_answer_for_a_moment_is_asked_again(engine: Engine) -> None:
    record, still = await waiting_clip(engine)
    engine.ledger.fail("get")
    assert await engine.submitting.submit(record) == Pause(WRITE_AGAIN_S, failed=True)
    assert record.job.failure is not None
    assert record.job.failure.message == "the ledger is away; the request was not sent yet"
    assert await engine.submitting.submit(record) == Pause(LOOK_AT_STILL_S, until=still.id)
    assert record.job.failure is None


async def test_a_clip_says_what_its_still_waits_for_without_a_row(engine: Engine, clock: FakeClock) -> None:
    clip, still = await engine.new_clip_with_still()
    engine.ledger.fail("save", times=math.inf)
    driving = [asyncio.create_task(engine.runner.drive(job)) for job in (still, clip)]
    async with asyncio.timeout(LIMIT_S):
        while (told := await engine.watch.read(clip.id)) is None or told.failure is None:
            if clock.sleepers == len(driving):
                clock.advance(clock.next_wake_s or 0.0)
            await asyncio.sleep(0)
    assert told.failure.message == (
        f"the first frame (job {still.id}) is not there yet, so the video was not started: "
        "the ledger is away; the request was not sent yet"
    )
    assert engine.write_ahead.list_left() == ([], []), "of a plan there is nothing that must not be lost"
    assert (await engine.row(clip)).failure is None
    engine.ledger.recover()
    ended = await clock.play(asyncio.wait_for(asyncio.gather(*driving), None))
    assert [job.state for job in ended] == [_S.DONE, _S.DONE]
    assert (len(engine.pictures.submitted), len(engine.clips.submitted)) == (1, 1)


@pytest.mark.parametrize(("states", "billed"), [((), "no"), ((_S.SUBMITTING, _S.RENDERING), "unknown")])
async def test_a_still_of_an_absent_account_parks_its_clip(
    engine: Engine, states: tuple[JobState, ...], billed: str
) -> None:
    plan = still_clip_plan()
    clip = planned(kind="video", plan=plan)
    opened = await engine.ledger.open(clip, NO_CAPS, planned(plan=plan.first_frame, key_fingerprint="f" * 32))
    still = opened.still
    for state in states:
        still = await engine.ledger.save(still, carried(still, state))
    still = await engine.ledger.save(still, replace(still, owner=None))
    parked = await prepared(engine, engine.record(opened.job))
    assert isinstance(parked, Park)
    needed = describe_needed_account(still)
    assert (parked.failure.code, parked.failure.billed) == ("first_frame_pending", billed)
    assert parked.failure.message.endswith(f"its first frame is not there yet, and {needed.message}")
    assert (parked.failure.retryable, parked.failure.next_action) == (True, needed.next_action)
    assert parked.look_again_s == LOOK_AGAIN_S == 60.0, "ten looks until it is too old to be started"


@pytest.mark.parametrize("job_id", [None, "00000000-0000-0000-0000-000000000000"])
async def test_a_clip_whose_still_has_no_job_ends_at_no_cost(engine: Engine, job_id: str | None) -> None:
    record = engine.record(await engine.new(still_clip_plan(frame_job_id=job_id)))
    assert await prepared(engine, record) is None
    clip = await engine.row(record.job)
    assert (clip.state, clip.settled_usd) == (_S.FAILED, NOTHING)
    assert clip.failure is not None
    assert (clip.failure.billed, clip.failure.next_action) == ("no", "Call again.")


async def test_a_clip_without_a_still_waits_for_nothing(engine: Engine) -> None:
    record = engine.record(await engine.new(clip_plan(image_url=ADDRESS)))
    engine.ledger.calls.clear()
    assert await prepared(engine, record) == Inputs(image_url=ADDRESS)
    assert engine.ledger.calls == []


async def test_a_provider_that_reads_no_addresses_is_given_bytes(tmp_path: Path, clock: FakeClock) -> None:
    async with started_engine(tmp_path, clock, fetched={ADDRESS: jpeg()}) as engine:
        record = engine.record(await engine.new(clip_plan(image_url=ADDRESS)))
        inputs = await prepared(engine, record, as_bytes=True)
        assert isinstance(inputs, Inputs)
        assert (inputs.image_url or "").startswith("data:image/jpeg;base64,")


class Gone(dict[str, bytes]):
    """What lies at ADDRESS: nothing any more."""

    def __init__(self) -> None:
        super().__init__({ADDRESS: b""})

    def __getitem__(self, url: str) -> bytes:
        raise MediaGone("it is gone", http_status=404)


async def test_an_input_that_is_gone_ends_the_clip_at_no_cost(tmp_path: Path, clock: FakeClock) -> None:
    async with started_engine(tmp_path, clock, fetched=Gone()) as engine:
        record = engine.record(await engine.new(clip_plan(image_url=ADDRESS)))
        assert await prepared(engine, record, as_bytes=True) is None
        clip = await engine.row(record.job)
    assert (clip.state, clip.settled_usd) == (_S.FAILED, NOTHING)
    assert clip.failure is not None
    assert (clip.failure.code, clip.failure.billed) == ("invalid_request", "no")
    assert "imageUrl cannot be used" in clip.failure.message


async def test_an_address_that_does_not_answer_now_parks_the_clip(engine: Engine) -> None:
    """It may be that of its own still, which was paid for."""
    record = engine.record(await engine.new(clip_plan(image_url=ADDRESS)))
    assert isinstance(await prepared(engine, record, as_bytes=True), Park)
    clip = await engine.row(record.job)
    assert (clip.state, clip.is_parked) == (_S.PLANNED, True)
    assert clip.failure is not None
    assert (clip.failure.code, clip.failure.billed, clip.failure.retryable) == ("storage_failed", "no", True)
    assert clip.failure.message.endswith("its address cannot be reached; the request was not sent yet")
    assert clip.failure.next_action.startswith("Call ring-job-get with the jobId within ten minutes")


@pytest.mark.parametrize("as_bytes", [False, True])
async def test_a_storage_that_is_away_parks_the_clip_and_ends_nothing(engine: Engine, as_bytes: bool) -> None:
    engine.storage.unreadable = StorageError("the bucket is away")
    record = engine.record(await engine.new(clip_plan(image_url=ADDRESS)))
    assert isinstance(await prepared(engine, record, as_bytes=as_bytes), Park)
    clip = await engine.row(record.job)
    assert clip.state is _S.PLANNED
    assert clip.failure is not None
    assert (clip.failure.code, clip.failure.billed, clip.failure.retryable) == ("storage_failed", "no", True)
    assert clip.failure.message == "imageUrl cannot be used: the bucket is away; the request was not sent yet"


async def test_a_storage_that_refuses_for_good_ends_the_clip(engine: Engine) -> None:
    engine.storage.unreadable = StorageRefused("no such file")
    record = engine.record(await engine.new(clip_plan(image_url=ADDRESS)))
    assert await prepared(engine, record) is None
    assert (await engine.row(record.job)).state is _S.FAILED


async def test_a_spool_that_cannot_be_written_parks_the_clip_and_ends_nothing(engine: Engine) -> None:
    record = engine.record(await engine.new(clip_plan(image_url=ADDRESS)))
    engine.spool.rmdir()
    engine.spool.write_text("a file where the folder should be")
    assert isinstance(await prepared(engine, record, as_bytes=True), Park)
    clip = await engine.row(record.job)
    assert clip.state is _S.PLANNED
    assert clip.failure is not None
    assert "cannot be written" in clip.failure.message
    assert (clip.failure.billed, clip.failure.retryable) == ("no", True)


async def test_only_a_planned_clip_waits_for_a_still(engine: Engine) -> None:
    record, still = await waiting_clip(engine)
    clip = record.job
    assert find_awaited_still(clip) == still.id
    assert find_awaited_still(replace(clip, plan=clip.plan.model_copy(update={"made_frame": sample_asset()}))) is None
    assert find_awaited_still(carried(clip, _S.SUBMITTING)) is None
    assert find_awaited_still(planned(plan=sample_plan())) is None
    assert find_awaited_still(planned(kind="video", plan=clip_plan())) is None


async def test_a_restart_between_still_and_clip_pays_for_neither_again(engine: Engine, clock: FakeClock) -> None:
    clip, still = await engine.new_clip_with_still()
    await engine.runner.drive(still)
    after = engine_on(engine.ledger, clock, engine.state)  # it knows nothing but the rows
    await after.runner.run(clip.id)
    assert (await engine.row(clip)).state is _S.DONE
    assert (len(after.pictures.submitted), len(after.clips.submitted)) == (0, 1)


async def test_a_clip_waits_as_long_as_its_still_may_be_started(engine: Engine, clock: FakeClock) -> None:
    """The still's own plan is too old in the end, and then the clip ends with it."""
    record, still = await waiting_clip(engine)
    driving = asyncio.create_task(engine.runner.drive(record.job))
    await clock.asleep()
    clock.advance(STALE_PLAN_S + 1)
    await clock.asleep()
    assert (await engine.row(record.job)).state is _S.PLANNED
    assert (await engine.runner.drive(still)).state is _S.FAILED
    clip = await clock.play(asyncio.wait_for(driving, None))
    assert (clip.state, clip.settled_usd) == (_S.FAILED, NOTHING)
    assert clip.failure is not None
    assert clip.failure.code == FirstFrameFailed.code
    assert set(clock.pauses_s) == {LOOK_AT_STILL_S}


async def test_a_picture_given_to_another_machine_is_read_where_it_is_shared(tmp_path: Path, clock: FakeClock) -> None:
    place, content = SharedFolder(tmp_path / "shared"), jpeg()
    sha256 = hashlib.sha256(content).hexdigest()
    async with started_engine(tmp_path / "state", clock, shared=place) as engine:
        record = engine.record(await engine.new(clip_plan(image_url=f"kept:{sha256}")))
        parked = await prepared(engine, record)
        assert isinstance(parked, Park), "whoever was given it may still share it"
        assert (parked.look_again_s, parked.failure.billed, parked.failure.retryable) == (LOOK_AGAIN_S, "no", True)
        assert "is not shared yet; the request was not sent yet" in parked.failure.message
        place.put(input_name(record.job.id, sha256), content)
        inputs = await prepared(engine, record)
    assert isinstance(inputs, Inputs)
    assert inputs.image_url == f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


async def test_on_one_machine_a_picture_that_is_gone_ends_the_job_unbilled(engine: Engine) -> None:
    record = engine.record(await engine.new(clip_plan(image_url=f"kept:{'0' * 64}")))
    assert await prepared(engine, record) is None
    clip = await engine.row(record.job)
    assert (clip.state, clip.settled_usd) == (_S.FAILED, NOTHING)
