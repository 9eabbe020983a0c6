"""Ring's audit rows: which keys each kind of asset has, and whose word stands under them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from ring_mcp.domain import AuditRecord, Job, JobState
from ring_mcp.ledger.audit import asset_row, thumbnail_row
from tests.jobs.engine import clip_plan
from tests.ledger_samples import sample_asset, sample_job, sample_plan

ASSET = sample_asset("record-1").model_copy(
    update={"index": 1, "file_id": "f1", "sidecar_url": "https://files.example/a.json", "duration_s": None}
)
SHARED = {
    "actorId": "local",
    "purpose": "og",
    "refCode": "r1",
    "url": ASSET.url,
    "fileId": "f1",
    "size": ASSET.size_bytes,
    "createdAt": "2026-11-21T12:00:00.000Z",
    "contentType": "image/jpeg",
    "sha256": ASSET.sha256,
    "contentCredentials": "not looked at",
    "sidecarUrl": "https://files.example/a.json",
}


def picture(**plan: Any) -> Job:
    facts = {"purpose": "og", "ref_code": "r1", **plan}
    job = sample_job(JobState.STORING, plan=sample_plan().model_copy(update=facts))
    return replace(job, provider_request_id="request-1")


def clip(**plan: Any) -> Job:
    made = clip_plan(purpose="og", ref_code="r1", **plan)
    return replace(sample_job(JobState.STORING, kind="video", plan=made), provider_request_id="request-1")


def test_a_picture_has_every_key_of_ring_and_ours() -> None:
    facts = {"quality": "low", "reference_images": ("https://a.example/1.jpg",), "requested_model": "flagship"}
    job = replace(picture(**facts), served_model="grok-2", sandbox=True)
    row = asset_row(job, ASSET)
    assert (row.table, row.id) == ("generated_images", "record-1")
    assert row.data == {
        **SHARED,
        "provider": "xai",
        "model": "grok-imagine-image-2.0",
        "requestedModel": "flagship",
        "servedModel": "grok-2",
        "prompt": "a lighthouse at dusk",
        "resolution": "2k",
        "aspectRatio": "16:9",
        "quality": "low",
        "index": 1,
        "requestId": "request-1",
        "referenceImages": ("https://a.example/1.jpg",),
        "jobId": job.id,
        "sandbox": True,
    }


def test_what_is_not_known_is_no_key() -> None:
    bare = sample_asset("record-2")
    row = asset_row(sample_job(JobState.STORING), bare)
    assert not {"refCode", "quality", "fileId", "sidecarUrl", "servedModel", "sandbox", "referenceImages"} & set(
        row.data
    )
    assert None not in row.data.values()
    assert row.data["index"] == 0


def test_a_clip_has_every_key_of_ring_and_ours() -> None:
    frame, thumbnail = sample_asset(), sample_asset()
    job = clip(
        made_frame=frame.model_copy(update={"url": "https://files.example/frame.jpg"}),
        made_thumbnail=thumbnail.model_copy(update={"url": "https://files.example/thumbnail.png"}),
        last_frame_url="https://a.example/last.jpg",
        source_video_url="https://a.example/source.mp4",
        remaster_from_request_id="request-0",
        clip_id="c1",
        pipeline_request_id="p1",
    )
    row = asset_row(job, ASSET)
    assert row.table == "generated_videos"
    assert row.data == {
        **SHARED,
        "provider": "xai",
        "model": "grok-imagine-video",
        "requestedModel": "grok-imagine-video",
        "prompt": "the beam sweeps",
        "resolution": "480p",
        "qualityMode": "draft",
        "requestId": "request-1",
        "remasterFromRequestId": "request-0",
        "remasterFromVideoUrl": "https://a.example/source.mp4",
        "generationKind": "generate",
        "lastFrameUrl": "https://a.example/last.jpg",
        "firstFrameUrl": "https://files.example/frame.jpg",
        "thumbnailUrl": "https://files.example/thumbnail.png",
        "clipId": "c1",
        "pipelineRequestId": "p1",
        "duration": 6,
        "jobId": job.id,
    }


@pytest.mark.parametrize(("measured_s", "told_s"), [(Decimal("6.04"), 6.04), (None, 6)])
def test_a_clip_is_as_long_as_measured_else_as_asked_for(measured_s: Decimal | None, told_s: float) -> None:
    row = asset_row(clip(), ASSET.model_copy(update={"duration_s": measured_s}))
    assert row.data["duration"] == told_s


def test_the_model_that_served_a_clip_is_its_model() -> None:
    row = asset_row(replace(clip(resolution=None), served_model="grok-video-2"), ASSET)
    assert (row.data["model"], row.data["servedModel"]) == ("grok-video-2", "grok-video-2")
    assert row.data["resolution"] == "source"


@pytest.mark.parametrize(("kind", "extend"), [("extend", 6), ("edit", None), ("generate", None)])
def test_only_an_extension_says_by_how_much(kind: str, extend: int | None) -> None:
    assert asset_row(clip(generation_kind=kind), ASSET).data.get("extend") == extend


def test_a_thumbnail_is_a_picture_that_nobody_was_paid_for() -> None:
    job = clip()
    row = thumbnail_row(job, clip_plan(prompt="the beam"), ASSET, "9:16")
    assert isinstance(row, AuditRecord)
    assert (row.table, row.id) == ("generated_images", "record-1")
    assert row.data == {
        **SHARED,
        "prompt": "the beam",
        "aspectRatio": "9:16",
        "source": "scripted-media-thumbnail",
        "jobId": job.id,
    }
