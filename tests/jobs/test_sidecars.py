"""Provenance: the provider's bytes untouched, and beside each asset what it was made from, with what, for how much."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.app import App
from ring_mcp.domain import Asset, ImageRequest, JobState, VideoRequest
from ring_mcp.jobs.sidecars import Parent, Sidecars, parents_of, sidecar
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.storage.local import LocalStorage
from tests.conductors.running import ACTOR, running, spool_is_empty
from tests.jobs.engine import clip_plan
from tests.ledger_samples import sample_asset, sample_job, sample_plan
from tests.provenance_samples import signed_jpeg
from tests.s3_servers import BUCKET, KEY_ID, SECRET, BucketServer, bucket_server

ON = {"RING_SIDECAR": "on"}
KITE = ImageRequest(prompt="A kite nobody may read of", aspect_ratio="1:1")


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[BucketServer]:
    with bucket_server(tmp_path / "s3") as server:
        yield server


async def assets_of(app: App, job_id: str | None) -> tuple[Asset, ...]:
    job = await app.ledger.get(job_id or "")
    assert job is not None
    return job.assets


async def told_beside(app: App, job_id: str | None) -> dict[str, Any]:
    """The sidecar of a job's first asset."""
    (asset, *_) = await assets_of(app, job_id)
    path = app.storage.local_path(asset.sidecar_url or "")
    assert path is not None
    assert path.name == f"{asset.key.rsplit('/', 1)[-1]}.json"
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return told


async def test_a_still_its_clip_and_the_clips_remaster_can_be_followed_back(
    sandbox: SandboxServer, tmp_path: Path
) -> None:
    async with running(sandbox, tmp_path, **ON) as app:
        clip = await app.videos.generate(
            VideoRequest(prompt="It turns", duration_s=1, first_frame_prompt="A boat"), actor_id=ACTOR
        )
        assert clip.first_frame is not None
        assert clip.video is not None
        remaster = await app.videos.generate(
            VideoRequest(
                prompt="Again",
                duration_s=1,
                remaster=True,
                remaster_from_request_id=clip.request_id,
                source_video_url=clip.video.url,
            ),
            actor_id=ACTOR,
        )
        assert remaster.success, remaster.error
        (last,) = (await told_beside(app, remaster.job_id))["parents"]
        (first,) = (await told_beside(app, last["jobId"]))["parents"]
        still = await told_beside(app, first["jobId"])
    assert last == {
        "role": "remasterOf",
        "url": clip.video.url,
        "requestId": clip.request_id,
        "recordId": clip.video.record_id,
        "jobId": clip.job_id,
        "sha256": clip.video.sha256,
    }
    assert (first["role"], first["url"], first["sha256"]) == (
        "firstFrame",
        clip.first_frame.url,
        clip.first_frame.sha256,
    )
    assert still["asset"]["recordId"] == first["recordId"] == clip.first_frame.record_id
    assert still["parents"] == []


async def test_a_sidecar_tells_all_but_the_prompt(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path, **ON) as app:
        result = await app.images.generate(replace(KITE, n=2), actor_id=ACTOR)
        told = await told_beside(app, result.job_id)
        rows = await app.ledger.records("generated_images", [image.record_id for image in result.images])
        assets = await assets_of(app, result.job_id)
    assert told["schemaVersion"] == "1.1"
    assert told["prompt"] == {"sha256": hashlib.sha256(KITE.prompt.encode()).hexdigest()}
    assert told["asset"]["sha256"] == result.images[0].sha256
    assert told["model"] == {"requested": result.model, "used": result.model}  # what served it was not said
    assert told["cost"]["billedUsd"] == float(result.billed_cost_usd or 0)
    assert (told["job"]["jobId"], told["job"]["outputs"], told["job"]["sandbox"]) == (result.job_id, 2, True)
    assert told["parameters"]["aspectRatio"] == "1:1"
    assert KITE.prompt not in json.dumps(told)
    assert sorted(str(row["sidecarUrl"]) for row in rows) == sorted(str(asset.sidecar_url) for asset in assets)
    assert await spool_is_empty(tmp_path)


async def test_without_the_switch_there_is_none(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path) as app:
        result = await app.images.generate(KITE, actor_id=ACTOR)
    assert result.success
    assert list(tmp_path.rglob("*.json")) == []


async def test_a_sidecar_that_cannot_be_stored_is_a_warning(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.faults.add("ringbase_401", times=-1, after=1, path="/upload")
    async with running(sandbox, tmp_path, FILE_BACKEND="ringbase", **ON) as app:
        result = await app.images.generate(KITE, actor_id=ACTOR)
        (asset,) = await assets_of(app, result.job_id)
    assert result.success
    assert asset.sidecar_url is None
    assert any("its sidecar is not: RingBase upload failed (401)" in warning for warning in result.warnings or ())


async def test_a_sidecar_in_ring_filebase_has_its_own_type(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path, FILE_BACKEND="ringbase", **ON) as app:
        result = await app.images.generate(KITE, actor_id=ACTOR)
        (asset,) = await assets_of(app, result.job_id)
    image, beside = sandbox.state.uploads.all()
    assert (beside.filename, beside.mime_type) == (f"{image.filename}.json", "application/json")
    assert asset.sidecar_url is not None
    assert asset.sidecar_url.endswith(beside.id)


async def test_a_sidecar_in_a_private_bucket_has_no_signature_in_it(
    sandbox: SandboxServer, bucket: BucketServer, tmp_path: Path
) -> None:
    async with running(
        sandbox,
        tmp_path,
        FILE_BACKEND="s3",
        RING_S3_BUCKET=BUCKET,
        AWS_ENDPOINT_URL=bucket.url,
        AWS_ACCESS_KEY_ID=KEY_ID,
        AWS_SECRET_ACCESS_KEY=SECRET,
        **ON,
    ) as app:
        clip = await app.videos.generate(
            VideoRequest(prompt="It turns", duration_s=1, first_frame_prompt="A boat"), actor_id=ACTOR
        )
    assert clip.success
    sidecars = [path.read_text() for path in bucket.objects() if path.suffix == ".json"]
    assert len(sidecars) == 2
    assert not [text for text in sidecars if "X-Amz" in text or KEY_ID in text]


async def test_a_parent_of_somebody_else_is_told_by_its_plain_address_alone(
    sandbox: SandboxServer, tmp_path: Path
) -> None:
    async with running(sandbox, tmp_path, **ON) as app:
        still = await app.images.generate(KITE, actor_id="somebody else")
        made = await app.videos.generate(
            VideoRequest(prompt="It flies", duration_s=1, image_url=still.url), actor_id=ACTOR
        )
        (parent,) = (await told_beside(app, made.job_id))["parents"]
    assert parent == {"role": "image", "url": (still.url or "").rsplit("/", 1)[-1]}


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://me:pw@cdn.example.org/a.png?X-Amz-Signature=1#x", "https://cdn.example.org/a.png"),
        ("file:///home/me/private/a.png", "a.png"),
        ("/home/me/private/a.png", "a.png"),
    ],
)
def test_the_address_of_a_stranger_is_told_without_what_opens_it(url: str, told: str) -> None:
    assert Parent(role="image", url=url).fill_from_row(None).url == told


def test_the_same_job_and_asset_give_the_same_file() -> None:
    job, asset = sample_job(JobState.STORING, billed_usd=Decimal("0.06")), sample_asset("r")
    first = json.dumps(sidecar(job, asset, []))
    assert first == json.dumps(sidecar(replace(job, version=9, progress=3, owner="another"), asset, []))
    assert "null" not in first


async def test_putting_a_sidecar_again_after_a_crash_changes_nothing(sandbox: SandboxServer, tmp_path: Path) -> None:
    async with running(sandbox, tmp_path, **ON) as app:
        result = await app.images.generate(KITE, actor_id=ACTOR)
        job = await app.ledger.get(result.job_id or "")
        assert job is not None
        path = app.storage.local_path(job.assets[0].sidecar_url or "")
        assert path is not None
        before = (path.read_bytes(), path.stat().st_mtime_ns)
        assert isinstance(app.storage, LocalStorage)
        again, warnings = await Sidecars(app.storage, app.ledger, tmp_path).keep(job, job.assets[0])
        assert (again, warnings) == (job.assets[0], ())
        assert (path.read_bytes(), path.stat().st_mtime_ns) == before


async def test_what_the_provider_wrote_into_a_picture_is_stored_as_it_is(tmp_path: Path) -> None:
    async with (
        SandboxServer(settings={"show_prompt": False}) as own_sandbox,
        running(own_sandbox, tmp_path, **ON) as app,
    ):
        await app.images.generate(KITE, actor_id=ACTOR)  # now the sandbox has painted this size
        (painted,) = own_sandbox.state.folder.rglob("*.jpg")
        sent = signed_jpeg(painted.read_bytes())
        painted.write_bytes(sent)
        result = await app.images.generate(replace(KITE, prompt="Another"), actor_id=ACTOR)
        (row,) = await app.ledger.records("generated_images", [result.images[0].record_id])
    assert Path(result.images[0].local_path or "").read_bytes() == sent
    assert row["sha256"] == hashlib.sha256(sent).hexdigest()


def test_a_sidecar_says_everything_that_is_known_of_an_asset() -> None:
    plan = clip_plan(clip_id="c1", purpose="promo", quality_mode="production", resolution="720p")
    job = replace(
        sample_job(JobState.DONE),
        kind="video",
        plan=plan,
        provider_request_id="request-1",
        served_model="grok-imagine-video-0.9",
        billed_usd=Decimal("0.31"),
        sandbox=True,
    )
    asset = sample_asset("record-1").model_copy(
        update={
            "file_id": "f1",
            "width_px": 1280,
            "height_px": 720,
            "duration_s": Decimal("6.04"),
            "content_credentials": "unsigned",
        }
    )
    of = {"url": "https://files.example/s.jpg", "request_id": "r0", "record_id": "i0", "job_id": "j0", "sha256": "ab"}
    told = sidecar(job, asset, [Parent(role="firstFrame", **of)])
    assert told.pop("generator")["name"] == "ring-mcp"
    assert told == {
        "schemaVersion": "1.1",
        "asset": {
            "url": asset.url,
            "key": asset.key,
            "fileId": "f1",
            "recordId": "record-1",
            "sha256": asset.sha256,
            "size": asset.size_bytes,
            "contentType": asset.content_type,
            "width": 1280,
            "height": 720,
            "duration": 6.04,
            "contentCredentials": "unsigned",
        },
        "job": {
            "jobId": job.id,
            "kind": "video",
            "index": asset.index,
            "outputs": len(job.outputs),
            "createdAt": "2026-11-21T12:00:00.000Z",
            "provider": "xai",
            "requestId": "request-1",
            "sandbox": True,
        },
        "model": {"requested": plan.model, "used": plan.model, "served": "grok-imagine-video-0.9"},
        "prompt": {"sha256": hashlib.sha256(plan.prompt.encode()).hexdigest()},
        "parameters": {
            "aspectRatio": "16:9",
            "resolution": "720p",
            "purpose": "promo",
            "qualityMode": "production",
            "generationKind": "generate",
            "duration": 6,
        },
        "cost": {"billedUsd": 0.31, "listUsd": 0.3},
        "parents": [
            {
                "role": "firstFrame",
                "url": "https://files.example/s.jpg",
                "requestId": "r0",
                "recordId": "i0",
                "jobId": "j0",
                "sha256": "ab",
            }
        ],
    }


def test_what_a_plan_is_made_from_has_its_part_in_it() -> None:
    still = sample_asset("i0")
    image, source = "https://example.com/a.jpg", "https://example.com/a.mp4"
    assert parents_of(sample_plan()) == parents_of(clip_plan()) == []
    assert parents_of(clip_plan(made_frame=still)) == [
        Parent(role="firstFrame", url=still.url, record_id="i0", sha256=still.sha256)
    ]
    assert parents_of(clip_plan(image_url=image)) == [Parent(role="image", url=image)]
    assert parents_of(clip_plan(source_video_url=source)) == [Parent(role="sourceVideo", url=source)]
    again = {"remaster_from_request_id": "r0"}
    assert parents_of(clip_plan(source_video_url=source, **again)) == [
        Parent(role="remasterOf", url=source, request_id="r0")
    ]
    assert parents_of(clip_plan(**again)) == [Parent(role="remasterOf", request_id="r0")]
