"""What a valid request for a clip is, for each task: bodies in, orders or refusals out. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ring_mcp.sandbox.google import calls
from ring_mcp.sandbox.google.catalogue import MAX_REFERENCES, OMNI_MODELS, OmniModel
from ring_mcp.sandbox.google.images import decode, decode_image
from ring_mcp.sandbox.google.replies import invalid, model_unknown

RATIOS = ("16:9", "9:16")
SHORTEST_S, LONGEST_S, DEFAULT_S, DEFAULT_EXTENSION_S = 3, 10, 8, 10
TASKS = ("text_to_video", "image_to_video", "reference_to_video", "edit", "extend")
FROM_CLIPS = ("edit", "extend")


@dataclass(frozen=True)
class ClipOrder:
    """A valid request for a clip. ``resolution`` is None where the source decides. ``by_address``: a clip is given in a
    way that is only found out later to be none that is taken. ``follows``: the interaction whose clip is the source.
    ``is_stored``: others may follow this one."""

    model: OmniModel
    prompt: str
    task: str
    images: tuple[bytes, ...]
    video: bytes | None
    by_address: bool
    ratio: str
    resolution: str | None
    duration_s: int
    is_inline: bool
    in_background: bool
    follows: str | None = None
    is_stored: bool = True


def read_order(body: Mapping[str, Any], version: str) -> ClipOrder:
    """The order that a body means; refuses what the real service refuses."""
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise invalid("Either model or agent must be specified.")
    model = OMNI_MODELS.get(name)
    if model is None:
        raise model_unknown(name, version, "createInteraction")
    wanted = body.get("response_format")
    wanted = wanted[0] if isinstance(wanted, list) and wanted else wanted
    if not isinstance(wanted, dict) or wanted.get("type") != "video":
        raise invalid("response_format must ask for a video for this model.")
    parts = _list_parts(body.get("input"))
    prompt = "\n".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")
    if not prompt:
        raise invalid("input must not be empty.")
    calls.check_length(prompt)
    images = tuple(decode_image(part) for part in parts if part.get("type") == "image")
    clips = [part for part in parts if part.get("type") in ("video", "document")]
    follows, is_stored = _read_follows(body), body.get("store") is not False
    # What is done in the background has to be kept meanwhile: Google's page on the Interactions API.
    if not is_stored and (body.get("background") is True or follows is not None):
        raise invalid("store=false is not compatible with background or previous_interaction_id.")
    task = _read_task(body, images, clips, follows is not None)
    # A source decides by its own size, which is not known before it was looked at.
    is_default_size = task in FROM_CLIPS and wanted.get("resolution") is None
    size = calls.choice(wanted.get("resolution"), tuple(model.tokens_per_s), "720p", "Resolution")
    return ClipOrder(
        model=model,
        prompt=prompt,
        task=task,
        images=images,
        video=decode(clips[0]) if clips and "data" in clips[0] else None,
        by_address=bool(clips) and "data" not in clips[0],
        ratio=calls.choice(wanted.get("aspect_ratio"), RATIOS, "16:9", "Aspect ratio"),
        resolution=None if is_default_size else size,
        duration_s=_read_duration(wanted.get("duration"), task),
        is_inline=calls.choice(wanted.get("delivery"), ("inline", "uri"), "inline", "Delivery") == "inline",
        in_background=body.get("background") is True,
        follows=follows,
        is_stored=is_stored,
    )


def _read_follows(body: Mapping[str, Any]) -> str | None:
    given = body.get("previous_interaction_id")
    if given is not None and not isinstance(given, str):
        raise invalid("Invalid value at 'previous_interaction_id' (TYPE_STRING)")
    return given or None


def _list_parts(given: object) -> list[dict[str, Any]]:
    """The contents of the input, however it is nested: a text, a list of contents, a list of steps."""
    contents: list[Any] = [{"type": "text", "text": given}] if isinstance(given, str) else [given]
    contents = given if isinstance(given, list) else contents
    parts = [content for content in contents if isinstance(content, dict)]
    steps = [part for part in parts if part.get("type") == "user_input"]
    nested = [each for step in steps for each in step.get("content") or [] if isinstance(each, dict)]
    return nested or parts


def _read_task(body: Mapping[str, Any], images: tuple[bytes, ...], clips: list[dict[str, Any]], follows: bool) -> str:
    """What is to be done with what is given; without a word of it the model decides, here by what there is."""
    sources = len(clips) + follows
    config = calls.child(calls.child(body, "generation_config"), "video_config", "generation_config", ("task",))
    inferred = "edit" if sources else "text_to_video" if not images else "image_to_video"
    task = calls.choice(config.get("task"), TASKS, inferred, "Task")
    if task in FROM_CLIPS and sources != 1:
        raise invalid(f"Task {task} requires exactly one input video.")
    # Of what was made before, Google takes the picture as well to make a clip from; nobody here asks for that.
    if task not in FROM_CLIPS and sources:
        raise invalid(f"Task {task} does not support an input video.")
    most = {"text_to_video": 0, "image_to_video": 2, "reference_to_video": MAX_REFERENCES}.get(task, MAX_REFERENCES)
    if len(images) > most or (not images and task in ("image_to_video", "reference_to_video")):
        raise invalid(f"Task {task} does not support {len(images)} input images.")
    return task


def _read_duration(given: object, task: str) -> int:
    """Protobuf's form of a duration; a bare number is refused."""
    if task == "edit":
        if given is not None:
            raise invalid("Duration cannot be set in response format for edit task.")
        return 0
    if given is None:
        return DEFAULT_EXTENSION_S if task == "extend" else DEFAULT_S
    # Seen in the field: a bare number is a 400 (provider reference 3.4).
    found = re.fullmatch(r"(\d{1,4})s", given) if isinstance(given, str) else None
    if found is None:
        raise invalid("Invalid value at 'response_format.duration' (type.googleapis.com/google.protobuf.Duration)")
    if not SHORTEST_S <= int(found[1]) <= LONGEST_S:
        raise invalid(f"Duration must be between {SHORTEST_S} and {LONGEST_S} seconds.")
    return int(found[1])
