"""Media that a caller gives along: edits, references, last frames, extensions, from the check to the bill."""

from __future__ import annotations

import base64
import io
import os
import re
import textwrap
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from ring_mcp.domain import ImageRequest, JobState, Thumbnail, VideoPlan, VideoRequest
from ring_mcp.errors import CapExceeded, InvalidRequest, StorageError
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.sandbox.state.settings import DEFAULT_XAI_KEY
from tests.conductors.running import ACTOR, charges, job_of, running


def jpeg(width_px: int = 64, height_px: int = 32, colour: str = "red") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (width_px, height_px), colour).save(content, "JPEG")
    return content.getvalue()


def inline(content: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


def file_id(sandbox: SandboxServer) -> str:
    """The id of a picture that lies with the provider."""
    body = {"prompt": "kept", "storage_options": {"filename": "kept.jpg"}}
    headers = {"Authorization": f"Bearer {DEFAULT_XAI_KEY}"}
    made = httpx2.post(
        f"{sandbox.xai_base_url}/images/generations", json=body, headers=headers, verify=False, timeout=60
    )
    sandbox.state.books.clear()
    return str(made.json()["data"][0]["file_output"]["file_id"])


def sent(sandbox: SandboxServer, path: str) -> dict[str, Any]:
    """The body of the one request to ``path``."""
    [body] = [r["body"] for r in sandbox.state.requests if r["path"].endswith(path)]
    return dict(body)


async def test_a_picture_is_edited_keeps_its_ratio_and_has_its_row(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        first = await app.images.generate(ImageRequest(prompt="a boat", aspect_ratio="16:9"), actor_id=ACTOR)
        request = ImageRequest(prompt="at night", reference_images=(first.url or "",), resolution="1k")
        quote = await app.images.quote(request)
        result = await app.images.generate(request, actor_id=ACTOR)
        assert result.success
        assert (result.images[0].width or 0) > (result.images[0].height or 0)
        assert quote.total_usd == result.billed_cost_usd == result.estimated_cost_usd == Decimal("0.07")
        row = (await app.ledger.records("generated_images", [result.images[0].record_id or ""]))[0]
        assert (row["referenceImages"], row["quality"]) == ([first.url], "medium")
    assert set(sent(sandbox, "/images/edits")) >= {"image", "deferred"}


async def test_every_way_to_give_a_picture_reaches_the_provider_and_is_billed(
    sandbox: SandboxServer, tmp_path: Path
) -> None:
    allowed = tmp_path / "in"
    allowed.mkdir()
    (allowed / "a.jpg").write_bytes(jpeg())
    references = (str(allowed / "a.jpg"), inline(jpeg(colour="blue")), file_id(sandbox))
    async with running(sandbox, tmp_path, RING_INPUT_DIRS=str(allowed)) as app:
        request = ImageRequest(prompt="together", reference_images=references, quality="low", resolution="1k", n=2)
        quote = await app.images.quote(request)
        result = await app.images.generate(request, actor_id=ACTOR)
        assert result.success
        assert quote.total_usd == result.billed_cost_usd == Decimal("0.11")
    body = sent(sandbox, "/images/edits")
    given = [next(iter(image)) for image in body["images"]]
    assert (given, body["quality"], body.get("aspect_ratio")) == (["url", "url", "file_id"], "low", None)
    assert all(image["url"].startswith("data:image/jpeg;base64,") for image in body["images"][:2])


async def test_a_picture_that_comes_inline_is_not_written_into_the_ledger(
    sandbox: SandboxServer, tmp_path: Path
) -> None:
    async with running(sandbox, tmp_path) as app:
        request = ImageRequest(prompt="at night", reference_images=(inline(jpeg()),), resolution="1k")
        result = await app.images.generate(request, actor_id=ACTOR)
        job = await job_of(app, result.job_id)
        assert job.plan.reference_images[0].startswith("kept:")
        again = await app.images.generate(replace(request, idempotency_key="k"), actor_id=ACTOR)
        other = replace(request, idempotency_key="k", reference_images=(inline(jpeg(colour="blue")),))
        with pytest.raises(InvalidRequest, match="already stands"):
            await app.images.generate(other, actor_id=ACTOR)
        assert again.success
    assert charges(sandbox) == 2


async def test_a_last_frame_that_comes_inline_is_kept_beside_the_ledger_too(
    sandbox: SandboxServer, tmp_path: Path
) -> None:
    async with running(sandbox, tmp_path) as app:
        request = VideoRequest(prompt="x", duration_s=1, first_frame_prompt="a", last_frame_url=inline(jpeg()))
        result = await app.videos.generate(request, actor_id=ACTOR)
        assert result.success
        plan = (await job_of(app, result.job_id)).plan
        assert isinstance(plan, VideoPlan)
        assert (plan.last_frame_url or "").startswith("kept:")
    body = sent(sandbox, "/videos/generations")
    assert body["last_frame"]["url"].startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize("provider", ["xai", "google"])
async def test_a_first_frame_that_comes_inline_is_kept_beside_the_ledger_too(
    sandbox: SandboxServer, tmp_path: Path, provider: str
) -> None:
    lines = "\n".join(textwrap.wrap(base64.b64encode(jpeg()).decode(), 76))
    request = VideoRequest(
        prompt="x",
        duration_s=3,
        provider=provider,
        image_url=f" DATA:image/jpeg;base64,\n{lines}",
        thumbnail=Thumbnail(),
    )
    async with running(sandbox, tmp_path) as app:
        result = await app.videos.generate(request, actor_id=ACTOR)
        assert result.success
        assert result.thumbnail is not None
        plan = (await job_of(app, result.job_id)).plan
        assert isinstance(plan, VideoPlan)
        assert re.fullmatch("kept:[0-9a-f]{64}", plan.image_url or "")
        row = (await app.ledger.records("generated_videos", [result.video.record_id or ""]))[0] if result.video else {}
        assert "base64" not in str(row)
    assert base64.b64encode(jpeg()).decode()[:100] in str([r["body"] for r in sandbox.state.requests])


async def test_one_picture_inline_in_two_spellings_is_one_request(sandbox: SandboxServer, tmp_path: Path) -> None:
    plain = inline(jpeg())
    async with running(sandbox, tmp_path) as app:
        request = ImageRequest(prompt="at night", reference_images=(plain,), idempotency_key="k", resolution="1k")
        first = await app.images.generate(request, actor_id=ACTOR)
        spelled = replace(request, reference_images=(f"{plain.rstrip('=')}\n",))
        assert (await app.images.generate(spelled, actor_id=ACTOR)).job_id == first.job_id
    assert charges(sandbox) == 1


@pytest.mark.parametrize("provider", ["xai", "google"])
async def test_a_frame_without_its_end_mark_is_good_enough(
    sandbox: SandboxServer, tmp_path: Path, provider: str
) -> None:
    allowed = tmp_path / "in"
    allowed.mkdir()
    (allowed / "a.jpg").write_bytes(jpeg(400, 300).removesuffix(b"\xff\xd9"))
    async with running(sandbox, tmp_path, RING_INPUT_DIRS=str(allowed)) as app:
        request = VideoRequest(prompt="x", duration_s=3, provider=provider, image_url=str(allowed / "a.jpg"))
        assert (await app.videos.generate(request, actor_id=ACTOR)).success


async def test_a_result_is_named_by_its_job_to_its_own_actor(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        picture = await app.images.generate(ImageRequest(prompt="a boat"), actor_id=ACTOR)
        named = VideoRequest(prompt="it sails", duration_s=1, image_url=f"ring://jobs/{picture.job_id}")
        for anybody in ("another", None):
            with pytest.raises(InvalidRequest, match="imageUrl: there is no job"):
                await app.videos.quote(named, actor_id=anybody)
        clip = await app.videos.generate(named, actor_id=ACTOR)
        plan = (await job_of(app, clip.job_id)).plan
        assert isinstance(plan, VideoPlan)
        assert plan.image_url == picture.url
        sandbox.state.configure(deferred_s=600)
        waiting = await app.images.generate(ImageRequest(prompt="later"), actor_id=ACTOR, wait_s=0)
        early = ImageRequest(prompt="x", reference_images=(f"ring://jobs/{waiting.job_id}",))
        with pytest.raises(InvalidRequest, match=r"referenceImages\[0\]: job .* has no result; ring-job-get waits"):
            await app.images.quote(early, actor_id=ACTOR)


async def test_a_spool_that_cannot_be_written_is_told_before_any_spend(sandbox: SandboxServer, tmp_path: Path) -> None:
    (tmp_path / "sandbox").mkdir()
    (tmp_path / "sandbox" / "spool").write_text("in the way")
    async with running(sandbox, tmp_path) as app:
        with pytest.raises(StorageError, match="cannot be written") as caught:
            await app.images.generate(ImageRequest(prompt="x", reference_images=(inline(jpeg()),)), actor_id=ACTOR)
        assert caught.value.billed == "no"
    assert not sandbox.state.requests


async def test_a_quote_leaves_no_file_behind(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        await app.images.quote(ImageRequest(prompt="x", reference_images=(inline(jpeg()),)))
    assert not list((tmp_path / "sandbox" / "spool").iterdir())


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("ftp://example.com/a.jpg", r"referenceImages\[1\] must be an http"),
        ("", r"referenceImages\[1\] must be an http"),
        ("http://10.1.2.3/a.jpg", r"referenceImages\[1\] cannot be used: .*on a private network"),
        ("data:image/png,abc", r"referenceImages\[1\]: a data URI has the form"),
        ("data:image/png;base64,%%", r"referenceImages\[1\]: the data URI is not base64"),
        ("data:image/png;base64,AAAA", r"referenceImages\[1\] cannot be used"),
        ("data:image/png;base64," + "A" * 15_000_000, r"referenceImages\[1\] has about 11,250,000 bytes"),
        ("kept:" + "0" * 64, r"referenceImages\[1\] cannot be read"),
        ("kept:../ledger.db", r"referenceImages\[1\] must be an http"),
    ],
)
async def test_what_is_no_picture_is_refused_by_its_place_before_any_spend(
    sandbox: SandboxServer, tmp_path: Path, reference: str, text: str
) -> None:
    async with running(sandbox, tmp_path) as app:
        references = (inline(jpeg()), reference)
        with pytest.raises(InvalidRequest, match=text):
            await app.images.generate(ImageRequest(prompt="x", reference_images=references), actor_id=ACTOR)
        with pytest.raises(InvalidRequest, match=text):
            await app.videos.generate(VideoRequest(prompt="x", reference_images=references), actor_id=ACTOR)
    assert not sandbox.state.requests


async def test_a_remote_picture_is_fetched_once_and_then_left_to_the_provider(
    sandbox: SandboxServer, tmp_path: Path
) -> None:
    async with running(sandbox, tmp_path) as app:
        first = await app.videos.generate(VideoRequest(prompt="a", duration_s=1, persist=False), actor_id=ACTOR)
        assert first.video is not None
        with pytest.raises(InvalidRequest, match=r"referenceImages\[0\] cannot be used"):  # it is a clip
            await app.images.quote(ImageRequest(prompt="x", reference_images=(first.video.url,)))
        still = httpx2.post(
            f"{sandbox.xai_base_url}/images/generations",
            json={"prompt": "far away"},
            headers={"Authorization": f"Bearer {DEFAULT_XAI_KEY}"},
            verify=False,
            timeout=60,
        )
        address = still.json()["data"][0]["url"]
        result = await app.images.generate(ImageRequest(prompt="x", reference_images=(address,)), actor_id=ACTOR)
        assert result.success
    assert sent(sandbox, "/images/edits")["image"] == {"url": address}


async def test_a_cap_counts_the_pictures_that_are_given(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path, RING_MAX_USD_PER_CALL="0.08") as app:
        request = ImageRequest(prompt="x", reference_images=(inline(jpeg()),))
        with pytest.raises(CapExceeded):
            await app.images.generate(request, actor_id=ACTOR)
    assert charges(sandbox) == 0


@pytest.mark.parametrize(
    "request_",
    [
        VideoRequest(prompt="x", duration_s=1, reference_images=(inline(jpeg()), inline(jpeg(colour="blue")))),
        VideoRequest(prompt="x", duration_s=1, quality_mode="production_i2v", reference_images=(inline(jpeg()),)),
        VideoRequest(prompt="x", duration_s=1, quality_mode="draft_i2v", first_frame_prompt="a", last_frame_url="LAST"),
        VideoRequest(prompt="x", duration_s=1, quality_mode="production_i2v", resolution="1080p", image_url="FIRST"),
    ],
    ids=["references", "references of 1.5", "last frame", "1080p"],
)
async def test_what_a_quote_says_of_given_pictures_is_what_the_provider_bills(
    sandbox: SandboxServer, tmp_path: Path, request_: VideoRequest
) -> None:
    allowed = tmp_path / "in"
    allowed.mkdir()
    (allowed / "a.jpg").write_bytes(jpeg())
    if request_.image_url:
        request_ = replace(request_, image_url=str(allowed / "a.jpg"))
    if request_.last_frame_url:
        request_ = replace(request_, last_frame_url=str(allowed / "a.jpg"))
    async with running(sandbox, tmp_path, RING_INPUT_DIRS=str(allowed)) as app:
        quote = await app.videos.quote(request_)
        result = await app.videos.generate(request_, actor_id=ACTOR)
        assert result.success
        assert result.generation_kind == "generate"
        billed_ticks = sandbox.state.books.total_ticks
        assert quote.total_usd == Decimal(billed_ticks) / 10**10
        assert result.video is not None
        row = (await app.ledger.records("generated_videos", [result.video.record_id or ""]))[0]
        recorded = row.get("referenceImages", [])
        assert isinstance(recorded, list)
        assert len(recorded) == len(request_.reference_images)
        assert ("lastFrameUrl" in row) is bool(request_.last_frame_url)


async def test_a_longer_clip_can_be_remastered_again_and_again(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        draft = await app.videos.generate(VideoRequest(prompt="a boat", duration_s=2, clip_id="c"), actor_id=ACTOR)
        assert draft.video is not None
        request = VideoRequest(prompt="it sails on", source_video_url=draft.video.url, extend_s=3, clip_id="c")
        quote = await app.videos.quote(request)
        longer = await app.videos.generate(request, actor_id=ACTOR)
        assert longer.success
        assert longer.video is not None
        assert (longer.generation_kind, longer.duration, longer.video.duration) == ("extend", 3, Decimal(5))
        assert "/production/extend/" in longer.video.url
        assert longer.estimated_cost_usd == quote.estimated_cost_usd == Decimal("0.15")
        job = await job_of(app, longer.job_id)
        assert job.billed_usd == Decimal("0.17")  # 3 s made at 480p, 2 s given
        assert job.billed_usd < job.reserved_usd == quote.total_usd
        row = (await app.ledger.records("generated_videos", [longer.video.record_id or ""]))[0]
        assert (row["generationKind"], row["remasterFromVideoUrl"], row["extend"], row["duration"]) == (
            "extend", draft.video.url, 3, 5.0,
        )  # fmt: skip
        edit = VideoRequest(
            prompt="at night", source_video_url=longer.video.url, remaster_from_request_id=longer.request_id
        )
        edited = await app.videos.edit_from_source(edit, actor_id=ACTOR)
        assert edited.success
        assert edited.video is not None
        assert (edited.generation_kind, edited.video.duration) == ("edit", Decimal(5))
        assert edited.remaster_from_request_id == longer.request_id


async def test_an_edit_reserves_what_its_source_lasts_and_takes_no_other_duration(
    sandbox: SandboxServer, tmp_path: Path
) -> None:
    async with running(sandbox, tmp_path) as app:
        source = await app.videos.generate(VideoRequest(prompt="a", duration_s=5), actor_id=ACTOR)
        assert source.video is not None
        edit = VideoRequest(prompt="at night", source_video_url=source.video.url, remaster=True)
        with pytest.raises(InvalidRequest, match=r"duration has no effect on an edit, .* its source, 5\.0 s"):
            await app.videos.generate(replace(edit, duration_s=1), actor_id=ACTOR)
        assert charges(sandbox) == 1
        quote = await app.videos.quote(edit)
        edited = await app.videos.generate(replace(edit, duration_s=5), actor_id=ACTOR)
        job = await job_of(app, edited.job_id)
        assert job.billed_usd is not None
        assert job.reserved_usd == quote.total_usd == Decimal("0.40")  # 5 s made at the rate of 720p, 5 s given
        assert job.billed_usd <= job.reserved_usd


@pytest.mark.parametrize(("duration_s", "text"), [(1, "the clip has 1.0 s"), (15, None)])
async def test_a_source_that_cannot_be_made_longer_is_refused_before_the_spend(
    sandbox: SandboxServer, tmp_path: Path, duration_s: int, text: str | None
) -> None:
    async with running(sandbox, tmp_path) as app:
        source = await app.videos.generate(VideoRequest(prompt="a", duration_s=duration_s), actor_id=ACTOR)
        assert source.video is not None
        request = VideoRequest(prompt="x", source_video_url=source.video.url, extend_s=2)
        if text is None:
            assert (await app.videos.generate(request, actor_id=ACTOR)).success
            return
        with pytest.raises(InvalidRequest, match=rf"{text} and the provider extends clips of 2 to 15 s"):
            await app.videos.generate(request, actor_id=ACTOR)
    assert charges(sandbox) == 1


async def test_kept_pictures_go_after_a_day(sandbox: SandboxServer, tmp_path: Path) -> None:
    spool = tmp_path / "sandbox" / "spool"
    spool.mkdir(parents=True)
    old, fresh = spool / f"input-{'0' * 64}", spool / f"input-{'1' * 64}"
    for path, hours in ((old, 25), (fresh, 23)):
        path.write_bytes(jpeg())
        os.utime(path, (time.time() - hours * 3600,) * 2)
    async with running(sandbox, tmp_path):
        assert not old.exists()
        assert fresh.exists()


async def test_a_kept_picture_cannot_be_asked_for_by_its_name(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        request = ImageRequest(prompt="x", reference_images=(inline(jpeg()),))
        assert (await app.images.generate(request, actor_id="another")).success
        (kept,) = (tmp_path / "sandbox" / "spool").glob("input-*")
        name = f"kept:{kept.name.removeprefix('input-')}"
        for field in ("image_url", "last_frame_url", "source_video_url"):
            is_edit = field == "source_video_url"
            asked: dict[str, Any] = {**({} if is_edit else {"image_url": "https://example.org/a.jpg"}), field: name}
            stolen = VideoRequest(prompt="x", remaster=is_edit, **asked)
            with pytest.raises(InvalidRequest, match="cannot be read: give an http"):
                await app.videos.generate(stolen, actor_id=ACTOR)
        with pytest.raises(InvalidRequest, match=r"referenceImages\[0\] cannot be read: give an http"):
            await app.images.generate(ImageRequest(prompt="x", reference_images=(name,)), actor_id=ACTOR)
    assert charges(sandbox) == 1


async def test_a_kept_picture_that_is_gone_ends_the_job_at_no_cost(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        request = ImageRequest(prompt="x", reference_images=(inline(jpeg()),))
        whole = app.images.plan(request)
        gone = whole.model_copy(update={"reference_images": ("kept:" + "0" * 64,)})
        result = await app.calls.make(gone, actor_id=ACTOR, idempotency_key=None)
        assert result.failure is not None
        assert (result.state, result.failure.code, result.failure.billed) == (
            JobState.FAILED, "invalid_request", "no",
        )  # fmt: skip
        assert (await job_of(app, result.job_id)).settled_usd == 0
    assert charges(sandbox) == 0
