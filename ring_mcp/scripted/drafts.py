"""What a remaster starts from: the draft that an earlier run has made of the same words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from ring_mcp.errors import InvalidRequest, RingError
from ring_mcp.scripted.base import Maker, Row
from ring_mcp.scripted.clips import OPEN_STATES
from ring_mcp.scripted.compiler import Remaster
from ring_mcp.scripted.rows import row_mode
from ring_mcp.scripted.schema import Clip

DRAFTS = ("draft", "draft_i2v")

_WAIT = "Let the draft be finished first: run the script without remaster, then with it again."
_OTHER_WORDS = (
    "Run the script without remaster first, for a draft of these words; or name the video to edit: --source-url, or "
    "remaster.sourceVideoUrl of the clip."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """``remaster`` None: it is none. ``job_id``: whose result is edited, if it is one of this ledger. ``error``: why
    nothing can be made of this clip now."""

    remaster: Remaster | None = None
    job_id: str | None = None
    warnings: list[str] = field(default_factory=list)
    error: RingError | None = None


async def remaster_of(
    clip: Clip, drafts: Sequence[Row], words: str, source_url: str | None, maker: Maker, limit_s: Decimal | None
) -> Start:
    """What this clip is made again from: a given URL, else its draft, else nothing but its words.

    ``drafts`` are attempts at the clip, or at what it asks for, the newest last. One of other words is not taken
    unsaid; one that does not tell its words is, with a warning. ``limit_s``: the longest clip that can be edited.
    """
    usable = [row for row in drafts if row_mode(row) in DRAFTS and _is_usable(row)]
    # Rows of Ring's own tools do not tell their words: they pass here, and are named in a warning below.
    same = [row for row in usable if row.get("wordsKey", words) == words]
    is_given = bool(source_url or (clip.remaster and clip.remaster.source_video_url))
    draft = same[-1] if same else None
    found = await _look_at(draft, maker) if draft else _Draft()
    if is_given:
        # Whoever names a source has chosen it, whatever its words; the draft is only linked.
        older = draft or (usable[-1] if usable else {})
        return Start(
            remaster=Remaster(source_url=source_url, from_request_id=found.request_id or older.get("requestId"))
        )
    if draft is None and usable:
        other = InvalidRequest("its draft was made of other words; nothing was started", next_action=_OTHER_WORDS)
        return Start(remaster=Remaster(), error=other)
    if found.is_open:
        # Not made from its words meanwhile: the draft is paid for, and this would pay for the clip again.
        waits = InvalidRequest("the draft is still under way; nothing was started", next_action=_WAIT)
        return Start(remaster=Remaster(), error=waits)
    if found.url and limit_s is not None and clip.duration > limit_s:
        note = f"the draft is longer than the {limit_s} s that can be edited: it is made again at 720p"
        return Start(remaster=Remaster(from_request_id=found.request_id), warnings=[note])
    notes = (
        [] if draft is None or "wordsKey" in draft else [f"its draft does not say of which words it is: {found.url}"]
    )
    start = Remaster(source_url=found.url, from_request_id=found.request_id)
    return Start(remaster=start, job_id=found.job_id, warnings=notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    url: str | None = None
    request_id: str | None = None
    job_id: str | None = None
    is_open: bool = False


async def _look_at(row: Row, maker: Maker) -> _Draft:
    """What became of a draft: its job knows best, for addresses change, and what was left so may be done by now."""
    is_done = row.get("status") == "done"
    noted = _Draft(url=row.get("url") if is_done else None, request_id=row.get("requestId"))
    if not row.get("jobId"):
        return noted
    try:
        data = await maker.look(str(row["jobId"]))
    except RingError as exc:  # while nobody can say what became of it, it may still be there later
        state = getattr(exc, "extra", {}).get("state")
        is_open = not is_done and exc.code != "not_found" and (state is None or state in OPEN_STATES)
        return _Draft(is_open=True) if is_open else noted
    url = (data.get("video") or {}).get("url")
    return _Draft(
        url=url,
        request_id=data.get("requestId"),
        job_id=str(row["jobId"]) if url else None,
        is_open=data.get("state") in OPEN_STATES,
    )


def _is_usable(row: Row) -> bool:
    return bool(row.get("url")) if row.get("status") == "done" else row.get("status") == "pending"
