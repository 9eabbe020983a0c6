"""ring-video-create: arguments -> VideoRequest -> VideoConductor -> answer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic.alias_generators import to_camel

from ring_mcp.conductors.results import GenerateVideoResult, ImageAsset, JobResult
from ring_mcp.conductors.video import VideoConductor
from ring_mcp.domain import VideoRequest
from ring_mcp.domain.fields import Address, Flag, Name, ShortText, Text, WholeSeconds, as_decimal
from ring_mcp.domain.thumbnails import ThumbnailFields
from ring_mcp.errors import InvalidRequest
from ring_mcp.plans.rules import any_of, takers, values
from ring_mcp.plans.video import VideoSettings
from ring_mcp.presets import Presets
from ring_mcp.tools.brief import ToldBy
from ring_mcp.tools.choices import video_choices
from ring_mcp.tools.job_answers import Previews, make_or_quote
from ring_mcp.tools.paid import DryRun, IdempotencyKey, MaxUsd, PreviewSize, Wait, annotate_paid, call_notes
from ring_mcp.tools.provider_notes import (
    clip_seconds,
    count_by_taker,
    join,
    models_or_titles,
    other_providers_of_clips,
    second_usd,
    video_provider_notes,
)
from ring_mcp.tools.tool import Answer, Arguments, Caller, Notes, Tool

DESCRIPTION = """\
Makes a video clip of {seconds} seconds, stores it, and returns a permanent URL. It costs money: {usd} a second, on \
the operator's own provider key; dryRun: true tells the price.

It takes minutes, longer than this call waits: call ring-job-get with the jobId until the clip is there, not this \
tool again. An identical call joins a job under way and pays nothing.

qualityMode: draft ({draft} from text), production ({production}), draft_i2v and production_i2v (the same from an \
image). draft with imageUrl or firstFramePrompt becomes draft_i2v. remaster: true makes it again at {production}; \
with sourceVideoUrl it edits that clip{edit}. {others}"""

TOLD_BY_IMAGES = ToldBy(
    frozenset(to_camel(name) for name in JobResult.model_fields) - {"success", "jobId", "state"},
    "And what ring-image-create's data has, but for images and url.",
    ((ImageAsset.__name__, "ring-image-create's images"),),
)
"""What the answers of both have in common is said once."""

QualityModeName = Literal["draft", "draft_i2v", "production", "production_i2v"]


class VideoCreateArguments(Arguments):
    prompt: Text = Field(description="Sent unchanged, such as: ACTION: the boat turns. CAMERA: slow dolly in.")
    provider: Name | None = Field(None, description="")
    # Empty here and below: what there is to say depends on the registry and the operator (``video_descriptions``).
    quality_mode: QualityModeName | None = Field(None, description="")
    duration: WholeSeconds | None = Field(None, description="Seconds:")
    aspect_ratio: Name | None = Field(None, description="")
    resolution: Name | None = Field(None, description="In place of the mode's.")
    model: Name | None = Field(None, description="In place of the mode's.")
    image_url: Address | None = Field(
        None,
        description="First frame: a URL or data URI.",
    )
    first_frame_prompt: Text | None = Field(None, description="Makes the first frame, a paid image.")
    image_provider: Name | None = Field(None, description="The first frame's.")
    image_model: Name | None = Field(None, description="The first frame's.")
    image_resolution: Name | None = Field(None, description="The first frame's.")
    reference_images: list[Address] | None = Field(
        None,
        description="To appear in it, in place of a first frame; each billed.",
    )
    last_frame_url: Address | None = Field(
        None,
        description="What it ends on.",
    )
    source_video_url: Address | None = Field(None, description="The clip to remaster or extend.")
    extend: WholeSeconds | None = Field(None, description="Seconds to add.")
    remaster_from_video_url: Address | None = Field(None, description="As sourceVideoUrl.")
    remaster: Flag = Field(False, description="Make it again, or edit sourceVideoUrl.")
    remaster_from_request_id: ShortText | None = Field(None, description="The draft's requestId.")
    clip_id: ShortText | None = Field(None, description="Your id of it.")
    pipeline_request_id: ShortText | None = Field(None, description="Your campaign's id.")
    purpose: Name | None = Field(None, description="One word: a folder in storage.")
    ref_code: ShortText | None = Field(None, description="Your tracking id.")
    persist_to_filebase: Flag = Field(True, description="false: no copy is kept.")
    thumbnail: ThumbnailFields | None = Field(None, description="A free PNG: words on the first frame.")
    dry_run: DryRun = False
    max_usd: MaxUsd = None
    idempotency_key: IdempotencyKey = None
    wait_seconds: Wait = None
    preview: PreviewSize = None

    def request(self) -> VideoRequest:
        """Raises InvalidRequest where two names of the one source clip name two."""
        sources = dict.fromkeys(each for each in (self.source_video_url, self.remaster_from_video_url) if each)
        if len(sources) > 1:
            raise InvalidRequest(
                "sourceVideoUrl and remasterFromVideoUrl name the one source clip, and differ: leave one of them out"
            )
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
            # Ring has both names, and its clients send either.
            source_video_url=next(iter(sources), None),
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
    """Notes on arguments that only some models take."""
    models = presets.video_models
    usual = {mode.of(each).resolution for mode in presets.modes.values() for each in presets.video_providers}
    sizes = [size for size in values(models, lambda m: m.resolutions) if size not in usual]
    large = [f"{size} with {any_of(models_or_titles(_list_makers(size, presets), models))}" for size in sizes]
    ending = takers(models, lambda m: m.last_frame)
    referring = takers(models, lambda m: m.max_reference_images)
    extending = [
        f"{models[name].min_extend_s} to {models[name].max_extend_s} with {models_or_titles([name], models)[0]}"
        for name in takers(models, lambda m: m.extend)
    ]
    return {
        "resolution": f"{', '.join(large)}." if large else "",
        "referenceImages": f"At most {count_by_taker(referring, models)}." if referring else None,
        "lastFrameUrl": f"Only with {any_of(models_or_titles(ending, models))}." if ending else None,
        "extend": f"{'; '.join(extending)}." if extending else None,
    }


def _list_makers(resolution: str, presets: Presets) -> list[str]:
    return list(takers(presets.video_models, lambda model: resolution in model.resolutions))


def video_descriptions(presets: Presets, settings: VideoSettings | None = None) -> Notes:
    """What presets.json and the operator's ``settings`` add to each argument's description."""
    return join(video_provider_notes(presets, settings), video_notes(presets))


def _say_edit_limit(presets: Presets) -> str:
    most = presets.video_models[presets.defaults.video.remaster_edit_model].max_edit_input_s
    return f" ({most} seconds at most)" if most is not None else ""


def _description(presets: Presets) -> str:
    facts = {
        "{seconds}": clip_seconds(presets),
        "{usd}": second_usd(presets),
        "{others}": other_providers_of_clips(presets),
        "{draft}": presets.modes["draft"].resolution,
        "{production}": presets.modes["production"].resolution,
        "{edit}": _say_edit_limit(presets),
    }
    text = DESCRIPTION
    # Not format: the example in the text is JSON, and has braces of its own.
    for slot, fact in facts.items():
        text = text.replace(slot, fact)
    return text


def video_create_tool(
    videos: VideoConductor,
    previews: Previews,
    inline_wait_s: float,
    presets: Presets,
    *,
    closed: bool = True,
    settings: VideoSettings | None = None,
) -> Tool[VideoCreateArguments]:
    """``closed`` False: an endpoint of the operator's own may have models that the registry does not have.

    ``settings``: the operator's own defaults, for the descriptions.
    """

    async def handle(arguments: VideoCreateArguments, caller: Caller) -> Answer:
        return await make_or_quote(videos, arguments, caller, previews, inline_wait_s)

    return Tool(
        name="ring-video-create",
        title="Create a video clip",
        description=_description(presets),
        arguments=VideoCreateArguments,
        output=GenerateVideoResult,
        annotations=annotate_paid(),
        handler=handle,
        notes=join(video_descriptions(presets, settings), call_notes(inline_wait_s, previews.default)),
        choices=video_choices(presets, closed=closed),
        told_by=TOLD_BY_IMAGES,
        is_long=True,
    )
