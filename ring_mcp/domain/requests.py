"""Requests, as they were asked, and the plans made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

from ring_mcp.domain.media import Asset, Value


class PriceLine(Value):
    """One line of a quote: ``count`` times ``unit_usd``, as listed on ``as_of``."""

    what: str
    unit_usd: Decimal
    count: Decimal
    as_of: str

    @property
    def total_usd(self) -> Decimal:
        return self.unit_usd * self.count


def add_up(prices: Sequence[PriceLine]) -> Decimal:
    return sum((line.total_usd for line in prices), Decimal(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """What was asked of ImageConductor. Only ``prompt`` is needed; None means "the configured default".

    ``shape_px`` is what the first given picture was measured to have: nobody asks for it, and an edit keeps its shape.
    ``max_usd``: nothing is started that could cost more.
    """

    prompt: str
    provider: str | None = None
    model: str | None = None
    aspect_ratio: str | None = None
    resolution: str | None = None
    n: int | None = None
    purpose: str | None = None
    ref_code: str | None = None
    seed: int | None = None
    quality: str | None = None
    reference_images: tuple[str, ...] = ()
    shape_px: tuple[int, int] | None = None
    idempotency_key: str | None = None
    max_usd: Decimal | None = None


class _Planned(Value):
    """What plans of both kinds have. ``requested_model`` may be served by another, ``model``."""

    provider: str
    requested_model: str
    model: str
    prompt: str
    reference_images: tuple[str, ...] = ()
    ref_code: str | None = None
    storage_prefix: str
    prices: tuple[PriceLine, ...]
    warnings: tuple[str, ...] = ()
    # Here, and so in the row: whichever process takes a step tells whose call it is for.
    http_request_id: str | None = None
    trace_parent: str | None = None

    @property
    def list_usd(self) -> Decimal:
        return add_up(self.prices)


class ImagePlan(_Planned):
    """What will be done for an ImageRequest: every default filled in, every limit checked, priced.

    ``quality`` is what is priced; ``asked_quality`` goes to the provider, None leaves it to its own default.
    ``reference_images`` make it an edit. Each is an address, a file id, or ``kept:<sha256>`` for one that came inline.
    """

    kind: Literal["image"] = "image"
    n: int
    aspect_ratio: str
    resolution: str
    quality: str | None = None
    asked_quality: str | None = None
    seed: int | None = None
    deferred: bool = False
    purpose: str = "image"

    @property
    def estimated_usd(self) -> Decimal:
        return self.list_usd


GenerationKind = Literal["generate", "edit", "extend"]

ThumbnailTemplate = Literal["default", "title_card", "cta_bar"]
OverlayRole = Literal["title", "subtitle", "cta", "caption"]
OverlayPosition = Literal["top", "center", "bottom", "top-left", "bottom-left", "bottom-right"]


class Overlay(Value):
    """A text on a thumbnail."""

    text: str
    role: OverlayRole = "caption"
    position: OverlayPosition = "bottom"


class Thumbnail(Value):
    """A picture with words on it, made from a clip's first frame at no cost.

    ``aspect_ratio`` is the canvas: 16:9, 9:16 or 1:1; another ratio means the nearest of them, None the clip's own.
    """

    template: ThumbnailTemplate = "default"
    aspect_ratio: str | None = None
    overlays: tuple[Overlay, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierRequest:
    """The request that has made a source clip, as its provider calls it: of this actor and of an account held here.

    ``given_usd``: what all that went into it costs, by the list. ``sha256`` is that of the clip as it was stored.
    """

    provider: str
    request_id: str
    made_on: date
    given_usd: Decimal
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRequest:
    """What was asked of VideoConductor. Only ``prompt`` is needed; None means "the configured default".

    Nobody asks for ``source_s``, what the source clip was measured to last and is billed for, ``source_made``, which
    request has made it, and ``shape_px``, what the given first frame was measured to have. ``max_usd``: nothing is
    started that could cost more, a still for the clip included.
    """

    prompt: str
    provider: str | None = None
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
    reference_images: tuple[str, ...] = ()
    last_frame_url: str | None = None
    source_video_url: str | None = None
    source_s: Decimal | None = None
    source_made: EarlierRequest | None = None
    shape_px: tuple[int, int] | None = None
    extend_s: int | None = None
    remaster: bool = False
    remaster_from_request_id: str | None = None
    clip_id: str | None = None
    pipeline_request_id: str | None = None
    purpose: str | None = None
    ref_code: str | None = None
    persist: bool = True
    thumbnail: Thumbnail | None = None
    idempotency_key: str | None = None
    max_usd: Decimal | None = None


class VideoPlan(_Planned):
    """What will be done for a VideoRequest.

    ``estimated_usd`` is Ring's figure (mode rate times seconds); ``list_usd``, from the provider's list prices, is what
    is reserved. ``first_frame`` is the still to be made first, at its own cost; ``frame_job_id`` is its job,
    ``made_frame`` the still once it is there, and ``frame_was_paid`` says that an earlier call has paid for it.
    ``made_thumbnail`` is what came of ``thumbnail``. ``duration_s`` of an extension is what it adds. ``follows`` is the
    request that has made the source clip, where its provider still has it and need not be given it anew.
    """

    kind: Literal["video"] = "video"
    quality_mode: str
    generation_kind: GenerationKind = "generate"
    duration_s: int
    aspect_ratio: str | None = None
    resolution: str | None = None
    image_url: str | None = None
    first_frame: ImagePlan | None = None
    last_frame_url: str | None = None
    source_video_url: str | None = None
    follows: str | None = None
    remaster_from_request_id: str | None = None
    clip_id: str | None = None
    pipeline_request_id: str | None = None
    purpose: str = "video"
    persist: bool = True
    frame_job_id: str | None = None
    frame_was_paid: bool = False
    made_frame: Asset | None = None
    made_frame_billed_usd: Decimal | None = None
    thumbnail: Thumbnail | None = None
    made_thumbnail: Asset | None = None
    estimated_usd: Decimal


Plan = ImagePlan | VideoPlan
"""Any plan; ``kind`` tells which."""
