"""How a sidecar is kept: what is asked for its parents, what is put down, and that its failures cost nothing."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.domain import Asset, Job, JobState, MediaFile
from ring_mcp.errors import LedgerError
from ring_mcp.jobs.sidecars import Sidecars, sidecar, upload_metadata
from ring_mcp.storage.base import StoredFile
from tests.fake_clock import let_pass
from tests.jobs.engine import clip_plan
from tests.ledger_samples import sample_asset, sample_job, sample_plan

STILL = sample_asset("i0")
SOURCE = "https://me:pw@clips.example/a.mp4?token=1"


@dataclass
class Place:
    """A ledger and a storage that answer as they are told. ``asked``: the look-ups, ``put_down``: what came."""

    rows: Mapping[tuple[str, str], Mapping[str, object]] = field(default_factory=dict)
    away: Exception | None = None
    trouble: Exception | None = None
    hangs: bool = False
    asked: list[tuple[str, ...]] = field(default_factory=list)
    put_down: list[tuple[str, MediaFile, bytes, Mapping[str, str]]] = field(default_factory=list)

    async def find_record(self, table: str, actor_id: str, name: str, value: str) -> Mapping[str, object] | None:
        self.asked.append((table, actor_id, name, value))
        if self.away is not None:
            raise self.away
        return self.rows.get((name, value))

    async def put(self, key: str, media: MediaFile, metadata: Mapping[str, str]) -> StoredFile:
        if self.hangs:
            let_pass(15.0)
            await asyncio.Event().wait()
        if self.trouble is not None:
            raise self.trouble
        self.put_down.append((key, media, media.path.read_bytes(), metadata))
        return StoredFile(url=f"https://files.example/{key}", key=key, size_bytes=1, content_type=media.content_type)

    def sidecars(self, spool: Path) -> Sidecars:
        here: Any = self
        return Sidecars(here, here, spool)


@pytest.fixture
def place() -> Place:
    return Place()


def clip_job(**plan: Any) -> tuple[Job, Asset]:
    job = replace(sample_job(JobState.STORING), kind="video", plan=clip_plan(**plan))
    return job, sample_asset("r1").model_copy(update={"index": 1})


async def test_a_sidecar_lies_beside_its_asset_and_nowhere_else(place: Place, tmp_path: Path) -> None:
    job, asset = clip_job()
    spool = tmp_path / "state" / "spool"  # the job may have begun on another machine
    told = await place.sidecars(spool).keep(job, asset)
    [(key, media, content, metadata)] = place.put_down
    assert (key, metadata) == (f"{asset.key}.json", {"jobId": job.id, "purpose": "sidecar"})
    assert content.decode() == json.dumps(sidecar(job, asset, []), indent=2, ensure_ascii=False) + "\n"
    assert (media.content_type, media.extension) == ("application/json", "json")
    assert (media.size_bytes, media.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert told == (asset.model_copy(update={"sidecar_url": f"https://files.example/{key}"}), ())
    assert (spool.stat().st_mode & 0o777, list(spool.iterdir())) == (0o700, [])


async def test_a_name_in_the_spool_that_leads_elsewhere_is_not_written_through(place: Place, tmp_path: Path) -> None:
    job, asset = clip_job()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"somebody's")
    (tmp_path / f"{job.id}-1.json").hardlink_to(elsewhere)
    await place.sidecars(tmp_path).keep(job, asset)
    assert (len(place.put_down), elsewhere.read_bytes()) == (1, b"somebody's")


async def test_an_internal_error_costs_the_sidecar_and_nothing_else(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job, asset = clip_job()
    place.trouble = ZeroDivisionError()
    told = await place.sidecars(tmp_path).keep(job, asset)
    assert told == (asset, ("output 2 is stored, its sidecar is not: internal error",))
    assert f"job {job.id}: no sidecar for output 2" in caplog.text
    assert list(tmp_path.iterdir()) == []


async def test_an_asset_waits_a_quarter_minute_for_its_sidecar(place: Place, tmp_path: Path) -> None:
    job, asset = clip_job()
    place.hangs = True
    async with asyncio.timeout(25.0):  # real time, of which a quarter minute is taken away
        told = await place.sidecars(tmp_path).keep(job, asset)
    assert told == (asset, ("output 2 is stored, its sidecar is not: it took too long",))
    assert list(tmp_path.iterdir()) == []


async def test_a_parent_is_looked_for_by_all_that_is_known_of_it(place: Place, tmp_path: Path) -> None:
    job, asset = clip_job(made_frame=STILL, source_video_url=SOURCE, remaster_from_request_id="r0")
    await place.sidecars(tmp_path).keep(job, asset)
    assert place.asked == [
        ("generated_images", job.actor_id, "id", "i0"),
        ("generated_images", job.actor_id, "url", STILL.url),
        ("generated_videos", job.actor_id, "requestId", "r0"),
        ("generated_videos", job.actor_id, "url", SOURCE),
    ]
    assert [parent.get("url") for parent in json.loads(place.put_down[0][2])["parents"]] == [
        STILL.url,
        "https://clips.example/a.mp4",
    ]


async def test_the_first_row_that_is_found_of_a_parent_counts(place: Place, tmp_path: Path) -> None:
    job, asset = clip_job(made_frame=STILL)
    place.rows = {("id", "i0"): {"id": "i0", "jobId": "j0", "sha256": None}, ("url", STILL.url): {"jobId": "another"}}
    await place.sidecars(tmp_path).keep(job, asset)
    assert len(place.asked) == 1
    [parent] = json.loads(place.put_down[0][2])["parents"]
    assert (parent["jobId"], parent["sha256"]) == ("j0", STILL.sha256), "what the row lacks is known of the plan"


async def test_a_picture_given_along_is_looked_for_among_pictures(place: Place, tmp_path: Path) -> None:
    job, asset = clip_job(image_url="https://pictures.example/a.jpg")
    await place.sidecars(tmp_path).keep(job, asset)
    assert place.asked == [("generated_images", job.actor_id, "url", "https://pictures.example/a.jpg")]


async def test_while_the_ledger_is_away_a_parent_has_its_plain_address(place: Place, tmp_path: Path) -> None:
    job, asset = clip_job(source_video_url=SOURCE)
    place.away = LedgerError("the ledger is away")
    _, warnings = await place.sidecars(tmp_path).keep(job, asset)
    assert warnings == ()
    assert json.loads(place.put_down[0][2])["parents"] == [
        {"role": "sourceVideo", "url": "https://clips.example/a.mp4"}
    ]


def test_a_picture_is_told_with_what_was_asked_of_it() -> None:
    plan = sample_plan().model_copy(update={"quality": "high", "seed": 7, "n": 2})
    told = sidecar(replace(sample_job(JobState.STORING), plan=plan), sample_asset(), [])
    assert told["parameters"] == {
        "aspectRatio": "16:9",
        "resolution": "2k",
        "purpose": plan.purpose,
        "quality": "high",
        "seed": 7,
        "n": 2,
    }
    assert told["parents"] == []


def test_a_storage_is_told_what_ring_tells_it_and_whose_it_is() -> None:
    job, _ = clip_job(purpose="promo", quality_mode="production", clip_id="c1")
    shared = {"source": "xai", "model": job.plan.model, "purpose": "promo", "jobId": job.id}
    own = {"qualityMode": "production", "generationKind": "generate", "clipId": "c1"}
    assert upload_metadata(replace(job, provider_request_id="r1")) == {**shared, **own, "requestId": "r1"}
    unset = replace(job, provider_request_id=None, plan=job.plan.model_copy(update={"clip_id": None, "purpose": ""}))
    assert upload_metadata(unset) == {
        "source": "xai",
        "model": job.plan.model,
        "jobId": job.id,
        "qualityMode": "production",
        "generationKind": "generate",
    }
    picture = sample_job(JobState.STORING, provider_request_id="r1")
    assert upload_metadata(picture) == {
        "source": "xai",
        "model": picture.plan.model,
        "purpose": picture.plan.purpose,
        "jobId": picture.id,
    }
