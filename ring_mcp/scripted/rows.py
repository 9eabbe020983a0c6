"""Rows of a manifest: which are of one clip, and what becomes of one that is written by several. Pure.

A row is the newest attempt at a clip in a mode; what it has replaced is kept in its ``superseded``. So whoever writes
late, and whatever the words of a clip become, no job that was paid for is forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ring_mcp.scripted.base import Row
from ring_mcp.scripted.clips import manifest_mode

# Each change reads and writes the whole file, so what is kept of old takes has a bound.
MAX_SUPERSEDED = 100

_OF_ONE_JOB = (
    *("billedBy", "billedCostUsd", "estimatedCostUsd", "firstFrameBilledCostUsd", "firstFrameUrl", "localPath"),
    *("model", "remasterFromRequestId", "remasterFromVideoUrl", "requestId", "resolution", "temporaryUrl"),
    *("thumbnailUrl", "url"),
)
_OF_ONE_ATTEMPT = (
    *_OF_ONE_JOB,
    *("attemptAt", "duration", "error", "generationKind", "idempotencyKey", "jobId", "status", "wordsKey"),
)


def row_key(row: Row) -> str:
    """Ring's: clip and mode. Rows of two scripts may have one key; ``pipelineRequestId`` tells them apart."""
    return f"{row.get('id')}::{row_mode(row)}"


def row_mode(row: Row) -> str:
    return manifest_mode(str(row.get("qualityMode")), row.get("generationKind"))


def find_row(rows: Sequence[Any], row: Row) -> Row | None:
    """The row of the same script, clip and mode; else one that does not say of which script it is."""
    same = [other for other in rows if isinstance(other, dict) and row_key(other) == row_key(row)]
    # One of Ring's own, that does not say, becomes the row of the first script that has such a clip.
    for script in (row.get("pipelineRequestId"), None):
        for other in same:
            if other.get("pipelineRequestId") == script:
                return other
    return None


def merge_row(rows: list[Any], row: Row) -> list[Any]:
    """``rows`` with ``row`` laid over the one of its script, clip and mode, or put at the end."""
    old = find_row(rows, row)
    if old is None:
        return [*rows, _clean({**row, "_key": row_key(row)})]
    new = {**_laid_over(old, row), "_key": row_key(row)}
    return [new if other is old else other for other in rows]


def attempt_of(rows: Sequence[Any], row: Row) -> Row:
    """``row`` as it stands among ``rows``: the row itself, or what other words have superseded."""
    found = find_row(rows, row) or row
    return next((each for each in (found, *list_superseded(found)) if _is_same_attempt(each, row)), found)


def list_superseded(row: Row) -> list[Row]:
    listed = row.get("superseded")
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def _laid_over(old: Row, row: Row) -> Row:
    if _is_same_attempt(old, row):
        return _continue_row(old, row)
    entries = list_superseded(old)
    known = next((entry for entry in entries if _is_same_attempt(entry, row)), None)
    others = [entry for entry in entries if entry is not known]
    mine = _continue_row(known, row) if known is not None else _clean(dict(row))
    if str(row.get("attemptAt") or "") < str(old.get("attemptAt") or ""):  # whoever writes has begun before the others
        return {**old, "superseded": [*others, _entry(mine)][-MAX_SUPERSEDED:]}
    # Only what leads to a job or a clip is worth keeping; a bare row is simply replaced.
    if old.get("jobId") or old.get("idempotencyKey") or old.get("url") or old.get("requestId"):
        others = [*others, _entry(old)][-MAX_SUPERSEDED:]
    kept = {name: value for name, value in old.items() if name not in (*_OF_ONE_ATTEMPT, "superseded")}
    return {**kept, **mine, **({"superseded": others} if others else {})}


def _continue_row(old: Row, row: Row) -> Row:
    """The same attempt, later: what is done stays done, whoever wrote first."""
    has_new_job = _differ(old, row, "jobId")
    is_late = (
        "idempotencyKey" in row and old.get("status") == "done" and row.get("status") != "done" and not has_new_job
    )
    new = {**old, **row}
    if is_late:
        new["status"] = "done"
    elif has_new_job or _differ(old, row, "requestId"):
        # Another job or request: an address or a bill of the old one must not stand beside the new one's id.
        for name in _OF_ONE_JOB:
            if name not in row:
                new.pop(name, None)
    # Whoever told the cost first keeps it: two runs that both tell it would make the sums too large.
    if old.get("billedBy") and not has_new_job:
        new["billedBy"] = old["billedBy"]
    return _clean(new)


def _differ(old: Row, row: Row, name: str) -> bool:
    return None not in (old.get(name), row.get(name)) and old[name] != row[name]


def _is_same_attempt(old: Row, row: Row) -> bool:
    return row.get("idempotencyKey") in (None, old.get("idempotencyKey"))


def _entry(row: Row) -> Row:
    return {name: row[name] for name in (*_OF_ONE_ATTEMPT, "qualityMode", "updatedAt") if name in row}


def _clean(row: Row) -> Row:
    if row.get("status") != "error":
        row.pop("error", None)
    return row
