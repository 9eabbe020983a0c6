"""Looks at a job that the provider has accepted: what each answer makes of it, and how long until the next look."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ring_mcp import telemetry
from ring_mcp.domain import Failure, JobState, Output
from ring_mcp.errors import (
    ContentRefused,
    GenerationFailed,
    JobExpired,
    ProviderBadReply,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from ring_mcp.jobs.outcomes import Park, Pause, back_off_s, slow_look_s
from ring_mcp.jobs.record import JobRecord
from ring_mcp.jobs.rendering import (
    GONE_AFTER_S,
    LOOKS_BEFORE_GONE,
    MAX_PAUSE_S,
    came_often,
    collect,
    pause_after_gone_s,
    pause_between_looks_s,
    with_fresh_addresses,
)
from ring_mcp.providers.base import Finished, Running
from tests.fake_clock import START, FakeClock
from tests.jobs.engine import PACE, Engine, clip_plan, started_engine
from tests.jobs.scripted_provider import REQUEST_ID, finished
from tests.jobs.test_events import Traced
from tests.ledger_samples import PRICE_USD, TROUBLE, carried, planned, sample_asset

PICTURE, CLIP = PACE["image"], PACE["video"]
BILLED = Decimal("0.04")


async def rendering(engine: Engine, **changes: Any) -> JobRecord:
    """The record of a picture that is being made."""
    job = await engine.new(**changes)
    for state in (JobState.SUBMITTING, JobState.RENDERING):
        job = await engine.ledger.save(job, carried(job, state))
    return engine.record(job)


async def look(
    engine: Engine, record: JobRecord, answer: Any, *, since: datetime = START, tries: int = 0
) -> Pause | Park | None:
    """What one look answers, if this is what the provider answers."""
    (engine.pictures if record.job.kind == "image" else engine.clips).looks.append(answer)
    return await engine.rendering.look(record, since, tries)


async def test_a_look_asks_for_the_providers_own_handle(engine: Engine) -> None:
    record = await rendering(engine)
    await look(engine, record, Running())
    assert engine.pictures.looked_for == [record.job.provider_request_id]
    assert engine.clips.looked_for == []


async def test_a_look_is_a_step_of_its_job(engine: Engine) -> None:
    record = await rendering(engine)
    tracer = Traced()
    with telemetry.trace(tracer):
        await look(engine, record, Running())
    assert [name for name, _, _ in tracer.asked] == [f"poll {record.job.plan.model}"]


async def test_looks_keep_the_pace_of_the_kind_of_job(engine: Engine) -> None:
    assert await look(engine, await rendering(engine), Running()) == Pause(PICTURE.poll_interval_s)
    clip = await rendering(engine, plan=clip_plan())
    assert await look(engine, clip, Running(), tries=5) == Pause(CLIP.poll_interval_s)


async def test_what_is_made_is_on_record_with_its_bill(engine: Engine, clock: FakeClock) -> None:
    record = await rendering(engine)
    clock.advance(9)
    answer = finished(2, billed_usd=BILLED, served_model="grok-2", warnings=("fewer",))
    assert await look(engine, record, answer) is None
    job = record.job
    assert (job.state, job.outputs, job.billed_usd) == (JobState.STORING, answer.outputs, BILLED)
    assert (job.served_model, job.warnings, job.progress) == ("grok-2", ("fewer",), 90)
    assert (job.due_at, job.failure) == (clock.now(), None)
    assert (await engine.row(job)).state is JobState.RENDERING, "it can be asked for again by its handle"


async def test_what_is_made_is_written_where_the_handle_is_not(engine: Engine) -> None:
    job = await engine.new()
    job = await engine.ledger.save(job, carried(job, JobState.SUBMITTING))
    record = engine.record(job)
    engine.ledger.fail("save")
    await record.write(carried(job, JobState.RENDERING))
    assert not record.has_saved_handle
    assert await look(engine, record, finished()) is None
    assert (await engine.row(job)).state is JobState.STORING


@pytest.mark.parametrize(
    ("age_s", "pause_s"), [(0.0, 0.25), (1.0, 0.25), (2.0, 0.5), (3.9, 0.975), (4.0, 1.0), (100.0, 1.0)]
)
def test_looks_at_a_picture_come_more_seldom_as_it_ages(age_s: float, pause_s: float) -> None:
    quick = replace(PICTURE, first_pause_s=0.25)
    assert pause_between_looks_s(quick, age_s) == pytest.approx(pause_s)
    assert pause_between_looks_s(CLIP, age_s) == CLIP.poll_interval_s


async def test_a_look_that_was_begun_is_not_made_twice(engine: Engine) -> None:
    record = await rendering(engine)
    engine.pictures.looks += [finished(), Running()]
    record.first_look = asyncio.ensure_future(engine.pictures.check(record.job.plan, REQUEST_ID))
    assert await engine.rendering.look(record, START, 0) is None
    assert record.job.state is JobState.STORING
    assert record.first_look is None
    assert engine.pictures.looked_for == [REQUEST_ID]


@pytest.mark.parametrize(
    ("code", "seen", "is_often"),
    [("bad_reply", 5, False), ("bad_reply", 6, True), ("bad_reply", 7, True), ("expired", 99, False)],
)
def test_a_file_that_came_six_times_is_taken_as_it_is(code: str, seen: int, is_often: bool) -> None:
    code = ProviderBadReply.code if code == "bad_reply" else code
    trouble = Failure(code=code, message="an HTML page", billed="yes", seen=seen)
    assert came_often(planned(failure=trouble)) is is_often
    assert not came_often(planned())


def test_what_is_collected_keeps_older_warnings_and_ends_trouble() -> None:
    again = collect(carried(planned(), JobState.SUBMITTING, progress=95, warnings=("old",)), finished(), START)
    assert (again.progress, again.warnings) == (95, ("old",))
    told = collect(carried(planned(), JobState.SUBMITTING, failure=TROUBLE), finished(warnings=("new",)), START)
    assert (told.failure, told.warnings) == (None, ("new",))


@pytest.mark.parametrize(
    ("error", "state", "settled"),
    [
        (ContentRefused("no", billed_usd=BILLED), JobState.REFUSED, BILLED),
        (ContentRefused("no"), JobState.REFUSED, PRICE_USD),
        (GenerationFailed("it broke"), JobState.FAILED, PRICE_USD),
        (GenerationFailed("it broke", billed="no"), JobState.FAILED, Decimal(0)),
    ],
)
async def test_the_providers_last_word_ends_the_job_at_what_it_cost(
    engine: Engine, clock: FakeClock, error: ProviderError, state: JobState, settled: Decimal
) -> None:
    record = await rendering(engine)
    clock.advance(1)
    assert await look(engine, record, error) is None
    job = await engine.row(record.job)
    assert (job.state, job.settled_usd, job.finished_at) == (state, settled, clock.now())
    assert job.failure is not None
    assert job.failure.message == error.message


@pytest.mark.parametrize("tries", [0, 1, 4, 50])
@pytest.mark.parametrize("error", [ProviderUnavailable("503"), ProviderBadReply("an HTML page"), ProviderError("odd")])
async def test_any_other_error_means_ask_again_later_and_ends_nothing(
    engine: Engine, error: ProviderError, tries: int
) -> None:
    record = await rendering(engine)
    before = record.job
    paused = await look(engine, record, error, tries=tries)
    assert paused == Pause(min(MAX_PAUSE_S, back_off_s(tries, PICTURE.poll_interval_s)), failed=True)
    assert (record.job.state, await engine.row(before)) == (JobState.RENDERING, before)


async def test_failing_looks_are_told_once_until_one_succeeds(
    engine: Engine,
) -> None:
    record = await rendering(engine)
    for _ in range(5):
        await look(engine, record, ProviderUnavailable("503"))
    told = (await engine.row(record.job)).failure
    assert told is not None
    assert (told.message, told.seen, told.since) == ("503", 3, START)
    await look(engine, record, Running())
    assert (await engine.row(record.job)).failure is None


@pytest.mark.parametrize(
    ("retry_after_s", "tries", "pause_s"),
    [
        (None, 0, PICTURE.poll_interval_s),
        (None, 3, 8 * PICTURE.poll_interval_s),
        (7.0, 0, 7.0),
        (7.0, 4, 16 * PICTURE.poll_interval_s),
        (3600.0, 0, MAX_PAUSE_S),
        (59.0, 0, 59.0),
        (61.0, 0, 60.0),
    ],
)
async def test_a_provider_asked_too_often_is_left_alone_for_a_while(
    engine: Engine, retry_after_s: float | None, tries: int, pause_s: float
) -> None:
    record = await rendering(engine)
    error = RateLimited("wait", retry_after_s=retry_after_s)
    assert await look(engine, record, error, tries=tries) == Pause(pause_s, failed=True)


async def test_a_job_its_provider_denies_is_looked_for_ever_less_often(engine: Engine) -> None:
    record = await rendering(engine)
    pauses = [await look(engine, record, JobExpired("404")) for _ in range(4)]
    assert pauses == [Pause(pause_after_gone_s(seen, PICTURE.poll_interval_s), failed=True) for seen in (1, 2, 3, 4)]
    told = (await engine.row(record.job)).failure
    assert told is not None
    assert (told.code, told.seen, record.job.state) == ("expired", 4, JobState.RENDERING)


def test_the_pauses_add_up_whatever_the_clock_says() -> None:
    for first_s in (PICTURE.poll_interval_s, CLIP.poll_interval_s):
        pauses_s = [pause_after_gone_s(seen, first_s) for seen in range(1, LOOKS_BEFORE_GONE)]
        assert sum(pauses_s[:-1]) < GONE_AFTER_S <= sum(pauses_s), "as many looks as it takes, and no more"
    assert GONE_AFTER_S == 2 * 3600


@pytest.mark.parametrize("retryable", [False, True])
async def test_a_provider_is_believed_when_it_denies_a_job_for_hours(
    engine: Engine, clock: FakeClock, retryable: bool
) -> None:
    record = await rendering(engine)
    for _ in range(LOOKS_BEFORE_GONE - 1):
        assert await look(engine, record, JobExpired("404", retryable=retryable)) is not None
    clock.advance(GONE_AFTER_S)
    assert await look(engine, record, JobExpired("404", retryable=retryable)) is None
    job = await engine.row(record.job)
    assert (job.state, job.settled_usd) == (JobState.EXPIRED, PRICE_USD)
    assert job.failure is not None
    assert (job.failure.message, job.failure.retryable) == ("404", False)


async def test_a_clock_that_jumps_makes_nobody_give_up(engine: Engine, clock: FakeClock) -> None:
    record = await rendering(engine)
    await look(engine, record, JobExpired("404"))
    clock.advance(30 * 86_400.0)
    assert await look(engine, record, JobExpired("404")) is not None
    assert record.job.state is JobState.RENDERING


async def test_often_and_quickly_is_not_long_enough(engine: Engine) -> None:
    record = await rendering(engine)
    for _ in range(3 * LOOKS_BEFORE_GONE):
        assert await look(engine, record, JobExpired("404")) is not None


async def test_one_answer_between_makes_all_denials_forgotten(engine: Engine, clock: FakeClock) -> None:
    record = await rendering(engine)
    for answer in [*[JobExpired("404")] * (LOOKS_BEFORE_GONE - 1), Running(progress=50)]:
        await look(engine, record, answer)
    clock.advance(GONE_AFTER_S)
    assert await look(engine, record, JobExpired("404")) is not None
    assert record.job.failure is not None
    assert record.job.failure.seen == 1


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        (Running(), "timeout", "Image generation timed out after 120000ms; the job is kept ("),
        (ProviderUnavailable("503"), "provider_unavailable", "503"),
    ],
)
async def test_a_look_that_outlasts_the_time_for_it_parks_the_job(
    engine: Engine, answer: Any, code: str, told: str
) -> None:
    record = await rendering(engine)
    record.job = replace(record.job, submit_deadline_at=START - timedelta(hours=1))
    nearly = START - timedelta(seconds=PICTURE.poll_timeout_s - 0.001)
    assert isinstance(await look(engine, record, answer, since=nearly), Pause)
    outlasted = START - timedelta(seconds=PICTURE.poll_timeout_s)
    parked = await look(engine, record, answer, since=outlasted)
    assert isinstance(parked, Park)
    assert (parked.failure.code, parked.look_again_s) == (code, slow_look_s(0.0))
    assert parked.failure.message.startswith(told)
    assert record.job.state is JobState.RENDERING


async def test_how_late_a_job_is_counts_from_when_it_was_sent(engine: Engine) -> None:
    """It stood in line for an hour, and the process that sent it has died since."""
    job = await engine.new(created_at=START - timedelta(hours=1))
    for late_s, answer in ((-1, Pause), (0, Park)):
        sent_at = START - timedelta(seconds=PICTURE.poll_timeout_s + late_s)
        deadline_at = sent_at + timedelta(seconds=PICTURE.submit_limit_s)
        row = await engine.row(job)
        sent = replace(carried(row, JobState.SUBMITTING), submit_deadline_at=deadline_at)
        record = engine.record(replace(carried(sent, JobState.RENDERING)))
        engine.pictures.looks += [Running()]
        assert isinstance(await engine.rendering.look(record, job.created_at, 0), answer)


async def sent_ago(engine: Engine, seconds: float) -> JobRecord:
    """The record of a picture that was opened an hour ago, stood in line, and was sent by another process."""
    job = await engine.new(created_at=engine.clock.now() - timedelta(hours=1))
    deadline_at = engine.clock.now() + timedelta(seconds=PICTURE.submit_limit_s - seconds)
    job = await engine.ledger.save(job, replace(carried(job, JobState.SUBMITTING), submit_deadline_at=deadline_at))
    return engine.record(await engine.ledger.save(job, carried(job, JobState.RENDERING)))


@pytest.mark.parametrize(("seconds", "ago_s"), [(2, 2), (7200, 3600), (-5, 0)])
async def test_how_long_ago_a_job_was_sent_is_told_by_its_row(engine: Engine, seconds: float, ago_s: float) -> None:
    """Not longer than it was open, whatever the time-outs of its sender were, nor less than nothing."""
    assert engine.rendering.count_age_s(await sent_ago(engine, seconds)) == ago_s


async def test_looks_begin_soon_at_a_job_that_stood_in_line(tmp_path: Path, clock: FakeClock) -> None:
    async with started_engine(tmp_path, clock, pace={**PACE, "image": replace(PICTURE, first_pause_s=0.25)}) as engine:
        record = await sent_ago(engine, 2)
        engine.pictures.looks += [Running()]
        assert await engine.rendering.look(record, START, 0) == Pause(0.5)


@pytest.mark.parametrize("answer", [Running(), ProviderUnavailable("503")])
async def test_a_parked_job_rests_by_when_it_was_sent(engine: Engine, answer: Any) -> None:
    record = await sent_ago(engine, 1000)
    engine.pictures.looks += [answer]
    parked = await engine.rendering.look(record, START - timedelta(hours=1), 0)
    assert isinstance(parked, Park)
    assert parked.look_again_s == 100.0


async def test_a_result_that_comes_late_is_taken_all_the_same(engine: Engine) -> None:
    record = await rendering(engine)
    outlasted = START - timedelta(days=1)
    assert await look(engine, record, finished(), since=outlasted) is None
    assert record.job.state is JobState.STORING


@pytest.mark.parametrize(
    ("shown", "told", "written"),
    [
        ([None], [], 0),
        ([0], [], 0),
        ([9], [9], 0),
        ([10], [10], 10),
        ([10, 15], [10, 15], 10),
        ([9, 11, 15], [9, 11, 15], 11),
        ([19, 20], [19, 20], 20),
        ([30, 20, 30], [30], 30),
        ([99], [99], 99),
        ([100], [99], 99),
    ],
)
async def test_progress_only_rises_is_told_at_once_and_written_in_tens(
    engine: Engine, shown: list[int | None], told: list[int], written: int
) -> None:
    record = await rendering(engine)
    heard: list[int] = []
    listening = JobRecord(
        record.job, engine.ledger, engine.write_ahead, engine.clock, lambda job, _: heard.append(job.progress)
    )
    for progress in shown:
        assert await look(engine, listening, Running(progress=progress)) == Pause(PICTURE.poll_interval_s)
    assert heard == told
    assert (await engine.row(record.job)).progress == written
    assert listening.job.progress == (told[-1] if told else 0)


def test_what_is_stored_or_has_no_fresh_address_keeps_its_own() -> None:
    old = tuple(Output(url=f"https://made.example/{number}.jpg") for number in range(3))
    new = (Output(url="https://fresh.example/0.jpg"), Output(url="https://fresh.example/1.jpg"), Output())
    job = planned(outputs=old, assets=(sample_asset(),))
    assert with_fresh_addresses(job, Finished(outputs=new)) == (old[0], new[1], old[2])
    assert with_fresh_addresses(job, Finished(outputs=new[:2])) == old, "nobody can tell which is which"


async def test_looks_back_off_while_the_provider_is_away(engine: Engine, clock: FakeClock) -> None:
    job = await engine.new(clip_plan())
    away = ProviderUnavailable("503")
    engine.clips.looks += [Running(), away, away, away, Running(), away, finished(ending="mp4")]
    await clock.play(engine.runner.drive(job))
    assert (await engine.row(job)).state is JobState.DONE
    every_s = CLIP.poll_interval_s
    slept_s = [every_s, every_s, (every_s, every_s), (every_s, 3 * every_s), every_s, every_s]
    assert clock.pauses_s == [part for pause in slept_s for part in (pause if isinstance(pause, tuple) else (pause,))]
    assert engine.clips.looked_for == [REQUEST_ID] * 7


async def test_a_clip_that_takes_too_long_is_parked_until_asked_for(engine: Engine, clock: FakeClock) -> None:
    job = await engine.new(clip_plan())
    looks = int(CLIP.poll_timeout_s / CLIP.poll_interval_s) + 1
    engine.clips.looks += [Running()] * looks
    await clock.play(engine.runner.drive(job))
    parked = await engine.row(job)
    assert (parked.is_parked, parked.state) == (True, JobState.RENDERING)
    assert len(engine.clips.looked_for) == looks
    assert parked.due_at == clock.now() + timedelta(seconds=slow_look_s((clock.now() - job.created_at).total_seconds()))
    await clock.play(engine.runner.run(job.id, asked=True))  # its next look has a turn of its own
    assert (await engine.row(job)).state is JobState.DONE
    assert len(engine.clips.submitted) == 1


async def test_a_parked_clip_is_looked_at_once_and_parked_again(engine: Engine, clock: FakeClock) -> None:
    job = await engine.new(clip_plan())
    engine.clips.looks += [Running()] * 1000
    await clock.play(engine.runner.drive(job))
    looked = len(engine.clips.looked_for)
    clock.advance(600)
    await engine.runner.run(job.id)
    assert len(engine.clips.looked_for) == looked + 1
    assert (await engine.row(job)).is_parked
