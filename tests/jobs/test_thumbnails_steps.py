"""Each step of a thumbnail, with a decoder that draws nothing: what is fetched, by whom it is read, what is kept."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.domain import Asset, Job, JobState, MediaFile, Overlay, Thumbnail
from ring_mcp.errors import StorageError
from ring_mcp.extras import install_line
from ring_mcp.jobs.thumbnails import Thumbnails
from ring_mcp.media.decoding import Decoders
from ring_mcp.media.natives import Undecodable
from ring_mcp.storage.base import Address, StoredFile
from tests.fake_clock import let_pass
from tests.jobs.engine import clip_plan
from tests.ledger_samples import sample_asset, sample_job

PICTURE, FRAME, POSTER = b"a caller's picture", b"a first frame", b"the clip's own picture"
TITLE = Thumbnail(template="title_card", overlays=(Overlay(text="Dusk", role="title"),))
GIVEN = "https://pictures.example/a.jpg"
LOST_IN = 45.0
"""Real time, on a clock of which half a minute is taken away."""


class Natives:
    """Every thumbnail is its background's bytes."""

    def __init__(self, makes: Sequence[str] | None = (), poster: bytes | Exception | None = POSTER) -> None:
        self.makes, self.poster = makes, poster
        self.asked: list[tuple[Any, ...]] = []

    def write_thumbnail(
        self, spec: Thumbnail, background: Path, canvas: str, target: Path, *, font: Path | None
    ) -> Sequence[str] | None:
        self.asked.append((spec, background.name, canvas, font))
        target.write_bytes(background.read_bytes())
        return self.makes

    def write_poster(self, clip: Path, poster: Path) -> bool:
        if isinstance(self.poster, Exception):
            raise self.poster
        if self.poster is None:
            return False
        poster.write_bytes(self.poster)
        return True


class Decoding:
    def __init__(self, natives: Natives) -> None:
        self.natives = natives

    async def run(self, work: Callable[..., Any], *args: Any) -> Any:
        return work(self.natives, *args)


@dataclass
class Bench:
    """A maker of thumbnails, what it reaches for, and what it keeps."""

    folder: Path
    results: Natives = field(default_factory=Natives)
    given: Natives = field(default_factory=Natives)
    fetched: list[tuple[str, str, int]] = field(default_factory=list)
    put_down: list[tuple[str, MediaFile, Mapping[str, str]]] = field(default_factory=list)
    content: Any = PICTURE
    trouble: Exception | None = None
    hangs_after_s: float | None = None

    @property
    def maker(self) -> Thumbnails:
        here: Any = self
        results, given = (Decoding(natives) for natives in (self.results, self.given))
        decoders: Any = Decoders(results=results, given=given)  # type: ignore[arg-type]
        font = Path("~/a.ttf")
        return Thumbnails(here, here, decoders, spool=self.folder, prefix="generated", font=font)

    async def fetch_stored(self, url: str, path: Path, max_bytes: int) -> Path:
        self.fetched.append((url, path.name, max_bytes))
        if isinstance(self.content, Exception):
            raise self.content
        path.write_bytes(self.content if isinstance(self.content, bytes) else await self.content())
        return path

    async def address(self, url: str, key: str | None = None) -> Address:
        return Address(f"{url}?signed={key}")

    async def put(self, key: str, media: MediaFile, metadata: Mapping[str, str]) -> StoredFile:
        if self.hangs_after_s is not None:
            let_pass(self.hangs_after_s)
            await asyncio.Event().wait()
        if self.trouble is not None:
            raise self.trouble
        self.put_down.append((key, media, metadata))
        return StoredFile(
            key=key,
            url=f"https://files.example/{key}",
            size_bytes=media.size_bytes,
            content_type=media.content_type,
            file_id="f1",
            local_path="/kept/here",
        )

    def clip(self, **facts: Any) -> MediaFile:
        path = self.folder / "clip.mp4"
        path.write_bytes(b"a clip")
        told: dict[str, Any] = {"size_bytes": 6, "sha256": "0" * 64, "content_type": "video/mp4", "extension": "mp4"}
        return MediaFile(path=path, **(told | facts))

    def left(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def job_with(**plan: Any) -> Job:
    facts = {"thumbnail": TITLE, "purpose": "promo"}
    return replace(
        sample_job(JobState.STORING), kind="video", plan=clip_plan(**(facts | plan)), warnings=("said before",)
    )


def made(job: Job) -> Asset:
    asset: Asset | None = job.plan.made_thumbnail  # type: ignore[union-attr]
    assert asset is not None
    return asset


async def test_a_thumbnail_is_kept_with_all_that_is_known_of_it(bench: Bench) -> None:
    job = job_with()
    bench.results.makes = ("the text was cut",)
    after, [row] = await bench.maker.add(job, bench.clip(width_px=720, height_px=1280))
    [(key, media, metadata)] = bench.put_down
    digest = hashlib.sha256(job.id.encode()).hexdigest()[:8]
    assert key == f"generated/promo/thumbnails/{int(job.created_at.timestamp() * 1000)}-{digest}.png"
    facts = {"source": "scripted-media-thumbnail", "template": "title_card", "purpose": "promo", "jobId": job.id}
    assert metadata == facts
    assert (media.content_type, media.extension, media.width_px, media.height_px) == ("image/png", "png", 720, 1280)
    assert made(after) == Asset(
        index=0,
        url=f"https://files.example/{key}",
        key=key,
        size_bytes=len(POSTER),
        content_type="image/png",
        sha256=hashlib.sha256(POSTER).hexdigest(),
        record_id=str(uuid.uuid5(uuid.UUID(job.id), "thumbnail")),
        file_id="f1",
        local_path="/kept/here",
        width_px=720,
        height_px=1280,
        content_credentials="absent",
    )
    assert after.warnings == ("said before", "thumbnail: the text was cut")
    assert (row.id, row.data["aspectRatio"]) == (made(after).record_id, "9:16")
    assert bench.results.asked == [(TITLE, f"{job.id}-frame.jpg", "9:16", Path("~/a.ttf").expanduser())]
    assert (bench.fetched, bench.given.asked, bench.left()) == ([], [], ["clip.mp4"])


@pytest.mark.parametrize("job", [job_with(thumbnail=None), sample_job(JobState.STORING)])
async def test_where_no_thumbnail_was_asked_for_nothing_is_done(bench: Bench, job: Job) -> None:
    assert await bench.maker.add(job, bench.clip()) == (job, ())
    assert (bench.put_down, bench.fetched) == ([], [])


@pytest.mark.parametrize(
    ("plan", "canvas"),
    [
        ({"aspect_ratio": "9:16"}, "9:16"),
        ({"aspect_ratio": "1:1"}, "1:1"),
        ({"aspect_ratio": None}, "16:9"),
        ({"thumbnail": TITLE.model_copy(update={"aspect_ratio": "9:16"})}, "9:16"),
    ],
)
async def test_a_clip_of_unknown_size_has_the_canvas_asked_for(
    bench: Bench, plan: Mapping[str, Any], canvas: str
) -> None:
    await bench.maker.add(job_with(**plan), bench.clip())
    assert [asked[2] for asked in bench.results.asked] == [canvas]


async def test_a_callers_picture_is_read_where_it_can_break_no_result(bench: Bench) -> None:
    job = job_with(image_url=GIVEN)
    after, _ = await bench.maker.add(job, bench.clip())
    name = f"{job.id}-frame.picture"
    assert bench.fetched == [(GIVEN, name, 10 * 1024**2)]
    assert ([asked[1] for asked in bench.given.asked], bench.results.asked) == ([name], [])
    assert made(after).sha256 == hashlib.sha256(PICTURE).hexdigest()
    assert (after.warnings, bench.left()) == (("said before",), ["clip.mp4"])


async def test_a_made_first_frame_is_read_with_the_results(bench: Bench) -> None:
    frame = sample_asset()
    job, bench.content = job_with(made_frame=frame, image_url=GIVEN), FRAME
    after, _ = await bench.maker.add(job, bench.clip())
    assert [fetched[0] for fetched in bench.fetched] == [f"{frame.url}?signed={frame.key}"]
    assert (len(bench.results.asked), bench.given.asked) == (1, [])
    assert made(after).sha256 == hashlib.sha256(FRAME).hexdigest()


async def test_a_frame_that_shows_nothing_gives_way_to_the_clips_own(bench: Bench) -> None:
    bench.given.makes, bench.results.makes = None, ("no such font",)
    after, _ = await bench.maker.add(job_with(image_url=GIVEN), bench.clip())
    assert made(after).sha256 == hashlib.sha256(POSTER).hexdigest()
    assert after.warnings == (
        "said before",
        "thumbnail: the first frame cannot be decoded: it shows the clip's own",
        "thumbnail: no such font",
    )


async def test_a_frame_is_waited_for_ten_seconds(bench: Bench) -> None:
    async def hang() -> bytes:
        let_pass(10.0)
        await asyncio.Event().wait()
        raise AssertionError

    bench.content = hang
    drawing = bench.maker
    drawing._limit_s = 15.0  # otherwise both limits would be told apart after ten seconds more
    after, _ = await drawing.add(job_with(image_url=GIVEN), bench.clip())
    assert after.warnings[1:] == (
        "thumbnail: the first frame cannot be read (it took too long): it shows the clip's own",
    )


async def test_a_finished_clip_waits_half_a_minute_for_its_thumbnail(bench: Bench) -> None:
    bench.hangs_after_s = 30.0
    async with asyncio.timeout(LOST_IN):
        after, rows = await bench.maker.add(job_with(), bench.clip())
    assert (after.warnings[1:], rows) == (("no thumbnail was made: it was not there in time",), ())
    assert bench.left() == ["clip.mp4"]


@pytest.mark.parametrize(
    ("poster", "told"),
    [
        (None, "the clip's first picture cannot be decoded"),
        (Undecodable("its decoder broke"), "the clip's first picture cannot be used (its decoder broke)"),
    ],
)
async def test_a_clip_that_shows_nothing_has_no_thumbnail(bench: Bench, poster: Any, told: str) -> None:
    job, bench.results.poster = job_with(), poster
    assert await bench.maker.add(job, bench.clip()) == (
        replace(job, warnings=("said before", f"no thumbnail was made: {told}")),
        (),
    )


async def test_without_the_extra_for_clips_its_name_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)  # as where it is not installed
    bench.given.makes = None
    after, rows = await bench.maker.add(job_with(image_url=GIVEN), bench.clip())
    assert after.warnings[1].startswith(
        "no thumbnail was made: the first frame cannot be decoded; the first picture of a clip needs an extra: "
    )
    assert after.warnings[1].endswith(install_line("video"))
    assert (rows, bench.results.asked) == ((), [])


async def test_an_internal_error_costs_the_thumbnail_and_not_the_clip(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    job, bench.trouble = job_with(), ZeroDivisionError()
    after, rows = await bench.maker.add(job, bench.clip())
    warnings = ("said before", "no thumbnail was made: internal error (ZeroDivisionError)")
    assert (after, rows) == (replace(job, warnings=warnings), ())
    assert f"job {job.id}: no thumbnail" in caplog.text
    assert bench.left() == ["clip.mp4"]


# Drawn again, for a clip that was stored long ago


def stored_job(**facts: Any) -> tuple[Job, Asset]:
    asset = sample_asset().model_copy(
        update={"content_type": "video/mp4", "width_px": 1080, "height_px": 1080, "duration_s": None}
    )
    said = ("said before", "thumbnail: the text was cut", "no thumbnail was made: it was not there in time")
    job = replace(job_with(thumbnail=None, made_thumbnail=sample_asset()), assets=(asset,), warnings=said)
    return replace(job, **facts), asset


async def test_another_thumbnail_of_a_stored_clip_stands_beside_the_first(bench: Bench) -> None:
    job, asset = stored_job()
    after, [row] = await bench.maker.draw_again(job, TITLE)
    assert bench.fetched == [(f"{asset.url}?signed={asset.key}", f"{job.id}-stored.clip", 50 * 1024**2)]
    suffix = f"-{hashlib.sha256(TITLE.model_dump_json().encode()).hexdigest()[:8]}"
    digest = hashlib.sha256(f"{job.id}{suffix}".encode()).hexdigest()[:8]
    assert made(after).key.endswith(f"-{digest}.png")
    assert made(after).record_id == row.id == str(uuid.uuid5(uuid.UUID(job.id), f"thumbnail{suffix}"))
    assert [asked[2] for asked in bench.results.asked] == ["1:1"], "as the clip was measured"
    assert after.plan.thumbnail == TITLE  # type: ignore[union-attr]
    assert (after.warnings, bench.left()) == (("said before",), [])


@pytest.mark.parametrize(
    ("facts", "trouble", "told"),
    [
        ({"assets": ()}, None, "no copy of it was kept"),
        ({}, StorageError("the bucket is away"), "the bucket is away"),
        ({}, OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
    ],
)
async def test_a_stored_clip_that_cannot_be_read_is_a_warning(
    bench: Bench, facts: Mapping[str, Any], trouble: Exception | None, told: str
) -> None:
    job, _ = stored_job(**facts)
    begun = bench.folder / f"{job.id}-stored.clip"
    begun.write_bytes(b"half of it")
    bench.content = trouble
    after, rows = await bench.maker.draw_again(job, TITLE)
    assert after.warnings == ("said before", f"no thumbnail was made: the clip cannot be read ({told})")
    assert (after.plan.made_thumbnail, rows) == (None, ())  # type: ignore[union-attr]
    assert (bench.put_down, bench.left()) == ([], [])


async def test_a_stored_clip_is_waited_for_half_a_minute(bench: Bench) -> None:
    async def hang() -> bytes:
        let_pass(30.0)
        await asyncio.Event().wait()
        raise AssertionError

    bench.content = hang
    job, _ = stored_job()
    async with asyncio.timeout(LOST_IN):
        after, _ = await bench.maker.draw_again(job, TITLE)
    assert after.warnings[-1] == "no thumbnail was made: the clip cannot be read (it took too long)"
