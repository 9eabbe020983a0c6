"""Clips from Google through the whole product: refused before spend, made, fetched with the key, not lost to a 400."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest

from ring_mcp.app import App, open_app
from ring_mcp.config import load_config
from ring_mcp.domain import ImageRequest, Job, JobState, VideoRequest
from ring_mcp.errors import InvalidRequest, ModelRetired, ProviderAuthError
from ring_mcp.jobs.rendering import LOOKS_BEFORE_GONE
from ring_mcp.ledger.base import JobQuery
from ring_mcp.sandbox.server import SandboxServer
from tests.cases.given_media import make_clip
from tests.conductors.running import ACTOR, LIMIT_S, charges, job_of, running, settled
from tests.fake_clock import FakeClock, HurryingClock


def billed_usd(sandbox: SandboxServer) -> Decimal:
    return Decimal(sandbox.state.books.total_ticks) / 10**10


BOAT = VideoRequest(prompt="a boat turns into the wind", provider="google", duration_s=3)


async def test_a_clip_is_stored_with_its_row_and_its_tokens_cost(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        quote = await app.videos.quote(BOAT)
        result = await app.videos.generate(BOAT, actor_id=ACTOR)
        assert result.success
        clip = result.video
        assert clip is not None
        assert (clip.content_type, clip.duration, clip.width, clip.height) == ("video/mp4", Decimal(3), 640, 360)
        assert (result.provider, result.model) == ("google", "gemini-omni-1.2-flash")
        assert (result.quality_mode, result.resolution) == ("draft", "360p")
        assert result.estimated_cost_usd == quote.estimated_cost_usd == Decimal("0.06")
        assert result.billed_cost_usd == Decimal(sandbox.state.books.total_ticks) / 10**10
        assert abs(result.billed_cost_usd - Decimal("0.0695")) < Decimal("0.0001")
        row = (await app.ledger.records("generated_videos", [clip.record_id or ""]))[0]
        assert (row["provider"], row["requestId"]) == ("google", result.request_id)
        assert charges(sandbox) == 1


@pytest.mark.parametrize(
    ("mode", "resolution", "usd"),
    [("draft", "360p", "0.12"), ("draft_i2v", "360p", "0.12"), ("production", "720p", "0.42")],
)
async def test_a_quality_mode_means_what_presets_json_says_for_google(
    sandbox: SandboxServer, tmp_path: Path, mode: str, resolution: str, usd: str
) -> None:
    request = VideoRequest(
        prompt="x", provider="Google", quality_mode=mode, first_frame_prompt="y" if "i2v" in mode else None
    )
    async with running(sandbox, tmp_path, XAI_VIDEO_DEFAULT_DURATION="15", XAI_VIDEO_ASPECT_RATIO="1:1") as app:
        quote = await app.videos.quote(request)
        assert (quote.model, quote.resolution, quote.duration) == ("gemini-omni-1.2-flash", resolution, 6)
        assert (quote.aspect_ratio, quote.estimated_cost_usd) == ("16:9", Decimal(usd))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"aspect_ratio": "1:1"}, "aspectRatio must be one of 16:9, 9:16 for gemini-omni-1.2-flash, got '1:1'"),
        ({"duration_s": 11}, "duration must be a whole number of seconds from 3 to 10"),
        ({"duration_s": 2}, "duration must be a whole number of seconds from 3 to 10"),
        ({"resolution": "480p"}, "resolution must be one of 360p, 720p, 1080p, 4k"),
        ({"model": "grok-imagine-video"}, "model must be one of gemini-omni-1.2-flash for provider google"),
        ({"model": "veo-3.1-generate-preview"}, "2026-10-22; use gemini-omni-1.2-flash"),
        ({"source_video_url": "https://example.com/a.mp4", "extend_s": 2}, "extend must be a whole number of seconds"),
        (
            {"reference_images": ("https://example.com/a.jpg",) * 7},
            "takes at most 6 reference images, got 7; the limits are 7 with grok-imagine-video, 14 with "
            "grok-imagine-video-1.5, 6 with gemini-omni-1.2-flash (this bound is unsure: see unsure in presets.json)",
        ),
        ({"provider": "openai"}, "provider must be one of xai, google, got 'openai'"),
    ],
)
async def test_what_google_cannot_make_is_refused_before_any_spend(
    sandbox: SandboxServer, tmp_path: Path, changes: dict[str, object], text: str
) -> None:
    asked: dict[str, object] = {"prompt": "x", "provider": "google", **changes}
    async with running(sandbox, tmp_path) as app:
        with pytest.raises(InvalidRequest) as caught:
            await app.videos.generate(VideoRequest(**asked), actor_id=ACTOR)  # type: ignore[arg-type]
        assert text in caught.value.message
        assert isinstance(caught.value, ModelRetired) == ("veo" in str(changes.get("model")))
    assert list(sandbox.state.requests) == []


async def test_an_edit_and_an_extension_follow_a_clip_of_ours(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        draft = await app.videos.generate(BOAT, actor_id=ACTOR)
        assert draft.video is not None
        source = VideoRequest(prompt="at night", provider="google", source_video_url=draft.video.url)
        edit = replace(source, remaster=True, resolution="480p", pipeline_request_id="p")
        asked = {"edit": edit, "extend": replace(source, extend_s=4)}
        for kind, request in asked.items():
            before_usd = billed_usd(sandbox)
            quote = await app.videos.quote(request)
            result = await app.videos.generate(request, actor_id=ACTOR)
            assert result.success, result.error
            assert (result.generation_kind, result.model) == (kind, "gemini-omni-1.2-flash")
            assert result.billed_cost_usd == billed_usd(sandbox) - before_usd
            assert quote.total_usd is not None
            assert result.billed_cost_usd <= quote.total_usd
            assert result.video is not None
            assert result.video.duration is not None
            assert round(result.video.duration) == {"edit": 3, "extend": 7}[kind]
            assert result.video.height == {"edit": 720, "extend": 360}[kind]
            warned = any("resolution is without effect" in each for each in result.warnings or ())
            assert warned is (kind == "edit")
    starts = [r["body"] for r in sandbox.state.requests if r["path"].endswith("/interactions")]
    assert [start.get("generation_config", {}).get("video_config") for start in starts] == [
        None,
        {"task": "edit"},
        {"task": "extend"},
    ]
    assert [start["input"] for start in starts[1:]] == ["at night"] * 2
    assert ["duration" in start["response_format"] for start in starts] == [True, False, True]


async def test_a_clip_inside_the_look_is_stored_and_in_no_row(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(google_clips_inside=True)
    async with running(sandbox, tmp_path) as app:
        result = await app.videos.generate(BOAT, actor_id=ACTOR)
        assert result.success, result.error
        assert result.video is not None
        assert result.video.duration == 3
        assert result.billed_cost_usd == billed_usd(sandbox)
        job = await job_of(app, result.job_id)
        assert [len(output.url or "") < 300 for output in job.outputs] == [True]


async def test_a_source_that_google_will_not_take_is_refused_before(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path, RING_INPUT_DIRS=str(tmp_path)) as app:
        make_clip(tmp_path / "long.mp4", "libx264", 11)
        request = VideoRequest(prompt="x", provider="google", source_video_url=str(tmp_path / "long.mp4"))
        for changes in ({"remaster": True}, {"extend_s": 3}):
            with pytest.raises(InvalidRequest, match=r"10 s.* \(this bound is unsure: see unsure in presets\.json\)"):
                await app.videos.generate(replace(request, **changes), actor_id=ACTOR)
    assert list(sandbox.state.requests) == []


async def test_a_region_without_edits_is_told_and_costs_nothing(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(google_takes_uploads=False)
    async with running(sandbox, tmp_path, RING_INPUT_DIRS=str(tmp_path)) as app:
        make_clip(tmp_path / "own.mp4", "libx264", 3)
        request = VideoRequest(prompt="x", provider="google", source_video_url=str(tmp_path / "own.mp4"), remaster=True)
        result = await app.videos.generate(request, actor_id=ACTOR)
        assert (result.success, result.state) == (False, "refused")
        job = await job_of(app, result.job_id)
        assert job.failure is not None
        assert "sensitive words" in job.failure.message
        assert "European Economic Area" in job.failure.next_action
        assert (job.failure.billed, charges(sandbox)) == ("no", 0)


@pytest.mark.parametrize("given", ["frames", "references"])
async def test_frames_and_references_go_along_to_google(sandbox: SandboxServer, tmp_path: Path, given: str) -> None:
    async with running(sandbox, tmp_path) as app:
        made = await app.images.generate(ImageRequest(prompt="a boat", resolution="1k", n=2), actor_id=ACTOR)
        first, last = [each.url for each in made.images or ()]
        media = (
            {"image_url": first, "last_frame_url": last} if given == "frames" else {"reference_images": (first, last)}
        )
        request = replace(BOAT, **media)
        quote = await app.videos.quote(request)
        before_usd = billed_usd(sandbox)
        result = await app.videos.generate(request, actor_id=ACTOR)
        assert result.success, result.error
        assert quote.total_usd is not None
        assert result.billed_cost_usd == billed_usd(sandbox) - before_usd <= quote.total_usd
    (start,) = [r["body"] for r in sandbox.state.requests if r["path"].endswith("/interactions")]
    assert [part["type"] for part in start["input"]] == ["image", "image", "text"]
    task = {"frames": "image_to_video", "references": "reference_to_video"}[given]
    assert start["generation_config"] == {"video_config": {"task": task}}


async def test_a_remaster_is_made_anew_at_720p(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        request = VideoRequest(prompt="x", provider="google", duration_s=3, remaster=True, aspect_ratio="9:16")
        result = await app.videos.generate(request, actor_id=ACTOR)
        assert result.video is not None
        assert (result.video.width, result.video.height, result.quality_mode) == (720, 1280, "production")


async def test_a_models_successor_serves_at_its_own_price_with_a_warning(
    sandbox: SandboxServer, tmp_path: Path
) -> None:
    old = replace(BOAT, model="gemini-omni-1.1-flash")
    async with running(sandbox, tmp_path) as app:
        result = await app.videos.generate(old, actor_id=ACTOR)
        assert result.success, result.error
        assert result.model == "gemini-omni-1.2-flash"
        said = "on 2026-12-03: gemini-omni-1.2-flash serves it now"
        assert [said in warning for warning in result.warnings or ()] == [True]
        row = await job_of(app, result.job_id)
        assert row.plan.requested_model == "gemini-omni-1.1-flash"
    (charge,) = sandbox.state.books.charges()
    assert charge.model == "gemini-omni-1.2-flash"


@pytest.mark.parametrize("maker", ["xai", "google"])
async def test_a_first_frame_goes_along_as_bytes_whoever_made_it(
    sandbox: SandboxServer, tmp_path: Path, maker: str
) -> None:
    request = VideoRequest(
        prompt="x", provider="google", duration_s=3, first_frame_prompt="a lighthouse", image_provider=maker
    )
    async with running(sandbox, tmp_path) as app:
        result = await app.videos.generate(request, actor_id=ACTOR)
        assert result.success, result.error
        assert (result.quality_mode, result.video is not None) == ("draft_i2v", True)
        jobs = (await app.ledger.list_jobs(JobQuery())).jobs
        assert {job.plan.provider for job in jobs if job.kind == "image"} == {maker}
    (start,) = [r["body"] for r in sandbox.state.requests if r["path"].endswith("/interactions")]
    assert [part["type"] for part in start["input"]] == ["image", "text"]


async def test_an_image_at_a_public_address_is_fetched_for_google_alone(sandbox: SandboxServer, tmp_path: Path) -> None:
    """The sandbox's own host is trusted, as the operator's base URL is."""
    async with running(sandbox, tmp_path) as app:
        made = await app.images.generate(ImageRequest(prompt="a lighthouse", resolution="1k"), actor_id=ACTOR)
        assert made.success
        address = (await job_of(app, made.job_id)).outputs[0].url
        for provider in ("google", "xai"):
            request = VideoRequest(prompt="x", provider=provider, duration_s=3, image_url=address)
            assert (await app.videos.generate(request, actor_id=ACTOR)).success
    google, xai = [r["body"] for r in sandbox.state.requests if r["body"] and "lighthouse" not in str(r["body"])]
    assert google["input"][0]["mime_type"] == "image/jpeg"
    assert xai["image"] == {"url": address}


async def test_a_spurious_400_does_not_end_a_job_that_runs(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(pending_polls=2)
    sandbox.state.faults.add("poll_400", times=2, after=1)
    async with running(sandbox, tmp_path, HurryingClock()) as app:
        result = await app.videos.generate(BOAT, actor_id=ACTOR)
        assert result.success
        assert charges(sandbox) == 1


@pytest.mark.parametrize(
    ("fault", "state", "code"),
    [
        ("respect_moderation_false", JobState.REFUSED, "content_refused"),
        ("poll_moderated_400", JobState.REFUSED, "content_refused"),
        ("poll_failed", JobState.FAILED, "generation_failed"),
    ],
)
async def test_a_clip_that_is_not_made_says_why_and_what_it_cost(
    sandbox: SandboxServer, tmp_path: Path, fault: str, state: JobState, code: str
) -> None:
    sandbox.state.faults.add(fault)
    async with running(sandbox, tmp_path) as app:
        result = await app.videos.generate(BOAT, actor_id=ACTOR)
        job = await settled(app, result.job_id)
        assert job.failure is not None
        assert (job.state, job.failure.code) == (state, code)
        assert job.billed_usd in (None, Decimal(sandbox.state.books.total_ticks) / 10**10)


async def test_a_lost_start_is_an_unknown_outcome(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.faults.add("drop_after_accept")
    async with running(sandbox, tmp_path) as app:
        result = await app.videos.generate(BOAT, actor_id=ACTOR)
        assert (result.state, charges(sandbox)) == ("unknown", 1)


async def test_a_clip_outlives_the_process_that_asked_for_it(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(render_s=3600)
    async with running(sandbox, tmp_path) as app:
        result = await app.videos.generate(BOAT, actor_id=ACTOR, wait_s=0.2)
        async with asyncio.timeout(LIMIT_S):
            while (await job_of(app, result.job_id)).provider_request_id is None:
                await asyncio.sleep(0.01)
    sandbox.state.skip(3601)
    async with running(sandbox, tmp_path) as app:
        assert (await settled(app, result.job_id)).state is JobState.DONE
    assert charges(sandbox) == 1


async def test_without_a_copy_the_address_is_told_to_need_the_key(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        request = VideoRequest(prompt="x", provider="google", duration_s=3, persist=False)
        result = await app.videos.generate(request, actor_id=ACTOR)
        assert result.video is not None
        assert any("opens with its key only" in warning for warning in result.warnings or ())
        with httpx2.Client(verify=False, trust_env=False) as client:
            assert client.get(result.video.url).status_code == 403


async def test_a_missing_key_is_named_before_anything_is_spent(tmp_path: Path) -> None:
    async with open_app(
        load_config({"RING_STATE_DIR": str(tmp_path), "XAI_API_KEY": "x" * 12}, folder=tmp_path)
    ) as app:
        with pytest.raises(ProviderAuthError, match=r"^GOOGLE_GENAI_API_KEY is not configured$"):
            await app.videos.generate(BOAT, actor_id=ACTOR)


async def played_out(app: App, clock: FakeClock, job_id: str | None) -> Job:
    """The job at its end, with as much time passing as that takes."""
    async with asyncio.timeout(LIMIT_S):
        while not (job := await job_of(app, job_id)).is_settled:
            clock.advance(60)
            await asyncio.sleep(0.02)
        return job


@pytest.mark.parametrize(("times", "state"), [(3, JobState.DONE), (-1, JobState.EXPIRED)])
async def test_only_a_400_that_stays_ends_a_job_that_was_seen_alive(
    sandbox: SandboxServer, tmp_path: Path, times: int, state: JobState
) -> None:
    sandbox.state.configure(pending_polls=8)
    sandbox.state.faults.add("poll_400", times=times, after=6)
    clock = FakeClock()
    settings = {"RING_SANDBOX": sandbox.url, "RING_STATE_DIR": str(tmp_path)}
    async with open_app(load_config(settings, folder=tmp_path), clock=clock) as app:
        result = await app.videos.generate(BOAT, actor_id=ACTOR, wait_s=0)
        job = await played_out(app, clock, result.job_id)
    assert job.state is state
    looks = [r["status"] for r in sandbox.state.requests if "/interactions/" in r["path"]]
    assert looks.count(400) == (3 if state is JobState.DONE else LOOKS_BEFORE_GONE)
    if state is JobState.EXPIRED:
        assert job.failure is not None
        assert (job.failure.billed, job.failure.retryable) == ("unknown", False)
        assert job.settled_usd == job.reserved_usd
