"""ring-video-create: arguments -> VideoRequest -> VideoConductor -> answer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ring_mcp.conductors.results import GenerateVideoResult
from ring_mcp.conductors.video import VideoConductor
from ring_mcp.domain import VideoRequest
from ring_mcp.domain.fields import Flag, ShortText, Text, WholeSeconds, as_decimal
from ring_mcp.domain.thumbnails import ThumbnailFields
from ring_mcp.plans.rules import join_names, takers
from ring_mcp.presets import Presets
from ring_mcp.tools.choices import video_choices
from ring_mcp.tools.job_answers import Previews, answer, report
from ring_mcp.tools.paid import DryRun, IdempotencyKey, MaxUsd, Wait, annotate_paid
from ring_mcp.tools.provider_notes import (
    clip_seconds,
    join,
    other_providers_of_clips,
    second_usd,
    video_provider_notes,
)
from ring_mcp.tools.tool import Answer, Arguments, Caller, Notes, Tool

DESCRIPTION = """\
Makes a video clip of {seconds} seconds from a prompt, optionally from a first frame, on the operator's own provider \
key, stores it, and returns a permanent URL. It costs money ({usd} a second; dryRun: true tells the price \
without spending).

A clip usually takes one to five minutes, longer than this call waits: the answer then has state and jobId. Call \
ring-job-get with that jobId until the clip is there, and do not call this tool again for the same clip. An identical \
call while one is under way attaches to it and pays nothing.

qualityMode: draft (480p from text, the default), draft_i2v (480p from an image), production (720p from text), \
production_i2v (720p from an image). draft with imageUrl or firstFramePrompt becomes draft_i2v by itself. \
remaster: true makes the clip again at 720p; with sourceVideoUrl it edits that clip (8.7 seconds at most). extend \
makes the clip of sourceVideoUrl longer. {others}

Example: {"prompt": "ACTION: the boat turns into the wind. CAMERA: slow dolly in.", "duration": 6}"""

QualityModeName = Literal["draft", "draft_i2v", "production", "production_i2v"]


class VideoCreateArguments(Arguments):
    prompt: Text = Field(description="Motion, camera, ACTION and DIALOGUE blocks; sent unchanged. Required.")
    provider: Text | None = Field(None, description="Who makes it.")
    quality_mode: QualityModeName | None = Field(None, description="Default: draft.")
    duration: WholeSeconds | None = Field(None, description="Whole seconds:")
    aspect_ratio: Text | None = Field(None, description="Width to height.")
    resolution: Text | None = Field(None, description="In place of the mode's own:")
    model: Text | None = Field(None, description="The provider's model id in place of the mode's own.")
    image_url: Text | None = Field(
        None,
        description="First frame: an http(s) URL, a URL or path that this server returned, or a data URI (up to "
        "10 MiB).",
    )
    first_frame_prompt: Text | None = Field(
        None, description="Make the first frame from this prompt first (a paid image). Not used if imageUrl is given."
    )
    image_provider: Text | None = Field(None, description="Who makes the first frame.")
    image_model: Text | None = Field(None, description="The first frame's model.")
    image_resolution: Text | None = Field(None, description="The first frame's size.")
    reference_images: list[Text] | None = Field(
        None,
        description="Images of people, things or a style to appear in the clip, in place of a first frame; each given "
        "like imageUrl, or as a file id of the provider. Each is billed.",
    )
    last_frame_url: Text | None = Field(
        None,
        description="The image that the clip ends on, beside its first frame; given as in referenceImages. Billed.",
    )
    source_video_url: Text | None = Field(
        None, description="With remaster: the clip to edit. With extend: the clip to make longer."
    )
    extend: WholeSeconds | None = Field(
        None, description="Whole seconds to add to the clip of sourceVideoUrl; the result has both in one file."
    )
    remaster_from_video_url: Text | None = Field(
        None, description="Another name for sourceVideoUrl, which wins if both are given."
    )
    remaster: Flag = Field(False, description="true: make it at 720p; with sourceVideoUrl: edit that clip.")
    remaster_from_request_id: ShortText | None = Field(
        None, description="The requestId of the draft, kept in the audit row."
    )
    clip_id: ShortText | None = Field(None, description="Your id of this clip, kept in the audit row.")
    pipeline_request_id: ShortText | None = Field(None, description="Your id of the campaign, kept in the audit row.")
    purpose: Text | None = Field(None, description="What it is for, one word; becomes a folder of the storage path.")
    ref_code: ShortText | None = Field(None, description="Your own tracking id, kept in the audit row.")
    persist_to_filebase: Flag = Field(
        True, description="false: no copy and no audit row; the answer has the provider's address, which expires."
    )
    thumbnail: ThumbnailFields | None = Field(
        None, description="A 1280x720, 720x1280 or 1080x1080 PNG with words over the first frame; it costs nothing."
    )
    dry_run: DryRun = False
    max_usd: MaxUsd = None
    idempotency_key: IdempotencyKey = None
    wait_seconds: Wait = None

    def request(self) -> VideoRequest:
        return VideoRequest(
            prompt=self.prompt,
            provider=self.provider,
            quality_mode=self.quality_mode,
            duration_s=self.duration,
            aspect_ratio=self.aspect_ratio,
            resolution=self.resolution,
            model=self.model,
            image_url=self.image_url,
            first_frame_prompt=self.first_frame_prompt,
            image_provider=self.image_provider,
            image_model=self.image_model,
            image_resolution=self.image_resolution,
            reference_images=tuple(self.reference_images or ()),
            last_frame_url=self.last_frame_url,
            extend_s=self.extend,
            source_video_url=self.source_video_url or self.remaster_from_video_url,
            remaster=self.remaster,
            remaster_from_request_id=self.remaster_from_request_id,
            clip_id=self.clip_id,
            pipeline_request_id=self.pipeline_request_id,
            purpose=self.purpose,
            ref_code=self.ref_code,
            persist=self.persist_to_filebase,
            thumbnail=self.thumbnail.thumbnail() if self.thumbnail else None,
            idempotency_key=self.idempotency_key,
            max_usd=as_decimal(self.max_usd),
        )


def video_notes(presets: Presets) -> Notes:
    """What the models of the registry take beyond Ring's own arguments."""
    models = presets.video_models
    large = takers(models, lambda m: m.provider == presets.video_providers[0] and "1080p" in m.resolutions)
    ending = takers(models, lambda m: m.last_frame)
    referring = [
        f"{models[name].max_reference_images} with {name} (up to {models[name].max_reference_duration_s} seconds, "
        f"{' or '.join(models[name].reference_resolutions)})"
        for name in takers(models, lambda m: m.max_reference_images)
    ]
    extending = [
        f"{models[name].min_extend_s} to {models[name].max_extend_s} with {name}, whose source may have "
        f"{models[name].min_extend_input_s or 0} to {models[name].max_extend_input_s} seconds"
        for name in takers(models, lambda m: m.extend)
    ]
    return {
        "resolution": f"1080p with {join_names(large)}." if large else "",
        "referenceImages": f"At most {', '.join(referring)}." if referring else None,
        "lastFrameUrl": f"Only with {join_names(ending)}." if ending else None,
        "extend": f"{'; '.join(extending)}." if extending else None,
    }


def video_descriptions(presets: Presets) -> Notes:
    """Everything that the registry adds to the descriptions of the arguments."""
    return join(video_provider_notes(presets), video_notes(presets))


def _description(presets: Presets) -> str:
    facts = {
        "{seconds}": clip_seconds(presets),
        "{usd}": second_usd(presets),
        "{others}": other_providers_of_clips(presets),
    }
    text = DESCRIPTION
    for slot, fact in facts.items():
        text = text.replace(slot, fact)
    return text


def video_create_tool(
    videos: VideoConductor, previews: Previews, inline_wait_s: float, presets: Presets, *, closed: bool = True
) -> Tool[VideoCreateArguments]:
    """``closed`` False: an endpoint of the operator's own may have models that the registry does not have."""

    async def handle(arguments: VideoCreateArguments, caller: Caller) -> Answer:
        if arguments.dry_run:
            return answer(await videos.quote(arguments.request(), actor_id=caller.actor_id), previews)
        result = await videos.generate(
            arguments.request(),
            actor_id=caller.actor_id,
            wait_s=inline_wait_s if arguments.wait_seconds is None else arguments.wait_seconds,
            on_progress=report(caller.progress),
        )
        return answer(result, previews)

    return Tool(
        name="ring-video-create",
        title="Create a video clip",
        description=_description(presets),
        arguments=VideoCreateArguments,
        output=GenerateVideoResult,
        annotations=annotate_paid("Create a video clip"),
        handler=handle,
        notes=video_descriptions(presets),
        choices=video_choices(presets, closed=closed),
    )
