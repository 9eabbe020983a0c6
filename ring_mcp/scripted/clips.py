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

Status = Literal["waiting", "open", "done", "error"]

OPEN_STATES = frozenset(state.value for state in DRIVEN)

_STATUS_OF_ROW: Mapping[Status, str] = {"waiting": "pending", "open": "pending", "done": "done", "error": "error"}

_ADDRESSES = ("sourceVideoUrl", "imageUrl")
_SIGNED = "X-Amz-Signature="


@dataclass(slots=True, kw_only=True)
class ClipRun:
    """One clip of a run, as it stands. ``quoted_usd`` is what it would cost now, None until it is known; ``stood``: an
    earlier run has brought it to its end; ``unsaved``: a file of it was asked for and could not be written."""

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
    unsaved: bool = False

    @property
    def model(self) -> str:
        return str(self.data.get("servedModel") or self.data.get("model") or "")

    @property
    def billed_usd(self) -> Decimal:
        """What the provider said it billed, for the clip and for the still that was made for it."""
        told = self.told
        parts = (told.get("billedCostUsd"), (told.get("firstFrame") or {}).get("billedCostUsd"))
        return sum((Decimal(str(part)) for part in parts if part is not None), Decimal(0))

    @property
    def reserved_usd(self) -> Decimal:
        """What is held back for it: it is under way, or nobody knows whether it was billed."""
        told = self.told.get("reservedUsd")
        if told is not None:
            return Decimal(str(told))
        return (self.quoted_usd or Decimal(0)) if self.status == "open" else Decimal(0)

    @property
    def is_another_by_now(self) -> bool:
        """Its words have been made before, with another model or another price list: the ledger has their key."""
        return self.error is not None and self.error.code == InvalidRequest.code and self.key in self.error.message

    @property
    def told(self) -> Mapping[str, Any]:
        """What is known of its job, in whichever way it was told."""
        return self.data if self.error is None else getattr(self.error, "extra", {})


def script_key(arguments: Mapping[str, Any]) -> str:
    """The idempotency key of a clip. A signature in the address of its source is not part of what is asked for."""
    facts = {name: _kept(value) if name in _ADDRESSES else value for name, value in arguments.items()}
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
    told = clip.told
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
