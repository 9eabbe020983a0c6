"""A job as its caller sees it: what each state answers, what is said, and what is left out."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from ring_mcp.conductors.results import (
    GenerateImageResult,
    GenerateVideoResult,
    JobResult,
    QuoteLine,
    image_asset,
    job_result,
    quote_result,
)
from ring_mcp.domain import Asset, Failure, Job, JobState, Output, PriceLine
from ring_mcp.domain.jobs import STUCK_AFTER_S
from ring_mcp.jobs.outcomes import Park, park
from tests.fake_clock import START
from tests.jobs.engine import clip_plan
from tests.ledger_samples import PRICE_USD, TROUBLE, sample_asset, sample_job, sample_plan

BILLED = Decimal("0.05")
CLIP = "https://made.example/a.mp4"


def clip_job(state: JobState, *, output: Output | None = None, asset: Asset | None = None, **plan: Any) -> Job:
    made = clip_plan(**plan)
    job = sample_job(state, kind="video", plan=made, reserved_usd=made.list_usd)
    outputs = (output or Output(url=CLIP, duration_s=Decimal(6)),)
    return replace(job, outputs=outputs, assets=() if asset is None else (asset,))


def clip_asset(**changes: Any) -> Asset:
    facts = {"url": "https://files.example/a.mp4", "content_type": "video/mp4", "duration_s": Decimal("6.04")}
    return sample_asset().model_copy(update=facts | changes)


def video(job: Job) -> GenerateVideoResult:
    result = job_result(job, START)
    assert isinstance(result, GenerateVideoResult)
    return result


def test_a_finished_picture_has_its_files_its_cost_and_nothing_to_do() -> None:
    job = replace(sample_job(JobState.DONE), billed_usd=BILLED, served_model="grok-2", warnings=("of the job",))
    job = replace(job, plan=job.plan.model_copy(update={"warnings": ("of the plan",)}))
    result = job_result(job, START)
    assert isinstance(result, GenerateImageResult)
    assert (result.success, result.state, result.job_id) == (True, "done", job.id)
    assert (result.error, result.failure, result.next_action, result.joined, result.sandbox) == (None,) * 5
    assert (result.provider, result.model, result.prompt) == ("xai", job.plan.model, "a lighthouse at dusk")
    assert (result.aspect_ratio, result.resolution) == ("16:9", "2k")
    assert (result.estimated_cost_usd, result.billed_cost_usd, result.reserved_usd) == (PRICE_USD, BILLED, None)
    assert (result.served_model, result.warnings) == ("grok-2", ("of the plan", "of the job"))
    assert result.images == (image_asset(job.assets[0]),)
    assert result.url == job.assets[0].url


def test_an_asset_is_told_with_everything_that_is_known_of_it() -> None:
    facts = {"file_id": "f1", "local_path": "/files/a.jpg", "width_px": 64, "height_px": 36}
    asset = sample_asset().model_copy(update=facts)
    told = image_asset(asset)
    assert (told.url, told.size, told.content_type) == (asset.url, asset.size_bytes, asset.content_type)
    assert (told.record_id, told.sha256, told.file_id) == (asset.record_id, asset.sha256, "f1")
    assert (told.local_path, told.width, told.height) == ("/files/a.jpg", 64, 36)


@pytest.mark.parametrize("state", [JobState.PLANNED, JobState.SUBMITTING, JobState.RENDERING, JobState.STORING])
def test_a_job_under_way_is_a_success_with_a_handle(state: JobState) -> None:
    job = sample_job(state, owner="me")
    result = job_result(job, START, joined=True)
    assert (result.success, result.state, result.joined) == (True, str(state), True)
    assert (result.reserved_usd, result.billed_cost_usd) == (PRICE_USD, None)
    assert result.next_action == f"Call ring-job-get with jobId {job.id}: it waits for the result."
    assert isinstance(result, GenerateImageResult)
    assert (result.images, result.url, result.warnings) == ((), None, None)


def test_an_obstacle_of_a_job_that_is_driven_is_a_warning() -> None:
    job = replace(sample_job(JobState.STORING, owner="me"), failure=TROUBLE)
    result = job_result(job, START)
    assert (result.success, result.error, result.failure) == (True, None, None)
    assert result.warnings == (f"not there yet, it is being tried again: {TROUBLE.message}",)


def test_what_cannot_be_stored_for_long_is_no_success() -> None:
    trouble = TROUBLE.model_copy(update={"since": START})
    job = replace(sample_job(JobState.STORING, owner="me"), failure=trouble)
    soon, late = (job_result(job, START + timedelta(seconds=s)) for s in (STUCK_AFTER_S - 0.001, STUCK_AFTER_S))
    assert (soon.success, soon.error) == (True, None)
    assert (late.success, late.error, late.failure, late.warnings) == (False, TROUBLE.message, trouble, None)
    assert late.next_action is not None


def test_a_parked_job_with_a_reason_is_no_success() -> None:
    job = park(sample_job(JobState.STORING), Park(TROUBLE, None), START)
    result = job_result(job, START)
    assert (result.success, result.error, result.failure) == (False, TROUBLE.message, TROUBLE)
    assert (result.warnings, result.reserved_usd) == (None, PRICE_USD)
    assert result.next_action is not None


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.REFUSED, JobState.EXPIRED, JobState.UNKNOWN])
def test_a_job_that_ended_badly_says_why_and_has_no_next_look(state: JobState) -> None:
    result = job_result(sample_job(state), START)
    assert (result.success, result.state, result.error) == (False, str(state), TROUBLE.message)
    assert (result.failure, result.next_action, result.warnings) == (TROUBLE, None, None)
    assert result.reserved_usd == (PRICE_USD if state is JobState.UNKNOWN else None)


def test_what_the_sandbox_made_says_so() -> None:
    assert job_result(sample_job(JobState.DONE, sandbox=True), START).sandbox is True


def test_a_finished_clip_has_its_copy_and_the_providers_own_address() -> None:
    asset = clip_asset(file_id="f1", local_path="/files/a.mp4", width_px=854, height_px=480)
    made: dict[str, Any] = {"clip_id": "c1", "pipeline_request_id": "p1", "remaster_from_request_id": "r0"}
    job = replace(clip_job(JobState.DONE, asset=asset, **made), provider_request_id="r1")
    result = video(job)
    assert result.video is not None
    assert (result.video.url, result.video.temporary_url, result.video.request_id) == (asset.url, CLIP, "r1")
    assert (result.video.record_id, result.video.file_id, result.video.sha256) == (
        asset.record_id,
        "f1",
        asset.sha256,
    )
    assert (result.video.size, result.video.content_type) == (asset.size_bytes, "video/mp4")
    assert (result.video.width, result.video.height, result.video.local_path) == (854, 480, "/files/a.mp4")
    assert (result.quality_mode, result.generation_kind, result.duration) == ("draft", "generate", 6)
    assert (result.request_id, result.clip_id, result.pipeline_request_id) == ("r1", "c1", "p1")
    assert (result.remaster_from_request_id, result.remaster_from_video_url) == ("r0", None)
    assert (result.progress, result.first_frame, result.thumbnail) == (None, None, None)


def test_a_clip_not_kept_has_the_providers_address_alone() -> None:
    bare = video(clip_job(JobState.DONE, output=Output(url=CLIP), persist=False)).video
    assert bare is not None
    assert (bare.url, bare.temporary_url, bare.record_id, bare.size, bare.sha256) == (CLIP, CLIP, None, None, None)
    assert (bare.content_type, bare.duration) == ("video/mp4", None)
    typed = video(clip_job(JobState.DONE, output=Output(url=CLIP, content_type="video/webm"), persist=False)).video
    assert typed is not None
    assert typed.content_type == "video/webm"


@pytest.mark.parametrize(
    ("said_s", "measured_s", "told_s"),
    [(Decimal(6), Decimal("6.04"), Decimal(6)), (None, Decimal("6.04"), Decimal("6.04")), (None, None, None)],
)
def test_the_providers_word_on_the_length_comes_before_what_was_measured(
    said_s: Decimal | None, measured_s: Decimal | None, told_s: Decimal | None
) -> None:
    job = clip_job(JobState.DONE, output=Output(url=CLIP, duration_s=said_s), asset=clip_asset(duration_s=measured_s))
    made = video(job).video
    assert made is not None
    assert made.duration == told_s


@pytest.mark.parametrize(
    ("kind", "made_s", "estimated"),
    [
        ("generate", Decimal(6), "0.30"),
        ("generate", Decimal("6.04"), "0.30"),
        ("generate", Decimal("3.5"), "0.18"),
        ("generate", None, "0.30"),
        ("edit", Decimal("8.7"), "0.44"),
        ("extend", Decimal(12), "0.30"),
    ],
)
def test_the_estimate_is_the_rate_times_what_was_made(kind: str, made_s: Decimal | None, estimated: str) -> None:
    output = Output(url=CLIP, duration_s=made_s)
    job = clip_job(JobState.DONE, output=output, asset=clip_asset(duration_s=None), generation_kind=kind)
    assert video(job).estimated_cost_usd == Decimal(estimated)


def test_a_clip_under_way_has_its_progress_and_the_planned_estimate() -> None:
    result = video(replace(clip_job(JobState.RENDERING), owner="me", progress=40))
    assert (result.progress, result.video, result.estimated_cost_usd) == (40, None, Decimal("0.30"))


def test_what_stands_beside_a_clip_is_told_with_it() -> None:
    frame, thumbnail = sample_asset(), sample_asset()
    job = clip_job(
        JobState.FAILED, made_frame=frame, made_frame_billed_usd=BILLED, made_thumbnail=thumbnail, source_video_url=CLIP
    )
    result = video(job)
    assert result.first_frame is not None
    assert (result.first_frame.url, result.first_frame.billed_cost_usd) == (frame.url, BILLED)
    assert result.thumbnail == image_asset(thumbnail)
    assert result.remaster_from_video_url == CLIP
    assert result.video is None


@pytest.mark.parametrize(
    ("frame_usd", "said", "billed"),
    [(BILLED, "no", "yes"), (None, "no", "yes"), (Decimal(0), "no", "no"), (BILLED, "unknown", "unknown")],
    ids=["bought", "at the list price", "of an earlier call", "more is not known"],
)
def test_a_failure_speaks_of_the_still_that_the_call_bought_too(
    frame_usd: Decimal | None, said: str, billed: str
) -> None:
    job = clip_job(JobState.FAILED, made_frame=sample_asset(), made_frame_billed_usd=frame_usd)
    failure = Failure(code="provider_rejected", message="it said no", billed=said)
    result = video(replace(job, failure=failure))
    assert result.failure is not None
    assert result.failure.billed == billed


def quoted(plan: Any) -> JobResult:
    return quote_result(plan, total_usd=PRICE_USD, warnings=("dear",))


def test_a_quote_of_a_picture_is_a_dry_run_of_its_plan() -> None:
    quote = quoted(sample_plan())
    assert isinstance(quote, GenerateImageResult)
    assert (quote.success, quote.dry_run, quote.total_usd, quote.warnings) == (True, True, PRICE_USD, ("dear",))
    assert (quote.provider, quote.model, quote.prompt) == ("xai", "grok-imagine-image-2.0", "a lighthouse at dusk")
    assert (quote.aspect_ratio, quote.resolution, quote.estimated_cost_usd) == ("16:9", "2k", PRICE_USD)


def test_a_quote_of_a_clip_tells_its_mode_kind_and_length() -> None:
    quote = quoted(clip_plan(clip_id="c1", pipeline_request_id="p1", generation_kind="extend"))
    assert isinstance(quote, GenerateVideoResult)
    assert (quote.quality_mode, quote.generation_kind, quote.duration) == ("draft", "extend", 6)
    assert (quote.clip_id, quote.pipeline_request_id, quote.estimated_cost_usd) == ("c1", "p1", Decimal("0.30"))


def test_a_line_of_a_quote_has_its_unit_count_and_total() -> None:
    line = PriceLine(what="second", unit_usd=Decimal("0.05"), count=Decimal("8.7"), as_of="2026-11-01")
    told = QuoteLine.of(line)
    assert (told.what, told.unit_usd, told.count, told.total_usd) == ("second", Decimal("0.05"), 8.7, Decimal("0.435"))
    assert told.as_of == "2026-11-01"


def test_on_the_wire_names_are_rings_and_nothing_is_unset() -> None:
    job = replace(sample_job(JobState.FAILED), billed_usd=BILLED)
    data = job_result(job, START).data()
    assert data["billedCostUsd"] == 0.05
    assert data["jobId"] == job.id
    assert "failure" not in data
    assert "nextAction" not in data
    assert None not in data.values()


def test_a_failure_may_be_shown_whole() -> None:
    failure = Failure(code="x", message="y", billed="no", next_action="z")
    job = replace(sample_job(JobState.FAILED), failure=failure)
    assert job_result(job, START).failure == failure
