"""What a remaster starts from: the draft that an earlier run has made of the clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from ring_mcp.errors import InvalidRequest, RingError
from ring_mcp.scripted.base import Maker, Row
from ring_mcp.scripted.clips import OPEN_STATES
from ring_mcp.scripted.compiler import Remaster
from ring_mcp.scripted.schema import Clip

_DRAFTS = ("draft", "draft_i2v")
_WAIT = "Let the draft be finished first: run the script without remaster, then with it again."


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """``remaster`` None: it is none. ``error``: why nothing can be made of this clip now."""

    remaster: Remaster | None = None
    warnings: list[str] = field(default_factory=list)
    error: RingError | None = None


async def remaster_of(
    clip: Clip, rows: Sequence[Row], source_url: str | None, maker: Maker, limit_s: Decimal | None
) -> Start:
    """What this clip is made again from: a given URL, else its draft, else nothing but its words.

    ``rows`` are those of the clip, the newest last; ``limit_s`` is the longest clip that can be edited.
    """
    draft = next((row for row in reversed(rows) if row.get("qualityMode") in _DRAFTS and _is_usable(row)), None)
    is_given = bool(source_url or (clip.remaster and clip.remaster.source_video_url))
    url, request_id, is_open = await _found(draft, maker) if draft else (None, None, False)
    if is_given:
        return Start(remaster=Remaster(source_url=source_url, from_request_id=request_id))
    if is_open:
        waits = InvalidRequest("the draft is still under way; nothing was started", next_action=_WAIT)
        return Start(remaster=Remaster(), error=waits)
    if url and limit_s is not None and clip.duration > limit_s:
        note = f"the draft is longer than the {limit_s} s that can be edited: it is made again at 720p"
        return Start(remaster=Remaster(from_request_id=request_id), warnings=[note])
    return Start(remaster=Remaster(source_url=url, from_request_id=request_id))


async def _found(row: Row, maker: Maker) -> tuple[str | None, str | None, bool]:
    """URL and provider's id of a draft, and whether it is still under way: what was left so may be done by now."""
    if row.get("status") == "done" or not row.get("jobId"):
        return row.get("url"), row.get("requestId"), False
    try:
        data = await maker.look(str(row["jobId"]))
    except RingError as exc:  # while nobody can say what became of it, it may still be there later
        state = getattr(exc, "extra", {}).get("state")
        return None, None, exc.code != "not_found" and (state is None or state in OPEN_STATES)
    return (data.get("video") or {}).get("url"), data.get("requestId"), data.get("state") in OPEN_STATES


def _is_usable(row: Row) -> bool:
    return bool(row.get("url")) if row.get("status") == "done" else row.get("status") == "pending"
