"""Results for callers: Ring's fields, and ours beside them. The same models over MCP, REST and from Python.

Field names on the wire are camelCase; unset fields are left out.
"""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from ring_mcp.domain import Asset, Failure, GenerationKind, ImagePlan, Job, JobState, Plan, PriceLine, VideoPlan

# A number on the wire, as in Ring; sums are made in Decimal before that.
Usd = Annotated[Decimal, PlainSerializer(float, return_type=float)]
Secs = Annotated[Decimal, PlainSerializer(float, return_type=float)]


class Wire(BaseModel):
    # Deferred: a start uses few models, and nobody should wait for the validators of all.
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True, frozen=True, defer_build=True
    )

    def data(self) -> dict[str, Any]:
        """As JSON, without the fields that are not set."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class ImageAsset(Wire):
    """One stored picture. ``record_id`` is its row in generated_images."""

    url: str
    file_id: str | None = None
    size: int = Field(description="bytes")
    content_type: str
    record_id: str
    width: int | None = None
    height: int | None = None
    sha256: str
    local_path: str | None = None
    content_credentials: str | None = Field(None, description="C2PA")
    billed_cost_usd: Usd | None = Field(None, description="of a first frame")


class VideoAsset(Wire):
    """The clip. ``url`` is permanent; the provider's own when the caller wanted no copy (then without record_id)."""

    url: str
    temporary_url: str | None = Field(None, description="expires")
    request_id: str | None = None
    record_id: str | None = None
    file_id: str | None = None
    size: int | None = None
    content_type: str
    duration: Secs | None = None
    width: int | None = None
    height: int | None = None
    # Ring's field. Always true: a clip that did not pass is never delivered.
    respect_moderation: bool = True
    sha256: str | None = None
    local_path: str | None = None
    content_credentials: str | None = Field(None, description="C2PA")


class QuoteLine(Wire):
    what: str
    unit_usd: Usd
    count: float
    total_usd: Usd
    as_of: str

    @classmethod
    def of(cls, line: PriceLine) -> QuoteLine:
        return cls(
            what=line.what, unit_usd=line.unit_usd, count=float(line.count), total_usd=line.total_usd, as_of=line.as_of
        )


class Standing(Wire):
    """One actor of the ledger: what they may do, and what they have spent, with what is reserved."""

    id: str
    may_spend: bool
    spent_today_usd: Usd
    spent_this_month_usd: Usd
    caps_usd: dict[str, Usd] | None = None


class JobResult(Wire):
    """The answer of every create tool: finished, still open (``state``, ``nextAction``), or a dry run."""

    success: bool
    provider: str
    model: str
    prompt: str
    error: str | None = None
    job_id: str | None = None
    state: str | None = None
    aspect_ratio: str | None = None
    resolution: str | None = None
    estimated_cost_usd: Usd | None = None
    billed_cost_usd: Usd | None = Field(None, description="By the provider.")
    reserved_usd: Usd | None = Field(None, description="Against the caps, until it ended.")
    served_model: str | None = None
    warnings: tuple[str, ...] | None = None
    sandbox: bool | None = None
    joined: bool | None = Field(None, description="Nothing new was paid.")
    next_action: str | None = None
    dry_run: bool | None = None
    prices: tuple[QuoteLine, ...] | None = None
    total_usd: Usd | None = Field(None, description="Of a dry run.")
    cap_left_usd: dict[str, Usd] | None = None
    actor: Standing | None = None
    failure: Failure | None = Field(None, exclude=True)


class GenerateImageResult(JobResult):
    """The ``data`` of ring-image-create."""

    images: tuple[ImageAsset, ...] = ()
    url: str | None = Field(None, description="The first one's.")


class GenerateVideoResult(JobResult):
    """The ``data`` of ring-video-create."""

    quality_mode: str | None = None
    generation_kind: GenerationKind | None = None
    duration: int | None = None
    video: VideoAsset | None = None
    first_frame: ImageAsset | None = None
    thumbnail: ImageAsset | None = None
    request_id: str | None = Field(None, description="The provider's.")
    clip_id: str | None = None
    pipeline_request_id: str | None = None
    remaster_from_request_id: str | None = None
    remaster_from_video_url: str | None = None
    progress: int | None = Field(None, description="Percent.")


def quote_result(plan: Plan, **facts: Any) -> JobResult:
    """A plan as a dry run shows it. ``facts`` are the fields of JobResult about money."""
    shared: dict[str, Any] = {
        "success": True,
        "dry_run": True,
        "provider": plan.provider,
        "model": plan.model,
        "prompt": plan.prompt,
        "aspect_ratio": plan.aspect_ratio,
        "resolution": plan.resolution,
        "estimated_cost_usd": plan.estimated_usd,
        **facts,
    }
    if isinstance(plan, ImagePlan):
        return GenerateImageResult(**shared)
    return GenerateVideoResult(
        **shared,
        quality_mode=plan.quality_mode,
        generation_kind=plan.generation_kind,
        duration=plan.duration_s,
        clip_id=plan.clip_id,
        pipeline_request_id=plan.pipeline_request_id,
    )


def job_result(job: Job, now: datetime, *, joined: bool = False) -> JobResult:
    """A job as its caller sees it. ``success`` is False when it ended badly, or is stuck for a reason that is known."""
    plan = job.plan
    # While the job is retried, its trouble is a warning (``_trouble``): a failure would make the caller ask anew.
    failure = _tell_failure(job) if job.is_settled or job.is_parked or job.is_stuck(now) else None
    shared: dict[str, Any] = {
        "success": failure is None,
        "provider": plan.provider,
        "model": plan.model,
        "prompt": plan.prompt,
        "error": failure.message if failure else None,
        "job_id": job.id,
        "state": job.state.value,
        "aspect_ratio": plan.aspect_ratio,
        "resolution": plan.resolution,
        "billed_cost_usd": job.billed_usd,
        # A job of unknown outcome keeps its reservation, and has to say so; one that has ended has none.
        "reserved_usd": None if job.is_terminal else job.reserved_usd,
        "served_model": job.served_model,
        "warnings": (*plan.warnings, *job.warnings, *(_trouble(job) if failure is None else ())) or None,
        "sandbox": job.sandbox or None,
        "joined": joined or None,
        "next_action": None if job.is_settled else f"Call ring-job-get with jobId {job.id}: it waits for the result.",
        "failure": failure,
    }
    if isinstance(plan, ImagePlan):
        images = tuple(image_asset(asset) for asset in job.assets)
        return GenerateImageResult(
            **shared, estimated_cost_usd=plan.estimated_usd, images=images, url=images[0].url if images else None
        )
    return _video_result(job, plan, shared)


def _tell_failure(job: Job) -> Failure | None:
    """The job's failure, with ``billed`` for the whole call: it may have bought a still as well."""
    plan, failure = job.plan, job.failure
    # A still of an earlier call has 0 here; None is that of a provider that names no figure, and was billed.
    has_bought = isinstance(plan, VideoPlan) and plan.made_frame is not None and plan.made_frame_billed_usd != 0
    if failure is None or failure.billed != "no" or not has_bought:
        return failure
    return failure.model_copy(update={"billed": "yes"})


def _trouble(job: Job) -> tuple[str, ...]:
    """A warning for an open job whose last step failed and is retried."""
    if job.failure is None or job.is_settled or job.is_parked:
        return ()
    return (f"not there yet, it is being tried again: {job.failure.message}",)


def _video_result(job: Job, plan: VideoPlan, shared: dict[str, Any]) -> GenerateVideoResult:
    video = _video_asset(job) if job.state is JobState.DONE else None
    return GenerateVideoResult(
        **shared,
        estimated_cost_usd=_estimate_usd(plan, video),
        quality_mode=plan.quality_mode,
        generation_kind=plan.generation_kind,
        duration=plan.duration_s,
        video=video,
        first_frame=_first_frame(plan),
        thumbnail=image_asset(plan.made_thumbnail) if plan.made_thumbnail else None,
        request_id=job.provider_request_id,
        clip_id=plan.clip_id,
        pipeline_request_id=plan.pipeline_request_id,
        remaster_from_request_id=plan.remaster_from_request_id,
        remaster_from_video_url=plan.source_video_url,
        progress=None if job.is_settled else job.progress,
    )


def _first_frame(plan: VideoPlan) -> ImageAsset | None:
    if plan.made_frame is None:
        return None
    return image_asset(plan.made_frame).model_copy(update={"billed_cost_usd": plan.made_frame_billed_usd})


def _estimate_usd(plan: VideoPlan, video: VideoAsset | None) -> Decimal:
    """Ring's figure: the mode's rate times the seconds, those of the finished clip if they are known.

    For an extension it stays the plan's, since only what was added is new.
    """
    if video is None or video.duration is None or plan.generation_kind == "extend":
        return plan.estimated_usd
    rate = plan.estimated_usd / plan.duration_s
    return (rate * round(video.duration, 1)).quantize(Decimal("0.01"), ROUND_HALF_UP)


def _video_asset(job: Job) -> VideoAsset:
    """The stored clip, or the provider's own address when no copy was wanted."""
    output = job.outputs[0]
    asset = job.assets[0] if job.assets else None
    return VideoAsset(
        url=asset.url if asset else output.url or "",
        temporary_url=output.url,
        request_id=job.provider_request_id,
        record_id=asset.record_id if asset else None,
        file_id=asset.file_id if asset else None,
        size=asset.size_bytes if asset else None,
        content_type=asset.content_type if asset else output.content_type or "video/mp4",
        duration=output.duration_s or (asset.duration_s if asset else None),
        width=asset.width_px if asset else None,
        height=asset.height_px if asset else None,
        sha256=asset.sha256 if asset else None,
        local_path=asset.local_path if asset else None,
        content_credentials=asset.content_credentials if asset else "not looked at",
    )


def image_asset(asset: Asset) -> ImageAsset:
    return ImageAsset(
        url=asset.url,
        file_id=asset.file_id,
        size=asset.size_bytes,
        content_type=asset.content_type,
        record_id=asset.record_id,
        width=asset.width_px,
        height=asset.height_px,
        sha256=asset.sha256,
        local_path=asset.local_path,
        content_credentials=asset.content_credentials,
    )
