"""The values that travel through a call: requests, plans, jobs, assets. All of them are frozen.

Money is ``Decimal`` US dollars, times are aware and UTC, sizes are bytes. They are one vocabulary, so they are imported
from here; the modules behind it only keep them apart by size.
"""

from ring_mcp.domain.accounts import Account, Holder, key_fingerprint
from ring_mcp.domain.caps import Caps, Spend, cap_left, check_caps, day_start, least_left, month_start, usd
from ring_mcp.domain.jobs import DRIVEN, TERMINAL, AuditRecord, Failure, Job, JobState
from ring_mcp.domain.media import Asset, ContentCredentials, MediaFile, MediaKind, Output, Value
from ring_mcp.domain.rates import Given, RateBucket, RateLimit, RateState, Spacing, Usual, space_out
from ring_mcp.domain.requests import (
    EarlierRequest,
    GenerationKind,
    ImagePlan,
    ImageRequest,
    Overlay,
    OverlayPosition,
    OverlayRole,
    Plan,
    PriceLine,
    Thumbnail,
    ThumbnailTemplate,
    VideoPlan,
    VideoRequest,
    add_up,
)
from ring_mcp.domain.team import LookOnly, Member, hash_token, is_name, is_token, make_token

__all__ = [
    "DRIVEN",
    "TERMINAL",
    "Account",
    "Asset",
    "AuditRecord",
    "Caps",
    "ContentCredentials",
    "EarlierRequest",
    "Failure",
    "GenerationKind",
    "Given",
    "Holder",
    "ImagePlan",
    "ImageRequest",
    "Job",
    "JobState",
    "LookOnly",
    "MediaFile",
    "MediaKind",
    "Member",
    "Output",
    "Overlay",
    "OverlayPosition",
    "OverlayRole",
    "Plan",
    "PriceLine",
    "RateBucket",
    "RateLimit",
    "RateState",
    "Spacing",
    "Spend",
    "Thumbnail",
    "ThumbnailTemplate",
    "Usual",
    "Value",
    "VideoPlan",
    "VideoRequest",
    "add_up",
    "cap_left",
    "check_caps",
    "day_start",
    "hash_token",
    "is_name",
    "is_token",
    "key_fingerprint",
    "least_left",
    "make_token",
    "month_start",
    "space_out",
    "usd",
]
