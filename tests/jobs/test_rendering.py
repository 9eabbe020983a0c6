"""Looks at a job that the provider has accepted: what each answer makes of it, and how long until the next look."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ring_mcp.domain import JobState
from ring_mcp.errors import (
    ContentRefused,
    GenerationFailed,
    JobExpired,
    ProviderBadReply,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from ring_mcp.jobs.outcomes import PARK, Pause, back_off_s
from ring_mcp.jobs.record import JobRecord
from ring_mcp.jobs.rendering import LOOKS_BEFORE_GONE, NOT_KNOWN_YET_S, collect
from ring_mcp.providers.base import Running
from tests.fake_clock import START, FakeClock
from tests.jobs.engine import PACE, Engine, clip_plan
from tests.jobs.scripted_provider import REQUEST_ID, finished
from tests.ledger_samples import PRICE_USD, TROUBLE, carried, planned

PICTURE, CLIP = PACE["image"], PACE["video"]
BILLED = Decimal("0.04")
LONG_SINCE = START - timedelta(seconds=NOT_KNOWN_YET_S + 1)


async def rendering(engine: Engine, **changes: Any) -> JobRecord:
    """The record of a picture that is being made."""
    job = await engine.new(**changes)
    for state in (JobState.SUBMITTING, JobState.RENDERING):
        job = await engine.ledger.save(job, carried(job, state))
    return engine.record(job)


async def look(
    engine: Engine, record: JobRecord, answer: Any, *, since: datetime = START, tries: int = 0
) -> Pause | None:
    """What one look answers, if this is what the provider answers."""
    (engine.pictures if record.job.kind == "image" else engine.clips).looks.append(answer)
    return await engine.rendering.look(record, since, tries)


async def test_a_look_asks_for_the_providers_own_handle(engine: Engine) -> None:
    record = await rendering(engine)
    await look(engine, record, Running())
    assert engine.pictures.looked_for == [record.job.provider_request_id]
    assert engine.clips.looked_for == []


async def test_a_job_that_is_still_made_is_looked_at_again_at_the_pace_of_its_kind(engine: Engine) -> None:
    assert await look(engine, await rendering(engine), Running()) == Pause(PICTURE.poll_interval_s)
    clip = await rendering(engine, plan=clip_plan())
    assert await look(engine, clip, Running(), tries=5) == Pause(CLIP.poll_interval_s)


async def test_what_is_made_is_on_record_with_its_bill_and_ready_to_be_stored(engine: Engine, clock: FakeClock) -> None:
    record = await rendering(engine)
    clock.advance(9)
    answer = finished(2, billed_usd=BILLED, served_model="grok-2", warnings=("fewer",))
    assert await look(engine, record, answer) is None
    job = await engine.row(record.job)
    assert (job.state, job.outputs, job.billed_usd) == (JobState.STORING, answer.outputs, BILLED)
    assert (job.served_model, job.warnings, job.progress) == ("grok-2", ("fewer",), 90)
    assert (job.due_at, job.failure) == (clock.now(), None)


def test_what_is_collected_keeps_older_warnings_and_a_higher_progress_and_ends_trouble() -> None:
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
async def test_any_other_error_means_ask_again_later_and_changes_nothing(
    engine: Engine, error: ProviderError, tries: int
) -> None:
    record = await rendering(engine)
    before = record.job
    paused = await look(engine, record, error, tries=tries)
    assert paused == Pause(back_off_s(tries, PICTURE.poll_interval_s), failed=True)
    assert record.job == before == await engine.row(before)


@pytest.mark.parametrize(
    ("retry_after_s", "tries", "pause_s"),
    [
        (None, 0, PICTURE.poll_interval_s),
        (None, 3, 8 * PICTURE.poll_interval_s),
        (7.0, 0, 7.0),
        (7.0, 4, 16 * PICTURE.poll_interval_s),
    ],
)
async def test_a_provider_that_is_asked_too_often_is_left_alone_as_long_as_it_says(
    engine: Engine, retry_after_s: float | None, tries: int, pause_s: float
) -> None:
    record = await rendering(engine)
    error = RateLimited("wait", retry_after_s=retry_after_s)
    assert await look(engine, record, error, tries=tries) == Pause(pause_s, failed=True)


@pytest.mark.parametrize("retryable", [False, True])
async def test_a_job_that_was_just_accepted_may_not_be_known_yet(engine: Engine, retryable: bool) -> None:
    record = await rendering(engine)
    since = START - timedelta(seconds=NOT_KNOWN_YET_S)
    paused = await look(engine, record, JobExpired("404", retryable=retryable), since=since, tries=LOOKS_BEFORE_GONE)
    assert paused == Pause(PICTURE.poll_interval_s, failed=retryable)
    assert record.job.state is JobState.RENDERING


async def test_a_job_that_the_provider_has_forgotten_for_good_has_expired(engine: Engine) -> None:
    record = await rendering(engine)
    assert await look(engine, record, JobExpired("404"), since=LONG_SINCE) is None
    job = await engine.row(record.job)
    assert (job.state, job.settled_usd) == (JobState.EXPIRED, PRICE_USD)
    assert job.failure is not None
    assert (job.failure.message, job.failure.retryable) == ("404", False)


async def test_a_word_that_is_not_certain_has_to_be_said_several_times_in_a_row(engine: Engine) -> None:
    record = await rendering(engine)
    unsure = JobExpired("400", retryable=True)
    for tries in range(LOOKS_BEFORE_GONE - 1):
        paused = await look(engine, record, unsure, since=LONG_SINCE, tries=tries)
        assert paused == Pause(PICTURE.poll_interval_s, failed=True)
        assert record.job.state is JobState.RENDERING
    assert await look(engine, record, unsure, since=LONG_SINCE, tries=LOOKS_BEFORE_GONE - 1) is None
    assert record.job.state is JobState.EXPIRED
    assert record.job.failure is not None
    assert not record.job.failure.retryable


@pytest.mark.parametrize("answer", [Running(), ProviderUnavailable("503")])
async def test_a_look_that_outlasts_the_time_for_it_parks_the_job(engine: Engine, answer: Any) -> None:
    record = await rendering(engine)
    nearly = START - timedelta(seconds=PICTURE.poll_timeout_s - 0.001)
    assert await look(engine, record, answer, since=nearly) != PARK
    outlasted = START - timedelta(seconds=PICTURE.poll_timeout_s)
    assert await look(engine, record, answer, since=outlasted) == PARK
    assert record.job.state is JobState.RENDERING


async def test_a_result_that_comes_after_the_time_for_it_is_taken_all_the_same(engine: Engine) -> None:
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
        record.job, engine.ledger, engine.write_ahead, engine.clock, lambda job: heard.append(job.progress)
    )
    for progress in shown:
        assert await look(engine, listening, Running(progress=progress)) == Pause(PICTURE.poll_interval_s)
    assert heard == told
    assert (await engine.row(record.job)).progress == written
    assert listening.job.progress == (told[-1] if told else 0)


async def test_looks_follow_each_other_at_the_providers_pace_and_back_off_while_it_is_away(
    engine: Engine, clock: FakeClock
) -> None:
    job = await engine.new(clip_plan())
    away = ProviderUnavailable("503")
    engine.clips.looks += [Running(), away, away, away, Running(), away, finished(ending="mp4")]
    await clock.play(engine.runner.drive(job))
    assert (await engine.row(job)).state is JobState.DONE
    every_s = CLIP.poll_interval_s
    assert clock.pauses_s == [every_s, every_s, 2 * every_s, 4 * every_s, every_s, every_s]
    assert engine.clips.looked_for == [REQUEST_ID] * 7


async def test_a_clip_that_takes_too_long_is_parked_and_goes_on_when_it_is_asked_for(
    engine: Engine, clock: FakeClock
) -> None:
    job = await engine.new(clip_plan())
    looks = int(CLIP.poll_timeout_s / CLIP.poll_interval_s) + 1
    engine.clips.looks += [Running()] * looks
    await clock.play(engine.runner.drive(job))
    parked = await engine.row(job)
    assert (parked.is_parked, parked.state) == (True, JobState.RENDERING)
    assert len(engine.clips.looked_for) == looks
    await engine.runner.run(job.id)
    assert (await engine.row(job)).state is JobState.DONE
    assert len(engine.clips.submitted) == 1
