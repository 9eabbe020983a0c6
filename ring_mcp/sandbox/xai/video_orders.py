"""What a valid video request is, for each endpoint and model. Pure: bodies in, orders or refusals out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ring_mcp.sandbox.xai import calls
from ring_mcp.sandbox.xai.catalogue import VIDEO_RATIOS, VideoModel, find_video_model
from ring_mcp.sandbox.xai.fields import Fields
from ring_mcp.sandbox.xai.inputs import SourceRef, read_source
from ring_mcp.sandbox.xai.outputs import StorageOptions, read_storage
from ring_mcp.sandbox.xai.replies import XaiRefusal, invalid, model_unknown

DEFAULT_MODEL = "grok-imagine-video"
DEFAULT_S, LONGEST_S = 8, 15
# The newer numbers of the REST specification; older ones were 1 to 10 (provider reference 2.3).
EXTENSION_DEFAULT_S, EXTENSION_SHORTEST_S, EXTENSION_LONGEST_S = 6, 2, 10
MAX_KEYFRAMES, MAX_AUDIOS = 4, 3
RESOLUTIONS = ("480p", "720p", "1080p")

VideoKind = Literal["generation", "edit", "extension"]


@dataclass(frozen=True)
class VideoOrder:
    """A valid request for a clip. ``duration_s`` is what an edit does not have: its source decides."""

    kind: VideoKind
    requested_model: str
    model: VideoModel
    prompt: str
    duration_s: int = 0
    aspect_ratio: str = "16:9"
    resolution: str = ""
    has_audio: bool = True
    first_frame: SourceRef | None = None
    other_images: tuple[SourceRef, ...] = ()
    source: SourceRef | None = None
    storage: StorageOptions | None = None
    upload_url: str = ""

    @property
    def images(self) -> tuple[SourceRef, ...]:
        return ((self.first_frame,) if self.first_frame else ()) + self.other_images


def read_generation(fields: Fields) -> VideoOrder:
    """Text, picture or references to video."""
    requested, model = _read_model(fields)
    first_frame = _read_first_frame(fields)
    prompt = calls.read_prompt(fields, required=False)
    if not prompt and first_frame is None:
        raise invalid("prompt is required for text-to-video and reference-to-video generation.")
    duration_s = _read_duration(fields)
    resolution = fields.choice("resolution", RESOLUTIONS, "480p")
    if resolution not in model.resolutions:
        raise invalid(f"Resolution {resolution} is not supported for model {model.id}.")
    references = _read_references(fields, model, duration_s, resolution)
    return VideoOrder(
        kind="generation",
        requested_model=requested,
        model=model,
        prompt=prompt,
        duration_s=duration_s,
        aspect_ratio=fields.choice("aspect_ratio", VIDEO_RATIOS, "16:9"),
        resolution=resolution,
        has_audio=fields.flag("generate_audio", default=True),
        first_frame=first_frame,
        other_images=(*references, *_read_frames(fields, model, duration_s)),
        storage=read_storage(fields),
        upload_url=_read_upload_url(fields),
    )


def read_edit(fields: Fields) -> VideoOrder:
    """A clip made anew. Duration, ratio and resolution are the source's; asking for others changes nothing."""
    requested, model = _read_model(fields)
    return VideoOrder(
        kind="edit",
        requested_model=requested,
        model=model,
        prompt=calls.read_prompt(fields, required=True),
        source=read_source(fields.require_child("video")),
        storage=read_storage(fields),
        upload_url=_read_upload_url(fields),
    )


def read_extension(fields: Fields) -> VideoOrder:
    """A clip made longer. ``duration`` is the part that is added."""
    requested, model = _read_model(fields)
    return VideoOrder(
        kind="extension",
        requested_model=requested,
        model=model,
        prompt=calls.read_prompt(fields, required=True),
        duration_s=fields.lenient_whole("duration", EXTENSION_DEFAULT_S, EXTENSION_SHORTEST_S, EXTENSION_LONGEST_S),
        source=read_source(fields.require_child("video")),
        storage=read_storage(fields),
        upload_url=_read_upload_url(fields),
    )


def find_missing_capability(order: VideoOrder) -> XaiRefusal | None:
    """The refusal of an edit or extension by a model that has none."""
    if order.kind == "generation" or order.model.edits:
        return None
    word = "editing" if order.kind == "edit" else "extension"
    return XaiRefusal(400, "failed-precondition", f"Video {word} is not supported for model {order.model.id}.")


def _read_model(fields: Fields) -> tuple[str, VideoModel]:
    requested = fields.text("model", DEFAULT_MODEL)
    model = find_video_model(requested)
    if model is None:
        raise model_unknown(requested)
    return requested, model


def _read_first_frame(fields: Fields) -> SourceRef | None:
    # Both names, and both of the duration below, are in the specification (provider reference 2.1).
    child = fields.child("image") or fields.child("input_reference")
    return read_source(child) if child else None


def _read_duration(fields: Fields) -> int:
    name = "duration" if fields.has("duration") or not fields.has("seconds") else "seconds"
    return fields.lenient_whole(name, DEFAULT_S, 1, LONGEST_S)


def _read_references(fields: Fields, model: VideoModel, duration_s: int, resolution: str) -> tuple[SourceRef, ...]:
    images, audios = fields.children("reference_images"), fields.children("reference_audios")
    if not images and not audios:
        return ()
    if model.max_references == 0:
        raise invalid(f"{'reference_images' if images else 'reference_audios'} is not supported for this model.")
    if len(images) > model.max_references:
        raise invalid(f"Too many reference images: {len(images)}. {model.id} accepts at most {model.max_references}.")
    if audios and not model.has_keyframes:
        raise invalid("reference_audios is not supported for this model.")
    if len(audios) > MAX_AUDIOS:
        raise invalid(f"Too many reference audios: {len(audios)}. At most {MAX_AUDIOS} are accepted.")
    if duration_s > model.max_reference_s:
        raise invalid(
            f"Duration {duration_s}s exceeds the maximum allowed for reference-to-video, "
            f"which is {model.max_reference_s}s."
        )
    # Native 1080p is for words and for a first frame only (provider reference 2.5).
    if resolution == "1080p":
        raise invalid("Resolution 1080p is not supported for reference-to-video.")
    return tuple(read_source(image) for image in images)


def _read_frames(fields: Fields, model: VideoModel, duration_s: int) -> tuple[SourceRef, ...]:
    last, keyframes = fields.child("last_frame"), fields.children("keyframes")
    if not model.has_keyframes and (last or keyframes):
        raise invalid(f"{'last_frame' if last else 'keyframes'} is not supported for this model.")
    if len(keyframes) > MAX_KEYFRAMES:
        raise invalid(f"Too many keyframes: {len(keyframes)}. At most {MAX_KEYFRAMES} are accepted.")
    for keyframe in keyframes:
        at_s = keyframe.number("timestamp_s")
        if not 0 < at_s < duration_s:
            raise invalid(f"Keyframe timestamp {at_s:g}s must lie inside the {duration_s}s of the video.")
        # A third of a second has no exact number in JSON.
        if abs(at_s * 3 - round(at_s * 3)) > 0.01:
            raise invalid(f"Keyframe timestamp {at_s:g}s must be a multiple of 1/3 s.")
    frames = [last] if last else []
    return tuple(read_source(each) for each in [*frames, *(each.require_child("image") for each in keyframes)])


def _read_upload_url(fields: Fields) -> str:
    output = fields.child("output")
    return output.text("upload_url") if output else ""
