"""Ring's audit rows: one in ``generated_images`` or ``generated_videos`` for each stored file, Ring's keys first.

A row's id is made from the job's, so that writing it again after a crash changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ring_mcp.clock import to_iso
from ring_mcp.domain import Asset, AuditRecord, ImagePlan, Job, VideoPlan

THUMBNAIL_SOURCE = "scripted-media-thumbnail"
"""What Ring writes as the source of a thumbnail, in place of a provider."""


def asset_row(job: Job, asset: Asset) -> AuditRecord:
    """The row of a picture or a clip that a provider made."""
    plan = job.plan
    made_by: dict[str, Any] = {
        "actorId": job.actor_id,
        "provider": plan.provider,
        "model": plan.model,
        "prompt": plan.prompt,
        "resolution": plan.resolution,
        "referenceImages": plan.reference_images or None,
    }
    if isinstance(plan, ImagePlan):
        facts = {**made_by, **_picture_facts(job, plan, asset)}
    else:
        facts = {**made_by, **_clip_facts(job, plan, asset)}
    ours = {"requestedModel": plan.requested_model, "servedModel": job.served_model}
    return _row("generated_images" if job.kind == "image" else "generated_videos", job, asset, facts, ours)


def thumbnail_row(job: Job, plan: VideoPlan, asset: Asset, canvas: str) -> AuditRecord:
    """The row of a clip's thumbnail: no provider made it, and it cost nothing."""
    facts = {"actorId": job.actor_id, "prompt": plan.prompt, "aspectRatio": canvas, "source": THUMBNAIL_SOURCE}
    return _row("generated_images", job, asset, facts, {})


def _picture_facts(job: Job, plan: ImagePlan, asset: Asset) -> dict[str, Any]:
    return {
        "aspectRatio": plan.aspect_ratio,
        "quality": plan.quality,
        "index": asset.index,
        "requestId": job.provider_request_id,
    }


def _clip_facts(job: Job, plan: VideoPlan, asset: Asset) -> dict[str, Any]:
    return {
        "model": job.served_model or plan.model,
        "qualityMode": plan.quality_mode,
        # None for an edit or extension: as large as its source, whose size is not known.
        "resolution": plan.resolution or "source",
        "requestId": job.provider_request_id,
        "remasterFromRequestId": plan.remaster_from_request_id,
        "remasterFromVideoUrl": plan.source_video_url,
        "generationKind": plan.generation_kind,
        "extend": plan.duration_s if plan.generation_kind == "extend" else None,
        "lastFrameUrl": plan.last_frame_url,
        "firstFrameUrl": plan.made_frame.url if plan.made_frame else None,
        "thumbnailUrl": plan.made_thumbnail.url if plan.made_thumbnail else None,
        "clipId": plan.clip_id,
        "pipelineRequestId": plan.pipeline_request_id,
        "duration": float(asset.duration_s) if asset.duration_s is not None else plan.duration_s,
    }


def _row(
    table: Literal["generated_images", "generated_videos"],
    job: Job,
    asset: Asset,
    facts: Mapping[str, Any],
    ours: Mapping[str, Any],
) -> AuditRecord:
    data = {
        **facts,
        "purpose": job.plan.purpose,
        "refCode": job.plan.ref_code,
        "url": asset.url,
        "fileId": asset.file_id,
        "size": asset.size_bytes,
        # The job's time and not the present one: written again after a crash, the row is the same.
        "createdAt": to_iso(job.created_at),
        "contentType": asset.content_type,
        "sha256": asset.sha256,
        "sidecarUrl": asset.sidecar_url,
        "contentCredentials": asset.content_credentials,
        "jobId": job.id,
        **ours,
        # Left out if false: Ring's own rows have no such key.
        "sandbox": job.sandbox or None,
    }
    return AuditRecord(table=table, id=asset.record_id, data={k: v for k, v in data.items() if v is not None})
