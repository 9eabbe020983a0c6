"""One line in the log for each thing that happens to a job: opened, submitted, accepted, stored, settled.

The line is for people; its facts are beside it for programs (``extra``). No prompt, address or key is in either.
"""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Any

from ring_mcp.domain import Job, JobState, usd

logger = logging.getLogger("ring_mcp.jobs")

_LEVELS = {
    JobState.FAILED: logging.WARNING,
    JobState.EXPIRED: logging.WARNING,
    JobState.UNKNOWN: logging.ERROR,
}
"""Of an end: what somebody may want to look at is a warning, what somebody has to look at is an error."""


_SENT = (JobState.SUBMITTING, JobState.UNKNOWN)


def log_opened(job: Job, *, joined: bool) -> None:
    if joined:
        _log(logging.INFO, job, "joined", "a request like that is there already, nothing new is paid")
    else:
        _log(logging.INFO, job, "opened", f"reserved {usd(job.reserved_usd)}", usd=job.reserved_usd)


def log_change(before: Job, after: Job) -> None:
    """What is new in ``after``, which has just been written."""
    if before.state is not after.state and after.state is JobState.SUBMITTING:
        _log(logging.INFO, after, "submitted", f"may cost {usd(after.reserved_usd)}", usd=after.reserved_usd)
    elif before.state in _SENT and after.state in (JobState.RENDERING, JobState.STORING):
        _log(logging.INFO, after, "accepted", f"request {after.provider_request_id or '-'}")
    for asset in after.assets[len(before.assets) :]:
        facts = {"output": asset.index + 1, "bytes": asset.size_bytes, "record": asset.record_id, "key": asset.key}
        _log(logging.INFO, after, "stored", f"output {asset.index + 1}, {asset.size_bytes:,} bytes", **facts)
    if before.is_settled or not after.is_settled:
        return
    level = _LEVELS.get(after.state, logging.INFO)
    why = f", {after.failure.message} [{after.failure.code}]" if after.failure else ""
    if after.settled_usd is None:
        facts = {"usd": after.reserved_usd, "billed_usd": None, "code": after.failure.code if after.failure else None}
        _log(level, after, "unknown", f"may have cost {usd(after.reserved_usd)}{why}", **facts)
        return
    facts = {
        "usd": after.settled_usd,
        "billed_usd": after.billed_usd,
        "code": after.failure.code if after.failure else None,
    }
    _log(level, after, "settled", f"{after.state.value}, {usd(after.settled_usd)}{why}", **facts)


def _log(level: int, job: Job, event: str, words: str, **facts: Any) -> None:
    if not logger.isEnabledFor(level):
        return
    seconds = round((job.updated_at - job.created_at).total_seconds(), 3)
    request_id = job.plan.http_request_id
    told = {
        "event": event,
        "job": job.id,
        "kind": job.kind,
        "provider": job.plan.provider,
        "model": job.served_model or job.plan.model,
        "provider_request": job.provider_request_id,
        "actor": job.actor_id,
        "request": request_id,
        "seconds": seconds,
        "sandbox": job.sandbox or None,
        **{name: float(value) if isinstance(value, Decimal) else value for name, value in facts.items()},
    }
    whose = f"{job.kind} at {job.plan.provider}, {told['model']}{', SANDBOX' if job.sandbox else ''}"
    asked = f", request={request_id}" if request_id else ""
    logger.log(
        level,
        "job %s %s after %.1f s: %s; %s, actor=%s%s",
        *(job.id, event, seconds, words, whose, job.actor_id, asked),
        extra={"facts": {name: value for name, value in told.items() if value is not None}},
    )
