"""A thumbnail for a clip that is there: drawn on the stored clip, once, without a provider and without cost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from ring_mcp.app import App
from ring_mcp.conductors.results import GenerateVideoResult
from ring_mcp.conductors.thumbnails import ThumbnailConductor
from ring_mcp.domain import Overlay, Thumbnail, VideoRequest
from ring_mcp.errors import InvalidRequest, JobMoved
from ring_mcp.sandbox.server import SandboxServer
from tests.conductors.running import ACTOR, job_of, rendering, running

BOAT = VideoRequest(prompt="a boat turns into the wind", duration_s=1)
WORDS = Thumbnail(overlays=(Overlay(text="To the sea", role="title"),))
OTHERS = Thumbnail(template="title_card", overlays=(Overlay(text="Home", role="title"),))


async def draw(app: App, job_id: str | None, thumbnail: Thumbnail) -> GenerateVideoResult:
    result = await app.thumbnails.draw(await job_of(app, job_id), thumbnail)
    assert isinstance(result, GenerateVideoResult)
    return result


@pytest.mark.parametrize("still", [None, "a harbour at dawn"], ids=["over the clip", "over its first frame"])
async def test_it_is_drawn_recorded_and_shown_with_the_job(
    sandbox: SandboxServer, tmp_path: Path, still: str | None
) -> None:
    async with running(sandbox, tmp_path) as app:
        made = await app.videos.generate(replace(BOAT, first_frame_prompt=still), actor_id=ACTOR)
        billed = len(sandbox.state.books.charges())
        result = await draw(app, made.job_id, WORDS)
        assert result.thumbnail is not None
        assert result.video == made.video
        assert (result.thumbnail.content_type, result.billed_cost_usd) == ("image/png", made.billed_cost_usd)
        assert Path(result.thumbnail.local_path or "").read_bytes().startswith(b"\x89PNG")
        [row] = await app.ledger.records("generated_images", [result.thumbnail.record_id])
        assert (row["url"], row["actorId"]) == (result.thumbnail.url, ACTOR)
        shown = await app.calls.show(await job_of(app, made.job_id))
        assert isinstance(shown, GenerateVideoResult)
        assert shown.thumbnail == result.thumbnail
        assert len(sandbox.state.books.charges()) == billed


async def test_the_same_is_not_drawn_twice_and_another_stands_beside_it(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        made = await app.videos.generate(replace(BOAT, thumbnail=WORDS), actor_id=ACTOR)
        async with asyncio.timeout(60):
            while (first := await job_of(app, made.job_id)).delivered_at is None:
                await asyncio.sleep(0.01)
        assert (await draw(app, made.job_id, WORDS)).thumbnail == made.thumbnail
        assert (await job_of(app, made.job_id)).version == first.version, "nothing was written"
        other = (await draw(app, made.job_id, OTHERS)).thumbnail
        assert other is not None
        assert made.thumbnail is not None
        assert (other.url, other.record_id) != (made.thumbnail.url, made.thumbnail.record_id)
        assert Path(made.thumbnail.local_path or "").is_file(), "what was shown somewhere stays there"


async def test_a_clip_that_is_not_done_has_none_yet(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(render_s=600)
    async with running(sandbox, tmp_path) as app:
        opened = await app.videos.generate(BOAT, actor_id=ACTOR, wait_s=0)
        job = await rendering(app, opened.job_id or "")
        with pytest.raises(InvalidRequest, match="is no finished clip"):
            await app.thumbnails.draw(job, WORDS)


async def test_a_clip_that_cannot_be_read_keeps_what_it_has(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        made = await app.videos.generate(replace(BOAT, thumbnail=WORDS), actor_id=ACTOR)
        assert made.video is not None
        Path(made.video.local_path or "").unlink()
        result = await draw(app, made.job_id, OTHERS)
        assert result.success
        assert result.thumbnail == made.thumbnail
        assert "no thumbnail was made" in (result.warnings or ())[-1]


async def test_a_delivery_in_between_does_not_lose_it(sandbox: SandboxServer, tmp_path: Path) -> None:
    """Whoever is given the clip at the same time writes the row, so that the drawn one is written a second time."""
    async with running(sandbox, tmp_path) as app:
        made = await app.videos.generate(BOAT, actor_id=ACTOR)
        job = await job_of(app, made.job_id)
        result = await app.thumbnails.draw(replace(job, version=job.version - 1), WORDS)
        assert isinstance(result, GenerateVideoResult)
        assert result.thumbnail is not None


async def test_a_row_that_never_rests_is_told(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        made = await app.videos.generate(BOAT, actor_id=ACTOR)
        conductor: ThumbnailConductor = app.thumbnails
        gone = replace(await job_of(app, made.job_id), id="7f0c4b1e-0000-4000-8000-000000000000")
        with pytest.raises(JobMoved, match="was not noted"):
            await conductor.draw(gone, WORDS)
