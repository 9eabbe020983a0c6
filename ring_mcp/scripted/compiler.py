"""A clip of a script -> the arguments of ring-video-create. Pure.

A remaster is a real 720p: unlike Ring's, it does not carry the draft's resolution along, and an edit, which keeps its
source's shape, carries nothing that would shape another clip.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ring_mcp.errors import InvalidRequest
from ring_mcp.scripted.schema import PLACEHOLDER, CastMember, Clip, FirstFrame, ScriptRequest, say_cast

CLOSING = "Realistic lip movement, speaking over ambient sound, no burned-in subtitles."
STILL_STYLE = "cinematic still frame, photorealistic, no text overlays, no watermarks."
DEFAULT_QUALITY_MODE = "draft"
DEFAULT_ASPECT_RATIO = "16:9"
MAX_LABEL_CHARS = 80
MAX_FILLED_CHARS = 20_000
"""Of a text with its cast described: twice as much as any model takes as a whole prompt. Ten kilobytes that name two
thousand times somebody of ten kilobytes would be twenty megabytes, for each text of each clip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remaster:
    """Make it again at 720p; with ``source_url`` edit that clip. ``from_request_id`` is the provider's id of the draft.
    ``editor``: the provider that edits it, where it is not the one who is asked when nobody says whom.

    What else is None is taken from the clip's own ``remaster``.
    """

    source_url: str | None = None
    from_request_id: str | None = None
    editor: str | None = None


def compile_clip(request: ScriptRequest, clip: Clip, *, remaster: Remaster | None = None) -> dict[str, Any]:
    """The arguments, unset ones left out. Raises InvalidRequest for a placeholder or speaker outside the cast."""
    defaults, video = request.defaults, clip.video
    arguments: dict[str, Any] = {
        "prompt": scene_prompt(request, clip),
        "qualityMode": (video and video.quality_mode) or defaults.quality_mode or DEFAULT_QUALITY_MODE,
        "duration": clip.duration,
        "aspectRatio": clip.aspect_ratio or defaults.aspect_ratio or DEFAULT_ASPECT_RATIO,
        "resolution": (video and video.resolution) or defaults.video_resolution,
        "provider": (video and video.provider) or defaults.video_provider,
        "model": video and video.model,
        **_first_frame(request, clip),
        "purpose": request.purpose,
        "refCode": request.ref_code or request.request_id,
        "clipId": clip.id,
        "pipelineRequestId": request.request_id,
        "thumbnail": clip.thumbnail and clip.thumbnail.model_dump(mode="json", by_alias=True, exclude_none=True),
        "persistToFilebase": True,
    }
    if remaster is not None:
        arguments = _as_remaster(arguments, clip, remaster)
    return {name: value for name, value in arguments.items() if value is not None}


def scene_prompt(request: ScriptRequest, clip: Clip) -> str:
    """What the clip shows and says: its own prompt as it stands, else put together from setting and scene."""
    if clip.prompt is not None:
        return clip.prompt
    scene = clip.scene
    assert scene is not None, "Clip checks that it has a scene or a prompt"  # for the type checker
    parts = [
        _fill(request.setting, request, "setting"),
        scene.camera and f"CAMERA: {_fill(scene.camera, request, 'camera')}",
        scene.action and f"ACTION: {_fill(scene.action, request, 'action')}",
    ]
    if scene.dialogue:
        lines = [
            f'{_label(line.speaker, request)}{f" ({line.tone})" if line.tone else ""} says: "{line.line}"'
            for line in scene.dialogue
        ]
        parts += [f"DIALOGUE: {' '.join(lines)}", CLOSING]
    return " ".join(part for part in parts if part)


def first_frame_prompt(request: ScriptRequest, clip: Clip) -> str | None:
    """The prompt of the still, None if the clip asks for none."""
    frame = clip.first_frame
    if frame is None or frame.image_prompt is None:
        return None
    prompt = _fill(frame.image_prompt, request, "firstFrame.imagePrompt")
    if request.setting:
        prompt += f" Setting: {_fill(request.setting, request, 'setting').removesuffix('.')}."
    if clip.aspect_ratio:
        prompt += f" Aspect ratio {clip.aspect_ratio}, {STILL_STYLE}"
    return prompt


def _first_frame(request: ScriptRequest, clip: Clip) -> dict[str, Any]:
    frame, defaults = clip.first_frame or FirstFrame(), request.defaults
    if frame.image_url or frame.image_prompt is None:
        return {"imageUrl": frame.image_url or None}
    return {
        "firstFramePrompt": first_frame_prompt(request, clip),
        "imageProvider": frame.image_provider or defaults.image_provider or defaults.provider,
        "imageModel": frame.image_model,
        "imageResolution": frame.image_resolution or defaults.image_resolution,
    }


def _as_remaster(arguments: dict[str, Any], clip: Clip, remaster: Remaster) -> dict[str, Any]:
    own = clip.remaster
    source_url = remaster.source_url or (own and own.source_video_url) or None
    dropped = {"resolution"}
    if source_url is not None:
        dropped |= {"duration", "aspectRatio", "provider", "model", "imageUrl", "firstFramePrompt"}
        dropped |= {"imageProvider", "imageModel", "imageResolution"}
    return {
        **{name: value for name, value in arguments.items() if name not in dropped},
        # Who edits is asked by name: the clip's own provider and model were dropped with what shapes a new clip.
        **({} if source_url is None else {"provider": remaster.editor}),
        "remaster": True,
        "sourceVideoUrl": source_url,
        "remasterFromRequestId": remaster.from_request_id or (own and own.remaster_from_request_id),
    }


def _fill(text: str | None, request: ScriptRequest, field: str) -> str:
    """``text`` with the description of each cast member in place of its ``{{id}}``. Raises InvalidRequest, before it
    is made, for one that is longer than any prompt."""
    text = text or ""
    named = PLACEHOLDER.findall(text)
    described = {name: _member(name.strip(), request, field).description for name in set(named)}
    chars = len(text) + sum(len(described[name]) for name in named)
    if chars > MAX_FILLED_CHARS:
        raise InvalidRequest(
            f"{field} has {chars:,} characters with the descriptions of its cast; {MAX_FILLED_CHARS:,} are allowed"
        )
    return PLACEHOLDER.sub(lambda found: described[found[1]], text)


def _label(speaker: str, request: ScriptRequest) -> str:
    member = _member(speaker, request, "dialogue")
    if member.label:
        return member.label
    beginning = re.split(r"[,.]", member.description, maxsplit=1)[0].strip()
    # A description that is one long sentence is no name to speak under.
    return beginning if 0 < len(beginning) < MAX_LABEL_CHARS else speaker.replace("_", " ")


def _member(identifier: str, request: ScriptRequest, field: str) -> CastMember:
    found = request.cast_ids.choose(identifier)
    if found is not None:
        return request.cast_by_id[found]
    raise InvalidRequest(f"{field}: {identifier!r} is not in the cast ({say_cast(request.cast_ids)})")
