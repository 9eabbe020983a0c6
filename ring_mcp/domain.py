"""The values that travel through a call: requests, plans, jobs, assets. All of them are frozen.

Money is ``Decimal`` US dollars, times are aware and UTC, sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ring_mcp.errors import Billed, JobMoved

MediaKind = Literal["image", "video"]


class JobState(StrEnum):
    """Where a paid attempt stands. ``design``: planned -> submitting -> rendering -> storing -> done."""

    PLANNED = "planned"
    SUBMITTING = "submitting"
    RENDERING = "rendering"
    STORING = "storing"
    UNKNOWN = "unknown"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    EXPIRED = "expired"


TERMINAL = frozenset({JobState.DONE, JobState.FAILED, JobState.REFUSED, JobState.EXPIRED})
"""Nothing happens to these any more; ``finished_at`` and ``settled_usd`` are set for these and no others."""

DRIVEN = frozenset({JobState.PLANNED, JobState.SUBMITTING, JobState.RENDERING, JobState.STORING})
"""Some process is, or should be, carrying these on. UNKNOWN is in neither: it waits for a person or a late answer."""

_ENDS = frozenset({JobState.FAILED, JobState.REFUSED, JobState.EXPIRED})
_NEXT: Mapping[JobState, frozenset[JobState]] = {
    JobState.PLANNED: frozenset({JobState.SUBMITTING}) | _ENDS,
    JobState.SUBMITTING: frozenset({JobState.RENDERING, JobState.STORING, JobState.UNKNOWN}) | _ENDS,
    JobState.UNKNOWN: frozenset({JobState.RENDERING, JobState.STORING}) | _ENDS,
    JobState.RENDERING: frozenset({JobState.STORING}) | _ENDS,
    JobState.STORING: frozenset({JobState.DONE}) | _ENDS,
}


class Value(BaseModel):
    """Base of the values that are kept as JSON inside a ledger row."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class PriceLine(Value):
    """One line of a quote: ``count`` times ``unit_usd``, as listed on ``as_of``."""

    what: str
    unit_usd: Decimal
    count: Decimal
    as_of: str

    @property
    def total_usd(self) -> Decimal:
        return self.unit_usd * self.count


class Output(Value):
    """One thing that a provider made: where it can be fetched, or the spool file that already holds it.

    ``lost_because`` is set when it can never be fetched any more.
    """

    url: str | None = None
    spool_path: str | None = None
    content_type: str | None = None
    duration_s: Decimal | None = None
    lost_because: str | None = None


class Asset(Value):
    """One output in the operator's own storage, with the id of its audit row."""

    index: int
    url: str
    key: str
    size_bytes: int
    content_type: str
    sha256: str
    record_id: str
    file_id: str | None = None
    local_path: str | None = None
    width_px: int | None = None
    height_px: int | None = None
    duration_s: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """What was asked of ImageConductor. Only ``prompt`` is needed; None means "the configured default"."""

    prompt: str
    provider: str | None = None
    model: str | None = None
    aspect_ratio: str | None = None
    resolution: str | None = None
    n: int | None = None
    purpose: str | None = None
    ref_code: str | None = None
    seed: int | None = None
    idempotency_key: str | None = None


class ImagePlan(Value):
    """What will be done for an ImageRequest: every default filled in, every limit checked, priced."""

    kind: Literal["image"] = "image"
    provider: str
    requested_model: str
    model: str
    prompt: str
    n: int
    aspect_ratio: str
    resolution: str
    quality: str | None = None
    seed: int | None = None
    deferred: bool = False
    purpose: str = "image"
    ref_code: str | None = None
    storage_prefix: str
    prices: tuple[PriceLine, ...]
    warnings: tuple[str, ...] = ()

    @property
    def list_usd(self) -> Decimal:
        return sum((line.total_usd for line in self.prices), Decimal(0))

    @property
    def estimated_usd(self) -> Decimal:
        return self.list_usd


GenerationKind = Literal["generate", "edit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRequest:
    """What was asked of VideoConductor. Only ``prompt`` is needed; None means "the configured default"."""

    prompt: str
    quality_mode: str | None = None
    duration_s: int | None = None
    aspect_ratio: str | None = None
    resolution: str | None = None
    model: str | None = None
    image_url: str | None = None
    first_frame_prompt: str | None = None
    image_provider: str | None = None
    image_model: str | None = None
    image_resolution: str | None = None
    source_video_url: str | None = None
    remaster: bool = False
    remaster_from_request_id: str | None = None
    clip_id: str | None = None
    pipeline_request_id: str | None = None
    purpose: str | None = None
    ref_code: str | None = None
    persist: bool = True
    idempotency_key: str | None = None


class VideoPlan(Value):
    """What will be done for a VideoRequest.

    ``estimated_usd`` is Ring's figure (mode rate times seconds); ``list_usd``, from the provider's list prices, is what
    is reserved. ``first_frame`` is the still to be made first, by a job of its own and at its own cost, ``made_frame``
    that still once it is there.
    """

    kind: Literal["video"] = "video"
    provider: str
    requested_model: str
    model: str
    prompt: str
    quality_mode: str
    generation_kind: GenerationKind = "generate"
    duration_s: int
    aspect_ratio: str | None = None
    resolution: str | None = None
    image_url: str | None = None
    first_frame: ImagePlan | None = None
    source_video_url: str | None = None
    remaster_from_request_id: str | None = None
    clip_id: str | None = None
    pipeline_request_id: str | None = None
    purpose: str = "video"
    ref_code: str | None = None
    persist: bool = True
    made_frame: Asset | None = None
    storage_prefix: str
    estimated_usd: Decimal
    prices: tuple[PriceLine, ...]
    warnings: tuple[str, ...] = ()

    @property
    def list_usd(self) -> Decimal:
        return sum((line.total_usd for line in self.prices), Decimal(0))


Plan = ImagePlan | VideoPlan
"""Any plan; ``kind`` tells which."""


class Failure(Value):
    """Why a job stands where it does, in words that may be shown."""

    code: str
    message: str
    billed: Billed
    retryable: bool = False
    next_action: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One paid attempt: a row of ``media_jobs``.

    ``version`` rises with every write and is the fencing token: whoever writes with an old one is refused.
    ``due_at`` is when the next step may be taken; None means parked until somebody asks for the job.
    ``reserved_usd`` counts against the caps until ``settled_usd`` replaces it; ``billed_usd`` is the provider's word.
    """

    id: str
    kind: MediaKind
    state: JobState
    version: int = 1
    actor_id: str
    request_hash: str
    idempotency_key: str | None = None
    parent_job_id: str | None = None
    ref_code: str | None = None
    clip_id: str | None = None
    pipeline_request_id: str | None = None
    plan: Plan
    sandbox: bool = False
    owner: str | None = None
    attempt_token: str | None = None
    submit_deadline_at: datetime | None = None
    provider_request_id: str | None = None
    served_model: str | None = None
    progress: int = 0
    attempts: int = 0
    due_at: datetime | None = None
    outputs: tuple[Output, ...] = ()
    assets: tuple[Asset, ...] = ()
    failure: Failure | None = None
    warnings: tuple[str, ...] = ()
    reserved_usd: Decimal
    billed_usd: Decimal | None = None
    settled_usd: Decimal | None = None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None
    delivered_at: datetime | None = None

    @property
    def is_terminal(self) -> bool:
        return self.state in TERMINAL

    @property
    def is_parked(self) -> bool:
        """Nobody drives it and nobody is going to, until somebody asks for it."""
        return self.state in DRIVEN and self.owner is None and self.due_at is None

    @property
    def is_settled(self) -> bool:
        """Nobody is going to carry it on by itself: ended, or unknown."""
        return self.state not in DRIVEN

    def to(self, state: JobState, **changes: Any) -> Job:
        """This job in another state. Raises JobMoved if the state machine has no such arrow."""
        if state not in _NEXT.get(self.state, frozenset()):
            raise JobMoved(f"job {self.id} is {self.state} and cannot become {state}")
        if self.state is JobState.UNKNOWN:
            changes.setdefault("delivered_at", None)  # what a caller was told about it no longer holds
        return replace(self, state=state, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """A row for ``generated_images`` or ``generated_videos``, in Ring's own keys."""

    table: Literal["generated_images", "generated_videos"]
    id: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """Spending limits in US dollars; None means no limit. Day and month are calendar ones, in UTC."""

    per_call_usd: Decimal | None = None
    per_day_usd: Decimal | None = None
    per_month_usd: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What the ledger counts against the caps: settled cost plus what open and unknown jobs have reserved."""

    day_usd: Decimal
    month_usd: Decimal
    day_reserved_usd: Decimal
    month_reserved_usd: Decimal
    unknown_jobs: int = 0
    open_jobs: int = 0

    @classmethod
    def nothing(cls) -> Spend:
        zero = Decimal(0)
        return cls(day_usd=zero, month_usd=zero, day_reserved_usd=zero, month_reserved_usd=zero)


def usd(amount: Decimal) -> str:
    """``$0.06``: at least two decimals, more only where they count."""
    cents = amount.quantize(Decimal("0.01"))
    return f"${cents if cents == amount else amount.normalize():f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFile:
    """A finished file on this machine, before storage: measured, and typed by its own bytes."""

    path: Path
    size_bytes: int
    sha256: str
    content_type: str
    extension: str
    width_px: int | None = None
    height_px: int | None = None
    duration_s: Decimal | None = None
