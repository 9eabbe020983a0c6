"""One clip of a run: how it stands, what names its job, and its row of the manifest. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from ring_mcp.domain import DRIVEN
from ring_mcp.errors import InvalidRequest, RingError
from ring_mcp.scripted.base import Row

Status = Literal["waiting", "open", "done", "error"]

OPEN_STATES = frozenset(state.value for state in DRIVEN)

_STATUS_OF_ROW: Mapping[Status, str] = {"waiting": "pending", "open": "pending", "done": "done", "error": "error"}

_SIGNED = "X-Amz-Signature="


@dataclass(slots=True, kw_only=True)
class ClipRun:
    """One clip of a run, as it stands. ``quoted_usd`` is what it would cost now, None until it is known; ``stood``: an
    earlier run has paid for it."""

    id: str
    duration_s: int
    arguments: Mapping[str, Any]
    key: str
    mode: str
    job_id: str | None = None
    stood: bool = False
    status: Status = "waiting"
    state: str = ""
    progress: int = 0
    quoted_usd: Decimal | None = None
    data: dict[str, Any] = field(default_factory=dict)
    error: RingError | None = None
    warnings: list[str] = field(default_factory=list)
    local_path: str | None = None

    @property
    def model(self) -> str:
        return str(self.data.get("servedModel") or self.data.get("model") or "")

    @property
    def billed_usd(self) -> Decimal:
        """What the provider said it billed, for the clip and for the still that was made for it."""
        told = self.data if self.error is None else getattr(self.error, "extra", {})
        parts = (told.get("billedCostUsd"), (told.get("firstFrame") or {}).get("billedCostUsd"))
        return sum((Decimal(str(part)) for part in parts if part is not None), Decimal(0))

    @property
    def reserved_usd(self) -> Decimal:
        """What is held back for it: it is under way, or nobody knows whether it was billed."""
        is_unknown = self.error is not None and self.error.billed == "unknown"
        return (self.quoted_usd or Decimal(0)) if self.status == "open" or is_unknown else Decimal(0)


def script_key(arguments: Mapping[str, Any]) -> str:
    """The idempotency key of a clip. A signature in the address of its source is not part of what is asked for."""
    facts = {name: unsigned(value) if name == "sourceVideoUrl" else value for name, value in arguments.items()}
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False)
    return f"script:{hashlib.sha256(text.encode()).hexdigest()[:40]}"


def unsigned(url: str) -> str:
    """An address without its query, which is where object stores put signatures."""
    return urlunsplit((*urlsplit(url)[:3], "", ""))


def _kept(url: str | None) -> str | None:
    """An address as a file may have it: whoever has the signed one can read a private bucket, until it expires."""
    return unsigned(url) if url and _SIGNED in url else url


def manifest_fields(clip: ClipRun, request_id: str) -> dict[str, Any]:
    """A row as Ring's version 3 has it, with what ``quote`` needs to find the job again."""
    told = clip.data if clip.error is None else getattr(clip.error, "extra", {})
    made = told.get("video") or {}
    return {
        "pipelineRequestId": request_id,
        "duration": clip.duration_s,
        "status": _STATUS_OF_ROW[clip.status],
        "generationKind": told.get("generationKind"),
        "remasterFromRequestId": clip.arguments.get("remasterFromRequestId"),
        "remasterFromVideoUrl": _kept(clip.arguments.get("sourceVideoUrl")),
        "requestId": told.get("requestId"),
        "url": _kept(made.get("url")),
        "temporaryUrl": made.get("temporaryUrl"),
        "firstFrameUrl": _kept((told.get("firstFrame") or {}).get("url")),
        "thumbnailUrl": _kept((told.get("thumbnail") or {}).get("url")),
        "estimatedCostUsd": told.get("estimatedCostUsd"),
        "billedCostUsd": told.get("billedCostUsd"),
        "model": told.get("model"),
        "resolution": told.get("resolution"),
        "jobId": clip.job_id,
        "idempotencyKey": clip.key,
        "localPath": clip.local_path,
        "error": clip.error.message if clip.error is not None and clip.status == "error" else None,
    }


def is_usable(row: Row) -> bool:
    """Whether a remaster can start from this draft, now or when it is done."""
    return bool(row.get("url")) if row.get("status") == "done" else row.get("status") == "pending"


def draft_open(job_id: str, how: str) -> InvalidRequest:
    return InvalidRequest(
        f"its draft (job {job_id}) is not there yet: {how}",
        next_action="Call again when the draft is done; nothing was spent on the remaster.",
    )
