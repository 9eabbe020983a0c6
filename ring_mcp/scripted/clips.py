"""One clip of a run: how it stands, what names its job, and its row of the manifest. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from ring_mcp.domain import DRIVEN
from ring_mcp.errors import RingError
from ring_mcp.scripted.base import Row

Status = Literal["waiting", "open", "done", "error"]

OPEN_STATES = frozenset(state.value for state in DRIVEN)

_STATUS_OF_ROW: Mapping[Status, str] = {"waiting": "pending", "open": "pending", "done": "done", "error": "error"}

# What changes the result or its price. Names, purposes and thumbnails are not in it: editing those pays nothing.
_ASKED = (
    *("prompt", "duration", "aspectRatio", "resolution", "provider", "model", "imageUrl", "sourceVideoUrl"),
    *("firstFramePrompt", "imageProvider", "imageModel", "imageResolution", "persistToFilebase"),
)
_WORDS = ("prompt", "firstFramePrompt")
_ADDRESSES = ("sourceVideoUrl", "imageUrl")
_SIGNED = "X-Amz-Signature="


@dataclass(slots=True, kw_only=True)
class ClipRun:
    """One clip of a run, as it stands.

    ``attempts``: what earlier runs have noted of this very clip, the newest first. ``quoted_usd``: what it would cost
    now, None until it is known. ``stood``: an earlier run has brought it to its end. ``joined``: another run has opened
    its job. ``may_count``: this one has, or takes over from one that has not told what it cost; ``counts``: its cost is
    this run's to tell. ``again``: what is said, before the spend, of one that was paid for before. ``has_done``: one of
    its name and mode is done. ``own_files``: where takes of it were saved; ``others_files``: where those of others
    were; ``unsaved``: a file was asked for and could not be written. ``superseded_at``: when the job was begun that
    other words have replaced since.
    """

    id: str
    duration_s: int
    arguments: Mapping[str, Any]
    key: str
    mode: str
    words: str = ""
    attempts: Sequence[Row] = ()
    job_id: str | None = None
    stood: bool = False
    joined: bool = False
    may_count: bool = False
    counts: bool = False
    status: Status = "waiting"
    state: str = ""
    progress: int = 0
    quoted_usd: Decimal | None = None
    data: dict[str, Any] = field(default_factory=dict)
    error: RingError | None = None
    again: str | None = None
    has_done: bool = False
    own_files: frozenset[str] = frozenset()
    others_files: frozenset[str] = frozenset()
    superseded_at: str | None = None
    warnings: list[str] = field(default_factory=list)
    local_path: str | None = None
    unsaved: bool = False

    @property
    def model(self) -> str:
        return str(self.data.get("servedModel") or self.data.get("model") or "")

    @property
    def billed_usd(self) -> Decimal:
        """What the provider said it billed, for the clip and for the still that was made for it."""
        return sum((Decimal(str(part)) for part in _bills(self.told) if part is not None), Decimal(0))

    @property
    def reserved_usd(self) -> Decimal:
        """What is held back for it: it is under way, or nobody knows whether it was billed."""
        told = self.told.get("reservedUsd")
        if told is not None:
            return Decimal(str(told))
        return (self.quoted_usd or Decimal(0)) if self.status == "open" else Decimal(0)

    @property
    def told(self) -> Mapping[str, Any]:
        """What is known of its job, in whichever way it was told."""
        return self.data if self.error is None else getattr(self.error, "extra", {})


def script_key(
    arguments: Mapping[str, Any], mode: str, provider: str, *, source_job_id: str | None = None, take: int = 1
) -> str:
    """The idempotency key of a clip: what its provider is asked, and nothing else.

    ``mode`` and ``provider`` are the effective ones. A signature in an address is not part of what is asked for, and a
    source that is one of our own results is known by its job, for its address may change. ``take`` tells apart clips of
    one script that are asked for in the same words.
    """
    facts = {
        name: _keep_url(value) if name in _ADDRESSES else value for name, value in arguments.items() if name in _ASKED
    }
    facts["provider"] = provider
    if source_job_id is not None:
        facts["sourceVideoUrl"] = f"job:{source_job_id}"
    if "sourceVideoUrl" in facts:  # it stays as long as it is
        facts.pop("duration", None)
    return f"script:{_digest({**facts, 'mode': mode, 'take': take})}"


def words_key(arguments: Mapping[str, Any]) -> str:
    """What tells a draft of these words from one of others."""
    return _digest({name: arguments.get(name) for name in _WORDS})[:16]


def manifest_mode(quality_mode: str, generation_kind: str | None) -> str:
    """An edit and a clip that is made again are both ``production``: Ring's manifest tells them apart."""
    # A row that was read has the ending already, and must not get it twice.
    return f"{quality_mode}_edit" if generation_kind == "edit" and not quality_mode.endswith("_edit") else quality_mode


def strip_signature(url: str) -> str:
    """An address without its query, which is where object stores put signatures."""
    return urlunsplit((*urlsplit(url)[:3], "", ""))


def _digest(facts: Mapping[str, Any]) -> str:
    # Sorted: the same facts in another order are the same clip.
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def _keep_url(url: str | None) -> str | None:
    """An address as a file may have it: whoever has the signed one can read a private bucket, until it expires."""
    # Only where there is a signature: another query (?v=2) may name another file.
    return strip_signature(url) if url and _SIGNED in url else url


def _bills(told: Mapping[str, Any]) -> tuple[Any, Any]:
    """Of the clip, and of the still that was made for it."""
    return told.get("billedCostUsd"), (told.get("firstFrame") or {}).get("billedCostUsd")


def manifest_fields(clip: ClipRun, request_id: str) -> dict[str, Any]:
    """A row as Ring's version 3 has it, with what ``quote`` needs to find the job again."""
    told = clip.told
    made = told.get("video") or {}
    billed_usd, frame_billed_usd = _bills(told)
    return {
        "pipelineRequestId": request_id,
        "duration": clip.duration_s,
        "status": _STATUS_OF_ROW[clip.status],
        "generationKind": told.get("generationKind"),
        "remasterFromRequestId": clip.arguments.get("remasterFromRequestId"),
        "remasterFromVideoUrl": _keep_url(clip.arguments.get("sourceVideoUrl")),
        "requestId": told.get("requestId"),
        "url": _keep_url(made.get("url")),
        "temporaryUrl": made.get("temporaryUrl"),
        "firstFrameUrl": _keep_url((told.get("firstFrame") or {}).get("url")),
        "thumbnailUrl": _keep_url((told.get("thumbnail") or {}).get("url")),
        "estimatedCostUsd": told.get("estimatedCostUsd"),
        "billedCostUsd": billed_usd,
        "firstFrameBilledCostUsd": frame_billed_usd,
        "model": told.get("model"),
        "resolution": told.get("resolution"),
        "jobId": clip.job_id,
        "idempotencyKey": clip.key,
        "wordsKey": clip.words or None,
        # A replaced job keeps its own begin: as the newest attempt it would take the row from what has replaced it.
        "attemptAt": clip.superseded_at,
        "localPath": clip.local_path,
        "error": clip.error.message if clip.error is not None and clip.status == "error" else None,
    }
