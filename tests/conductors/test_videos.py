"""VideoConductor: clips that outlive the call, first frames, remasters, and every form of the provider's answers."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.app import open_app
from ring_mcp.config import load_config
from ring_mcp.domain import ImageRequest, JobState, Thumbnail, VideoRequest
from ring_mcp.errors import CapExceeded, InvalidRequest
from ring_mcp.ledger.base import JobQuery
from ring_mcp.sandbox.server import SandboxServer
from tests.conductors.running import ACTOR, charges, job_of, rendering, running, settled
from tests.fake_clock import HurryingClock

BOAT = VideoRequest(prompt="a boat turns into the wind", duration_s=2)


async def test_a_clip_ends_in_storage_with_its_row_and_its_cost(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        request = VideoRequest(prompt="a boat", duration_s=2, clip_id="c1", pipeline_request_id="p1", ref_code="r1")
        result = await app.videos.generate(request, actor_id=ACTOR)
        assert result.success
        clip = result.video
        assert clip is not None
        assert (clip.content_type, clip.duration, clip.width, clip.height) == ("video/mp4", Decimal(2), 854, 480)
        assert clip.temporary_url is not None
        assert clip.temporary_url.startswith(sandbox.url)
        assert (result.quality_mode, result.resolution, result.estimated_cost_usd) == ("draft", "480p", Decimal("0.10"))
        assert clip.url.endswith(".mp4")
        assert "/generated/videos/video/draft/generate/" in clip.url
        row = (await app.ledger.records("generated_videos", [clip.record_id or ""]))[0]
        expected = {"clipId": "c1", "pipelineRequestId": "p1", "refCode": "r1", "generationKind": "generate"}
        assert expected.items() <= row.items()
        assert (row["url"], row["requestId"], row["duration"]) == (clip.url, result.request_id, 2.0)
        found = await app.ledger.list_jobs(JobQuery(clip_id="c1", pipeline_request_id="p1", ref_code="r1"))
        assert [job.id for job in found.jobs] == [result.job_id]


@pytest.mark.parametrize(
    "request_",
    [
        BOAT,
        VideoRequest(prompt="x", quality_mode="production", duration_s=3),
        VideoRequest(prompt="x", resolution="720p", duration_s=15),
        VideoRequest(prompt="x", model="grok-imagine-video-1.5-lite", duration_s=1),
    ],
)
async def test_a_quote_is_what_is_reserved_and_what_is_billed(
    sandbox: SandboxServer, tmp_path: Path, request_: VideoRequest
) -> None:
    async with running(sandbox, tmp_path) as app:
        quote = await app.videos.quote(request_)
        result = await app.videos.generate(request_, actor_id=ACTOR)
        job = await job_of(app, result.job_id)
        assert quote.total_usd == job.reserved_usd == job.billed_usd == job.settled_usd
        assert quote.estimated_cost_usd == result.estimated_cost_usd
        assert (quote.quality_mode, quote.model, quote.resolution) == (
            result.quality_mode,
            result.model,
            result.resolution,
        )


async def test_a_first_frame_is_a_linked_job_of_its_own(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        request = VideoRequest(prompt="the beam sweeps", first_frame_prompt="a lighthouse", duration_s=1)
        quote = await app.videos.quote(request)
        result = await app.videos.generate(request, actor_id=ACTOR)
        assert result.success
        assert result.first_frame is not None
        assert (result.quality_mode, result.model) == ("draft_i2v", "grok-imagine-video-1.5")
        jobs = (await app.ledger.list_jobs(JobQuery())).jobs
        still = next(job for job in jobs if job.kind == "image")
        assert still.parent_job_id == result.job_id
        assert still.assets[0].record_id == result.first_frame.record_id
        assert quote.total_usd == sum(job.settled_usd or 0 for job in jobs)
        create = [r for r in sandbox.state.requests if r["path"].endswith("/videos/generations")]
        assert len(create) == 1
        assert "data:image/jpeg;base64," in str(create[0]["body"])


async def test_a_failed_first_frame_ends_the_call_before_the_video(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.faults.add("moderated", path="images/generations")
    async with running(sandbox, tmp_path) as app:
        request = VideoRequest(prompt="x", first_frame_prompt="a lighthouse", duration_s=1)
        result = await app.videos.generate(request, actor_id=ACTOR)
        assert result.failure is not None
        assert "the video was not started" in result.failure.message
        assert result.failure.billed == "yes"
        assert (await job_of(app, result.job_id)).settled_usd == 0
        assert not [r for r in sandbox.state.requests if "/videos/" in str(r["path"])]


async def test_the_cap_of_a_call_counts_the_first_frame(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path, RING_MAX_USD_PER_CALL="0.10") as app:
        request = VideoRequest(prompt="x", first_frame_prompt="a lighthouse", duration_s=1)
        with pytest.raises(CapExceeded):
            await app.videos.generate(request, actor_id=ACTOR)
    assert charges(sandbox) == 0


async def test_a_picture_of_our_own_storage_can_be_animated(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        still = await app.images.generate(ImageRequest(prompt="a cat", resolution="1k"), actor_id=ACTOR)
        request = VideoRequest(prompt="it yawns", image_url=still.url, duration_s=1)
        result = await app.videos.generate(request, actor_id=ACTOR)
        assert result.success
        assert result.quality_mode == "draft_i2v"


async def test_a_remaster_is_a_real_720p_whatever_was_carried_along(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        request = VideoRequest(prompt="x", resolution="480p", duration_s=1, remaster_from_request_id="draft-1")
        result = await app.videos.remaster(request, actor_id=ACTOR)
        assert result.video is not None
        assert (result.quality_mode, result.resolution, result.video.height) == ("production", "720p", 720)
        assert result.remaster_from_request_id == "draft-1"


async def test_a_remaster_of_a_clip_edits_it(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        draft = await app.videos.generate(BOAT, actor_id=ACTOR)
        assert draft.video is not None
        request = VideoRequest(prompt="make it night", source_video_url=draft.video.url)
        result = await app.videos.edit_from_source(request, actor_id=ACTOR)
        assert result.success
        assert (result.generation_kind, result.quality_mode, result.resolution) == ("edit", "production", None)
        assert result.video is not None
        assert result.video.duration == 2
        assert result.estimated_cost_usd == Decimal("0.10")
        row = (await app.ledger.records("generated_videos", [result.video.record_id or ""]))[0]
        assert (row["resolution"], row["remasterFromVideoUrl"]) == ("source", draft.video.url)
        with pytest.raises(InvalidRequest, match="sourceVideoUrl is required for edit/remaster"):
            await app.videos.edit_from_source(VideoRequest(prompt="x"), actor_id=ACTOR)


async def test_a_source_longer_than_the_provider_edits_is_refused_before_the_spend(
    sandbox: SandboxServer, tmp_path: Path
) -> None:
    async with running(sandbox, tmp_path) as app:
        long = await app.videos.generate(VideoRequest(prompt="x", duration_s=9), actor_id=ACTOR)
        assert long.video is not None
        with pytest.raises(InvalidRequest, match=r"the clip has 9\.0 s and the provider edits 8\.7 s"):
            await app.videos.edit_from_source(VideoRequest(prompt="x", source_video_url=long.video.url), actor_id=ACTOR)
    assert charges(sandbox) == 1


async def test_without_a_copy_the_answer_has_the_providers_address_and_no_record(
    sandbox: SandboxServer, tmp_path: Path
) -> None:
    async with running(sandbox, tmp_path) as app:
        request = VideoRequest(prompt="x", duration_s=1, persist=False)
        result = await app.videos.generate(request, actor_id=ACTOR)
        assert result.video is not None
        assert result.video.url == result.video.temporary_url
        assert result.video.record_id is None
        assert (await job_of(app, result.job_id)).state is JobState.DONE


POLL_FAULTS = ["poll_404", "poll_400", "poll_500", "poll_empty_202", "poll_unknown_status", "poll_drop"]
SHAPES = ["done_without_status", "legacy_nested", "url_in_file_output"]


@pytest.mark.parametrize("fault", POLL_FAULTS + SHAPES)
async def test_a_clip_arrives_whatever_a_poll_answers_in_passing(
    sandbox: SandboxServer, tmp_path: Path, fault: str
) -> None:
    sandbox.state.faults.add(fault, times=2)
    async with running(sandbox, tmp_path, HurryingClock()) as app:
        assert (await app.videos.generate(BOAT, actor_id=ACTOR)).success
    assert charges(sandbox) == 1


@pytest.mark.parametrize(
    ("fault", "options", "state", "code", "billed"),
    [
        ("poll_moderated_400", {}, "refused", "content_refused", "yes"),
        ("respect_moderation_false", {}, "refused", "content_refused", "yes"),
        ("poll_failed", {"code": "internal_error"}, "failed", "generation_failed", "unknown"),
        ("moderated", {}, "refused", "content_refused", "yes"),
        ("credits_exhausted", {}, "failed", "credits_exhausted", "no"),
        ("no_request_id", {}, "unknown", "unknown_outcome", "unknown"),
        ("html_502", {"status": 404}, "unknown", "unknown_outcome", "unknown"),
        ("drop_after_accept", {}, "unknown", "unknown_outcome", "unknown"),
    ],
)
async def test_every_bad_end_says_what_happened_and_whether_it_was_billed(
    sandbox: SandboxServer, tmp_path: Path, fault: str, options: dict[str, Any], state: str, code: str, billed: str
) -> None:
    sandbox.state.faults.add(fault, path="/videos/", **options)
    async with running(sandbox, tmp_path) as app:
        result = await app.videos.generate(BOAT, actor_id=ACTOR)
        assert result.failure is not None
        assert (result.state, result.failure.code, result.failure.billed) == (state, code, billed)
        job = await job_of(app, result.job_id)
        if billed == "no":
            assert job.settled_usd == 0
        elif state != "unknown":
            assert job.settled_usd == Decimal("0.10")


async def test_giving_up_on_a_poll_leaves_a_job_to_carry_on(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(render_s=600)
    async with running(sandbox, tmp_path, VIDEO_GEN_POLL_TIMEOUT_MS="300") as app:
        late = await app.videos.generate(BOAT, actor_id=ACTOR)
        assert late.failure is not None
        assert late.failure.code == "timeout"
        assert late.request_id is not None
        assert late.request_id in late.failure.message
        sandbox.state.skip(601)
        job = await job_of(app, late.job_id)
        await app.queue.adopt(job)
        assert (await settled(app, job.id)).state is JobState.DONE
    assert charges(sandbox) == 1


async def test_progress_is_the_providers_own_and_only_rises(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(render_s=100)
    seen: list[int] = []

    async def look(job: object) -> None:
        seen.append(job.progress)  # type: ignore[attr-defined]
        sandbox.state.skip(15)

    async with running(sandbox, tmp_path) as app:
        assert (await app.videos.generate(BOAT, actor_id=ACTOR, on_progress=look)).success
    assert seen == sorted(seen)
    assert any(0 < progress < 90 for progress in seen)


async def test_a_download_that_breaks_off_is_made_again(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.faults.add("media_truncated", times=2)
    sandbox.state.faults.add("media_status", times=1)
    async with running(sandbox, tmp_path, HurryingClock()) as app:
        assert (await app.videos.generate(BOAT, actor_id=ACTOR)).success
    assert charges(sandbox) == 1


async def test_a_clip_that_is_on_its_way_goes_on_after_a_restart(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(render_s=600)
    async with running(sandbox, tmp_path) as app:
        handle = await app.videos.generate(BOAT, actor_id=ACTOR, wait_s=0.0)
        assert (handle.success, handle.video) == (True, None)
        await rendering(app, handle.job_id)
    sandbox.state.skip(601)
    async with running(sandbox, tmp_path) as app:
        assert (await settled(app, handle.job_id)).state is JobState.DONE
    assert charges(sandbox) == 1


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("ftp://example.com/a.jpg", "imageUrl must be an http"),
        ("not a url", "imageUrl must be an http"),
        ("http://10.1.2.3/a.jpg", "on a private network"),
        ("http://169.254.169.254/latest/meta-data", "on a private network"),
        ("http://[fd00::1]:9/a.jpg", "on a private network"),
        ("/etc/hostname", "outside the folders of RING_INPUT_DIRS"),
        ("file:///etc/hostname", "outside the folders of RING_INPUT_DIRS"),
    ],
)
async def test_an_image_that_may_not_be_read_is_refused_before_the_spend(
    sandbox: SandboxServer, tmp_path: Path, url: str, text: str
) -> None:
    async with running(sandbox, tmp_path) as app:
        with pytest.raises(InvalidRequest, match=text):
            await app.videos.generate(VideoRequest(prompt="x", image_url=url), actor_id=ACTOR)
        assert not (await app.ledger.list_jobs(JobQuery())).jobs
    assert charges(sandbox) == 0


async def test_files_in_allowed_folders_are_read_if_they_are_pictures(sandbox: SandboxServer, tmp_path: Path) -> None:
    allowed = tmp_path / "pictures"
    allowed.mkdir()
    (allowed / "notes.txt").write_text("no picture")
    (allowed / "large.jpg").write_bytes(b"\xff\xd8\xff" + b"0" * (10 * 1024 * 1024))
    (allowed / "way-out").symlink_to("/etc/hostname")
    async with running(sandbox, tmp_path, RING_INPUT_DIRS=str(allowed)) as app:
        still = await app.images.generate(ImageRequest(prompt="a cat", resolution="1k"), actor_id=ACTOR)
        (allowed / "cat.jpg").write_bytes(Path(still.images[0].local_path or "").read_bytes())
        good = VideoRequest(prompt="x", image_url=str(allowed / "cat.jpg"), duration_s=1)
        assert (await app.videos.generate(good, actor_id=ACTOR)).success
        for name, text in (("notes.txt", "cannot be used"), ("large.jpg", "are allowed"), ("way-out", "outside")):
            with pytest.raises(InvalidRequest, match=text):
                await app.videos.generate(VideoRequest(prompt="x", image_url=str(allowed / name)), actor_id=ACTOR)


async def test_a_thumbnail_that_cannot_be_made_is_told_before_the_spend(
    sandbox: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(sandbox, tmp_path) as app:
        monkeypatch.setitem(sys.modules, "av", None)
        with pytest.raises(InvalidRequest, match="thumbnail: a clip's own first picture needs an extra"):
            await app.videos.generate(replace(BOAT, thumbnail=Thumbnail()), actor_id=ACTOR)
        assert charges(sandbox) == 0


async def test_a_sandbox_without_its_library_makes_no_unknown_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    config = load_config({"RING_SANDBOX": "on", "RING_STATE_DIR": str(tmp_path)}, folder=tmp_path)
    async with open_app(config) as app:
        with pytest.raises(InvalidRequest, match="the sandbox makes clips with an extra that is not installed here"):
            await app.videos.generate(BOAT, actor_id=ACTOR)
        assert not (await app.ledger.list_jobs(JobQuery())).jobs


async def test_another_sandbox_without_its_library_refuses_without_a_bill(
    sandbox: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(sandbox, tmp_path) as app:
        monkeypatch.setitem(sys.modules, "av", None)
        result = await app.videos.generate(BOAT, actor_id=ACTOR)
        assert (await job_of(app, result.job_id)).state is JobState.FAILED
        assert result.failure is not None
        assert result.failure.billed == "no"


async def test_two_identical_calls_make_one_clip(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        first, second = await asyncio.gather(*(app.videos.generate(BOAT, actor_id=ACTOR) for _ in range(2)))
        assert first.job_id == second.job_id
    assert charges(sandbox) == 1
