"""What is given with a call and would change nothing of what is paid for: refused before the spend, with the remedy.

Ring's own script client sends its file's settings along with every clip, whatever comes of it: the call of a campaign
(``pipelineRequestId``) is told of them and goes on. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal

from ring_mcp.domain import GenerationKind, VideoRequest
from ring_mcp.domain.choices import choose
from ring_mcp.errors import InvalidRequest
from ring_mcp.plans.rules import any_of, doubt, join_names, ratio_of
from ring_mcp.presets import VideoModel

# A duration has whole seconds and a source tenths: whoever rounds the source's own length asks for nothing else.
_HALF_A_SECOND = Decimal("0.5")

_SAME_SHAPE = 0.04
"""By how much two shapes may differ and still be one: sides are whole multiples of something, and none is exact."""


def check_effect(request: VideoRequest, kind: GenerationKind, model: VideoModel) -> list[str]:
    """Raises InvalidRequest for what would change nothing of the clip; of a campaign's call, a warning for each.

    What Ring's contract has a meaning for is none of it: ``qualityMode`` and ``resolution`` with ``remaster``, which
    has its own, and ``firstFramePrompt`` beside ``imageUrl``, which wins.
    """
    if kind == "generate" and request.source_video_url:
        raise InvalidRequest(
            "sourceVideoUrl has no effect by itself: set remaster: true to edit that clip, or extend to make it "
            "longer, or leave sourceVideoUrl out"
        )
    if request.thumbnail is not None and not request.persist:
        raise InvalidRequest(
            "thumbnail has no effect with persistToFilebase: false, which fetches nothing; leave one of them out"
        )
    asked_s, source_s = request.duration_s, request.source_s
    if kind == "edit" and asked_s is not None and source_s is not None and abs(asked_s - source_s) > _HALF_A_SECOND:
        raise InvalidRequest(
            f"duration has no effect on an edit, which lasts as long as its source, {source_s} s; leave duration out, "
            "or leave sourceVideoUrl out to make the clip anew"
        )
    if kind == "extend":
        _refuse(
            _list_given(_of_a_new_clip(request) | _of_a_still(request)),
            "without effect with extend, which adds its own seconds in the source clip's shape; leave that out",
        )
        return []
    warnings: list[str] = []
    if kind == "edit":
        warnings += _check_edit(request, model)
    elif not request.first_frame_prompt or request.image_url:
        why = "imageUrl is the first frame" if request.image_url else "no first frame is made"
        warnings += _tell(
            request,
            _list_given(_of_a_still(request)),
            f"without effect, for {why}; leave that out, or give firstFramePrompt"
            + (" in place of imageUrl" if request.image_url else "")
            + " to have one made (model and resolution are the clip's own)",
        )
    return warnings


def _check_edit(request: VideoRequest, model: VideoModel) -> list[str]:
    asked = {"aspectRatio": request.aspect_ratio, "imageUrl": request.image_url, **_of_a_still(request)}
    asked["firstFramePrompt"] = request.first_frame_prompt
    if not model.edit_resolutions:
        asked["resolution"] = request.resolution
    warnings = _tell(
        request,
        _list_given(asked),
        "without effect on an edit, which keeps the source clip's shape; leave that out, or leave sourceVideoUrl "
        "out to make the clip anew",
    )
    sizes = model.edit_resolutions
    if sizes and request.resolution and choose(request.resolution, sizes) is None:
        why = (
            f"an edit is made in {any_of(sizes)}{doubt(model, 'edit_resolutions')}; leave resolution out for {sizes[0]}"
        )
        warnings += _tell(request, ["resolution"], f"without effect: {why}")
    return warnings


def check_shape(
    wanted: str | None,
    shape_px: tuple[int, int] | None,
    what: str,
    *,
    is_campaign: bool = False,
) -> list[str]:
    """Whether a picture that decides the shape has the one that is asked for. ``what`` says which takes whose.

    Raises InvalidRequest where it was measured and has another; unmeasured it is a warning.
    """
    asked = ratio_of(wanted) if wanted else None
    if asked is None:
        return []
    if shape_px is not None:
        width_px, height_px = shape_px
        if abs(math.log(width_px / height_px / asked)) < _SAME_SHAPE:
            return []
        if not is_campaign:
            raise InvalidRequest(
                f"aspectRatio has no effect: {what}, here {width_px}x{height_px}; leave aspectRatio out, or give a "
                "picture of that shape"
            )
    return [f"aspectRatio is not used: {what}"]


def _of_a_new_clip(request: VideoRequest) -> dict[str, object]:
    return {
        "duration": request.duration_s,
        "qualityMode": request.quality_mode,
        "aspectRatio": request.aspect_ratio,
        "resolution": request.resolution,
        "imageUrl": request.image_url,
        "firstFramePrompt": request.first_frame_prompt,
    }


def _of_a_still(request: VideoRequest) -> dict[str, object]:
    return {
        "imageProvider": request.image_provider,
        "imageModel": request.image_model,
        "imageResolution": request.image_resolution,
    }


def _list_given(asked: Mapping[str, object]) -> list[str]:
    return [name for name, value in asked.items() if value is not None]


def _refuse(names: Iterable[str], why: str) -> None:
    if names:
        raise InvalidRequest(f"{join_names(names)}: {why}")


def _tell(request: VideoRequest, names: list[str], why: str) -> list[str]:
    """Refused, or of a campaign's call a warning each."""
    if request.pipeline_request_id is None:
        _refuse(names, why)
    return [f"{name} is {why.partition(';')[0]}" for name in names]
