"""Thumbnails of real clips: what they show, where they are kept, and that no failure of one touches its clip."""

from __future__ import annotations

import asyncio
import io
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ring_mcp.domain import ImageRequest, JobState, MediaFile, Overlay, Thumbnail, VideoRequest
from ring_mcp.errors import InvalidRequest, ProviderUnavailable
from ring_mcp.jobs.inputs import MediaInputs
from ring_mcp.jobs.thumbnails import Thumbnails
from ring_mcp.media.identify import hash_file, identify
from ring_mcp.media.natives import InThisProcess, Undecodable
from ring_mcp.processes import open_decoders
from ring_mcp.providers.base import Downloaded
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.storage.base import Storage, StoredFile
from ring_mcp.storage.local import LocalStorage
from tests.conductors.running import ACTOR, charges, job_of, rendering, running, settled, spool_is_empty
from tests.jobs.engine import SIZES, clip_plan
from tests.ledger_samples import planned
from tests.media_bytes import mp4

TITLE = Thumbnail(template="title_card", overlays=(Overlay(text="Лодка", role="title"),))
BOAT = VideoRequest(prompt="a boat turns", duration_s=1, thumbnail=TITLE)


def opened(path: str | None) -> Image.Image:
    with Image.open(path or "") as picture:
        return picture.copy()


def media_of(clip: Path) -> MediaFile:
    size_bytes, sha256 = hash_file(clip)
    return identify(clip, InThisProcess(), size_bytes=size_bytes, sha256=sha256, expected="video")


def thumbnails(storage: Storage, folder: Path, limit_s: float = 20.0) -> Thumbnails:
    async def unreachable(*_: object) -> Downloaded:
        raise ProviderUnavailable("nothing is fetched here")

    decoders = open_decoders()
    reach: Any = {"fetch": unreachable, "check_address": unreachable}
    inputs = MediaInputs(storage, decoder=decoders.given, sizes=SIZES, folders=[], spool=folder, **reach)
    return Thumbnails(inputs, storage, decoders, spool=folder, prefix="generated", font=None, limit_s=limit_s)


def colour(picture: Image.Image) -> tuple[int, ...]:
    """Of the top left corner, where no text is: the sandbox fills pictures and clips with a colour of their prompt."""
    pixel = picture.convert("RGB").getpixel((8, 8))
    assert isinstance(pixel, tuple)
    return pixel


async def test_a_clip_from_text_has_a_thumbnail_of_its_own_first_picture(
    sandbox: SandboxServer, tmp_path: Path
) -> None:
    async with running(sandbox, tmp_path) as app:
        plain = await app.videos.quote(VideoRequest(prompt="a boat turns", duration_s=1))
        request = VideoRequest(prompt="a boat turns", duration_s=1, purpose="promo", ref_code="r1", thumbnail=TITLE)
        result = await app.videos.generate(request, actor_id=ACTOR)
        assert (result.success, result.warnings) == (True, None)
        made = result.thumbnail
        assert made is not None
        assert (made.width, made.height, made.content_type) == (1280, 720, "image/png")
        assert opened(made.local_path).size == (1280, 720)
        assert "/generated/promo/thumbnails/" in made.url
        assert result.video is not None
        clip_row = (await app.ledger.records("generated_videos", [result.video.record_id or ""]))[0]
        assert clip_row["thumbnailUrl"] == made.url
        row = (await app.ledger.records("generated_images", [made.record_id]))[0]
        expected = {"url": made.url, "source": "scripted-media-thumbnail", "refCode": "r1", "aspectRatio": "16:9"}
        assert expected.items() <= row.items()
        job = await job_of(app, result.job_id)
        assert job.reserved_usd == job.settled_usd == plain.total_usd
        assert await spool_is_empty(tmp_path)
    assert charges(sandbox) == 1


async def test_the_made_first_frame_is_what_a_thumbnail_shows(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        request = VideoRequest(prompt="x", first_frame_prompt="a lighthouse", duration_s=1, thumbnail=Thumbnail())
        result = await app.videos.generate(request, actor_id=ACTOR)
        assert result.first_frame is not None
        assert result.thumbnail is not None
        still = colour(opened(result.first_frame.local_path))
        assert all(abs(a - b) < 12 for a, b in zip(colour(opened(result.thumbnail.local_path)), still, strict=True))


async def test_an_image_that_was_given_is_what_a_thumbnail_shows(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        still = await app.images.generate(
            ImageRequest(prompt="a cat", resolution="1k", aspect_ratio="9:16"), actor_id=ACTOR
        )
        request = VideoRequest(prompt="it yawns", image_url=still.url, duration_s=1, thumbnail=Thumbnail())
        result = await app.videos.generate(request, actor_id=ACTOR)
        assert result.thumbnail is not None
        picture = opened(result.thumbnail.local_path)
        assert picture.size == (720, 1280), "the canvas is the clip's own ratio"
        assert all(
            abs(a - b) < 12 for a, b in zip(colour(picture), colour(opened(still.images[0].local_path)), strict=True)
        )


async def test_an_image_gone_by_then_gives_way_to_the_clips_own(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(render_s=600)
    async with running(sandbox, tmp_path) as app:
        still = await app.images.generate(ImageRequest(prompt="a cat", resolution="1k"), actor_id=ACTOR)
        request = VideoRequest(prompt="it yawns", image_url=still.url, duration_s=1, thumbnail=TITLE)
        handle = await app.videos.generate(request, actor_id=ACTOR, wait_s=0.0)
        await rendering(app, handle.job_id)
        Path(still.images[0].local_path or "").unlink()
        sandbox.state.skip(601)
        job = await settled(app, handle.job_id)
        result = await app.calls.deliver(job)
        assert result.success
        assert result.thumbnail is not None  # type: ignore[attr-defined]
        [warning] = result.warnings or ()
        assert warning.startswith("thumbnail: the first frame cannot be decoded")


@pytest.mark.parametrize("source", [None, "edit"])
async def test_remasters_and_edits_have_thumbnails_too(
    sandbox: SandboxServer, tmp_path: Path, source: str | None
) -> None:
    async with running(sandbox, tmp_path) as app:
        draft = await app.videos.generate(VideoRequest(prompt="x", duration_s=1, aspect_ratio="9:16"), actor_id=ACTOR)
        assert draft.video is not None
        request = VideoRequest(
            prompt="night",
            duration_s=1,
            aspect_ratio=None if source else "9:16",
            source_video_url=draft.video.url if source else None,
            thumbnail=TITLE,
        )
        result = await app.videos.remaster(request, actor_id=ACTOR)
        assert result.thumbnail is not None
        assert opened(result.thumbnail.local_path).size == (720, 1280)


async def test_a_ratio_that_is_asked_for_wins_over_the_clips_own(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        request = VideoRequest(prompt="x", duration_s=1, thumbnail=TITLE.model_copy(update={"aspect_ratio": "1:1"}))
        result = await app.videos.generate(request, actor_id=ACTOR)
        assert result.thumbnail is not None
        assert (result.thumbnail.width, result.thumbnail.height) == (1080, 1080)


async def test_a_thumbnail_without_a_copy_is_refused_before_the_spend(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        request = VideoRequest(prompt="x", duration_s=1, persist=False, thumbnail=TITLE)
        with pytest.raises(InvalidRequest, match="thumbnail has no effect with persistToFilebase: false"):
            await app.videos.generate(request, actor_id=ACTOR)
    assert charges(sandbox) == 0


async def test_a_thumbnail_that_cannot_be_stored_is_a_warning(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.faults.add("ringbase_401", path="upload", after=1)
    async with running(sandbox, tmp_path, FILE_BACKEND="ringbase") as app:
        result = await app.videos.generate(BOAT, actor_id=ACTOR)
        assert (result.success, result.state, result.thumbnail) == (True, "done", None)
        assert result.video is not None
        row = (await app.ledger.records("generated_videos", [result.video.record_id or ""]))[0]
        assert "thumbnailUrl" not in row
        [warning] = result.warnings or ()
        assert warning.startswith("no thumbnail was made: RingBase upload failed (401)")
    assert charges(sandbox) == 1


async def test_a_stored_frame_is_fetched_back_from_ring_filebase(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path, FILE_BACKEND="ringbase") as app:
        request = VideoRequest(prompt="x", first_frame_prompt="a lighthouse", duration_s=1, thumbnail=TITLE)
        result = await app.videos.generate(request, actor_id=ACTOR)
        assert result.thumbnail is not None
        assert result.warnings is None
        with await asyncio.to_thread(urllib.request.urlopen, result.thumbnail.url) as answer:
            assert Image.open(io.BytesIO(answer.read())).size == (1280, 720)
        assert await spool_is_empty(tmp_path)


async def test_a_font_that_is_not_there_is_a_warning(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path, RING_THUMBNAIL_FONT=str(tmp_path / "none.ttf")) as app:
        result = await app.videos.generate(BOAT, actor_id=ACTOR)
        assert result.thumbnail is not None
        assert result.warnings == ("thumbnail: RING_THUMBNAIL_FONT names no font that can be read: it was not used",)


async def test_a_clip_that_comes_home_after_a_restart_has_its_thumbnail(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(render_s=600)
    async with running(sandbox, tmp_path) as app:
        handle = await app.videos.generate(BOAT, actor_id=ACTOR, wait_s=0.0)
        await rendering(app, handle.job_id)
    sandbox.state.skip(601)
    async with running(sandbox, tmp_path) as app:
        await settled(app, handle.job_id)
    async with running(sandbox, tmp_path) as app:
        job = await job_of(app, handle.job_id)
        assert job.state is JobState.DONE
        shown = (await app.calls.deliver(job)).data()
        assert Path(shown["thumbnail"]["localPath"]).is_file()
    assert charges(sandbox) == 1


async def test_another_thumbnail_is_another_request_and_the_same_one_joins(
    sandbox: SandboxServer, tmp_path: Path
) -> None:
    sandbox.state.configure(render_s=600)
    async with running(sandbox, tmp_path) as app:
        first = await app.videos.generate(BOAT, actor_id=ACTOR, wait_s=0.1)
        same = await app.videos.generate(BOAT, actor_id=ACTOR, wait_s=0.1)
        bare = await app.videos.generate(VideoRequest(prompt="a boat turns", duration_s=1), actor_id=ACTOR, wait_s=0.1)
        assert first.job_id == same.job_id != bare.job_id


class _Stuck(LocalStorage):
    """Never comes back from a put."""

    async def put(self, key: str, media: MediaFile, metadata: Mapping[str, str]) -> StoredFile:
        await asyncio.Event().wait()
        raise AssertionError


async def test_making_it_again_gives_the_same_file_and_row(sandbox: SandboxServer, tmp_path: Path) -> None:
    """As after a crash between the upload and the ledger's last write."""
    async with running(sandbox, tmp_path) as app:
        result = await app.videos.generate(BOAT, actor_id=ACTOR)
        job = await job_of(app, result.job_id)
        clip = Path(result.video.local_path or "") if result.video else Path()
        again, [row] = await thumbnails(app.storage, tmp_path).add(job, media_of(clip))
        assert again.plan == job.plan
        assert result.thumbnail is not None
        assert (row.id, row.data["url"]) == (result.thumbnail.record_id, result.thumbnail.url)


async def test_a_hanging_storage_holds_a_clip_up_for_limited_time(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        result = await app.videos.generate(VideoRequest(prompt="a boat", duration_s=1), actor_id=ACTOR)
        job = await job_of(app, result.job_id)
        job = replace(job, plan=job.plan.model_copy(update={"thumbnail": TITLE}))
        clip = Path(result.video.local_path or "") if result.video else Path()
        stuck = thumbnails(_Stuck(tmp_path / "stuck"), tmp_path, limit_s=0.5)
        without, rows = await stuck.add(job, media_of(clip))
        assert (without.warnings, rows) == (("no thumbnail was made: it was not there in time",), ())


class _NoPicture:
    """Given media of which none can be had, for this reason."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def fetch_stored(self, url: str, path: Path, max_bytes: int) -> Path:
        raise self._error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (InvalidRequest("it could not be fetched"), "it could not be fetched"),
        (OSError(28, "No space left on device", "/spool/x"), "No space left on device"),
        (TimeoutError(), "it took too long"),
        (Undecodable("its decoder broke"), "its decoder broke"),
    ],
)
async def test_a_first_frame_that_cannot_be_read_is_told_with_its_reason(
    tmp_path: Path, error: Exception, told: str
) -> None:
    inputs: Any = _NoPicture(error)
    drawing = Thumbnails(
        inputs, LocalStorage(tmp_path / "files"), open_decoders(), spool=tmp_path, prefix="generated", font=None
    )
    plan = clip_plan(thumbnail=TITLE, image_url="https://pictures.example/a.jpg")
    (tmp_path / "clip").write_bytes(mp4())
    job, rows = await drawing.add(planned(kind="video", plan=plan), media_of(tmp_path / "clip"))
    assert rows == ()
    cannot = "used" if isinstance(error, Undecodable) else "read"
    assert job.warnings == (
        f"no thumbnail was made: the first frame cannot be {cannot} ({told}); "
        "the clip's first picture cannot be decoded",
    )
