"""What a caller gets: Ring's result fields with ours beside them. The same models over MCP, REST and from Python.

Field names on the wire are camelCase; unset fields are left out.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from ring_mcp.domain import Asset, Failure, Job, JobState, PriceLine

Usd = Annotated[Decimal, PlainSerializer(float, return_type=float)]


class Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True, frozen=True)

    def data(self) -> dict[str, Any]:
        """As JSON, without the fields that are not set."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class ImageAsset(Wire):
    """One stored picture. ``record_id`` is its row in generated_images."""

    url: str
    file_id: str | None = None
    size: int = Field(description="Bytes.")
    content_type: str
    record_id: str
    width: int | None = Field(None, description="Pixels.")
    height: int | None = Field(None, description="Pixels.")
    sha256: str
    local_path: str | None = None


class QuoteLine(Wire):
    what: str
    unit_usd: Usd
    count: float
    total_usd: Usd
    as_of: str = Field(description="The day the list price was read.")

    @classmethod
    def of(cls, line: PriceLine) -> QuoteLine:
        return cls(
            what=line.what, unit_usd=line.unit_usd, count=float(line.count), total_usd=line.total_usd, as_of=line.as_of
        )


class GenerateImageResult(Wire):
    """The ``data`` of ring-image-create: finished, still under way (``state``, ``nextAction``), or a dry run."""

    success: bool
    provider: str
    model: str
    prompt: str
    images: tuple[ImageAsset, ...] = ()
    url: str | None = Field(None, description="Permanent URL of the first image.")
    error: str | None = None
    job_id: str | None = None
    state: str | None = None
    aspect_ratio: str | None = None
    resolution: str | None = None
    estimated_cost_usd: Usd | None = None
    billed_cost_usd: Usd | None = Field(None, description="What the provider said it billed.")
    served_model: str | None = None
    warnings: tuple[str, ...] | None = None
    sandbox: bool | None = Field(None, description="True: made by the built-in sandbox, not by a provider.")
    joined: bool | None = Field(None, description="True: an identical request was under way; nothing new was paid.")
    next_action: str | None = None
    dry_run: bool | None = None
    prices: tuple[QuoteLine, ...] | None = None
    cap_left_usd: dict[str, Usd] | None = None
    failure: Failure | None = Field(None, exclude=True)


def image_result(job: Job, *, joined: bool = False) -> GenerateImageResult:
    """A job as its caller sees it. ``success`` is False when it ended badly, or is stuck for a reason that is known."""
    plan = job.plan
    failure = job.failure if job.state is not JobState.DONE else None
    images = tuple(image_asset(asset) for asset in job.assets)
    return GenerateImageResult(
        success=failure is None,
        provider=plan.provider,
        model=plan.model,
        prompt=plan.prompt,
        images=images,
        url=images[0].url if images else None,
        error=failure.message if failure else None,
        job_id=job.id,
        state=job.state.value,
        aspect_ratio=plan.aspect_ratio,
        resolution=plan.resolution,
        estimated_cost_usd=plan.estimated_usd,
        billed_cost_usd=job.billed_usd,
        served_model=job.served_model,
        warnings=(*plan.warnings, *job.warnings) or None,
        sandbox=job.sandbox or None,
        joined=joined or None,
        next_action=None if job.is_settled else f"Call ring-job-get with jobId {job.id}: it waits for the result.",
        failure=failure,
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
    )
