"""The call of a tool that would ask for the same again: for an agent to make, never for a page. Pure."""

from __future__ import annotations

import json
from typing import Any

from ring_mcp.domain import ImagePlan, Job, Plan, VideoPlan

KEPT = "kept:"
"""How a plan names what came inline: nobody but this server knows it by that."""

_USUAL_PURPOSES = ("image", "video")


def write_tool_call(job: Job) -> str:
    """Name and arguments, as JSON."""
    return json.dumps(
        {"name": tool_of(job.plan), "arguments": repeat_arguments(job.plan)}, ensure_ascii=False, indent=2
    )


def tool_of(plan: Plan) -> str:
    return "ring-image-create" if isinstance(plan, ImagePlan) else "ring-video-create"


def list_inline(plan: Plan) -> int:
    """How many files came inline: whoever repeats the call has to give them again."""
    given = list(plan.reference_images)
    if isinstance(plan, VideoPlan):
        given += [plan.image_url or "", plan.last_frame_url or "", plan.source_video_url or ""]
    return sum(url.startswith(KEPT) for url in given)


def repeat_arguments(plan: Plan) -> dict[str, Any]:
    """The arguments of the create tool, without those that are not set and without what came inline."""
    arguments = _repeat_image(plan) if isinstance(plan, ImagePlan) else _repeat_video(plan)
    return {name: value for name, value in arguments.items() if value not in (None, "", [], False)}


def _repeat_image(plan: ImagePlan) -> dict[str, Any]:
    return {
        "prompt": plan.prompt,
        "provider": plan.provider,
        "model": plan.requested_model,
        "aspectRatio": plan.aspect_ratio,
        "resolution": plan.resolution,
        "quality": plan.asked_quality,
        "n": plan.n if plan.n > 1 else None,
        "seed": plan.seed,
        "referenceImages": _addresses(plan.reference_images),
        "purpose": plan.purpose if plan.purpose not in _USUAL_PURPOSES else None,
        "refCode": plan.ref_code,
    }


def _repeat_video(plan: VideoPlan) -> dict[str, Any]:
    frame, extends = plan.first_frame, plan.generation_kind == "extend"
    # A first frame that was made has an address now, but asking for the same again means its prompt.
    image_url = None if frame or plan.frame_job_id else _address(plan.image_url)
    arguments = {
        "prompt": plan.prompt,
        "provider": plan.provider,
        "qualityMode": plan.quality_mode,
        "model": plan.requested_model,
        # Of a given clip these follow from the clip, and were not asked for.
        "duration": None if plan.source_video_url else plan.duration_s,
        "aspectRatio": None if plan.source_video_url else plan.aspect_ratio,
        "resolution": None if plan.source_video_url else plan.resolution,
        "imageUrl": image_url,
        "firstFramePrompt": frame.prompt if frame else None,
        "imageProvider": frame.provider if frame else None,
        "imageModel": frame.requested_model if frame else None,
        "imageResolution": frame.resolution if frame else None,
        "referenceImages": _addresses(plan.reference_images),
        "lastFrameUrl": _address(plan.last_frame_url),
        "sourceVideoUrl": _address(plan.source_video_url),
        "extend": plan.duration_s if extends else None,
        "remaster": bool(plan.source_video_url) and not extends,
        "remasterFromRequestId": plan.remaster_from_request_id,
        "clipId": plan.clip_id,
        "pipelineRequestId": plan.pipeline_request_id,
        "purpose": plan.purpose if plan.purpose not in _USUAL_PURPOSES else None,
        "refCode": plan.ref_code,
        "thumbnail": _repeat_thumbnail(plan),
    }
    # As a word, which the tool reads as well: False is dropped with all that is not set, and here it is set.
    return arguments if plan.persist else {**arguments, "persistToFilebase": "false"}


def _repeat_thumbnail(plan: VideoPlan) -> dict[str, Any] | None:
    wanted = plan.thumbnail
    if wanted is None:
        return None
    told = {"enabled": True, "template": wanted.template, "aspectRatio": wanted.aspect_ratio}
    overlays = [overlay.model_dump(mode="json") for overlay in wanted.overlays]
    return {name: value for name, value in {**told, "overlays": overlays}.items() if value not in (None, [])}


def _address(url: str | None) -> str | None:
    return None if url is None or url.startswith(KEPT) else url


def _addresses(urls: tuple[str, ...]) -> list[str]:
    return [url for url in urls if not url.startswith(KEPT)]
