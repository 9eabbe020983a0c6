"""Events of a job (opened, submitted, accepted, stored, settled), each reported once: log line, metrics, spans.

The line is for people; its facts go along in ``extra`` for programs. None of them has a prompt, an address or a key.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any

from ring_mcp import metrics, telemetry
from ring_mcp.domain import Job, JobState, usd
from ring_mcp.errors import ProviderError
from ring_mcp.providers.vendors import BY_NAME

logger = logging.getLogger("ring_mcp.jobs")

_LEVELS = {
    JobState.FAILED: logging.WARNING,
    JobState.EXPIRED: logging.WARNING,
    JobState.UNKNOWN: logging.ERROR,
}
"""The log level of an ending: a warning where an operator may want to look, an error where one has to."""

_SENT = (JobState.SUBMITTING, JobState.UNKNOWN)


def log_opened(job: Job, *, joined: bool) -> None:
    if joined:
        _log(logging.INFO, job, "joined", "a request like that is there already, nothing new is paid")
    else:
        telemetry.count(metrics.USD_RESERVED, *_labels(job), amount=float(job.reserved_usd))
        _log(logging.INFO, job, "opened", f"reserved {usd(job.reserved_usd)}", usd=job.reserved_usd)


def log_change(before: Job, after: Job) -> None:
    """Report what is new in ``after``, which has just been written."""
    if before.state is not after.state and after.state is JobState.SUBMITTING:
        _log(logging.INFO, after, "submitted", f"may cost {usd(after.reserved_usd)}", usd=after.reserved_usd)
    elif before.state in _SENT and after.state in (JobState.RENDERING, JobState.STORING):
        _log(logging.INFO, after, "accepted", f"request {after.provider_request_id or '-'}")
    for asset in after.assets[len(before.assets) :]:
        facts = {"output": asset.index + 1, "bytes": asset.size_bytes, "record": asset.record_id, "key": asset.key}
        _log(logging.INFO, after, "stored", f"output {asset.index + 1}, {asset.size_bytes:,} bytes", **facts)
    if before.is_settled or not after.is_settled:
        return
    _measure_end(after)
    level = _LEVELS.get(after.state, logging.INFO)
    why = f", {after.failure.message} [{after.failure.code}]" if after.failure else ""
    code = after.failure.code if after.failure else None
    if after.settled_usd is None:
        words = f"may have cost {usd(after.reserved_usd)}{why}"
        _log(level, after, "unknown", words, usd=after.reserved_usd, code=code)
        return
    words = f"{after.state.value}, {usd(after.settled_usd)}{why}"
    _log(level, after, "settled", words, usd=after.settled_usd, billed_usd=after.billed_usd, code=code)


def step_of(name: str, job: Job) -> AbstractContextManager[telemetry.Span]:
    """A span around one step of a job: submit, poll, download, store or settle. It joins the trace of the call that
    opened the job, whichever process takes the step."""
    if not telemetry.is_tracing():
        return telemetry.NOTHING
    vendor = BY_NAME.get(job.plan.provider)
    facts = {
        "ring_mcp.job.id": job.id,
        "ring_mcp.job.kind": job.kind,
        "ring_mcp.job.state": job.state.value,
        "ring_mcp.sandbox": job.sandbox,
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": (vendor and vendor.gen_ai_name) or job.plan.provider,
        "gen_ai.request.model": job.plan.model,
        "gen_ai.output.type": job.kind,
    }
    return telemetry.span(f"{name} {job.plan.model}", facts, parent=job.plan.trace_parent)


def note_cost(span: telemetry.Span, job: Job) -> None:
    """How a job ended and what it cost: the provider's own figure where there is one, else the list price."""
    billed = job.billed_usd if job.billed_usd is not None else job.settled_usd
    span.note(
        {
            "ring_mcp.job.state": job.state.value,
            "gen_ai.response.model": job.served_model,
            "gen_ai.usage.cost.amount": None if billed is None else float(billed),
            "gen_ai.usage.cost.currency": None if billed is None else "USD",
            "gen_ai.usage.cost.source": None if billed is None else "local" if job.billed_usd is None else "provider",
            "ring_mcp.job.reserved_usd": float(job.reserved_usd),
            "error.type": job.failure.code if job.failure is not None else None,
        }
    )


def note_outcome(span: telemetry.Span, job: Job) -> None:
    """Where a step has left a job."""
    failure = job.failure.code if job.failure is not None else None
    span.note({"ring_mcp.job.state": job.state.value, "ring_mcp.job.progress": job.progress, "error.type": failure})


def count_carried(job: Job, answer: object) -> None:
    """Count a request that the courier made; only its answer is known here."""
    status = str(answer.http_status or "none") if isinstance(answer, ProviderError) else "200"
    telemetry.count(metrics.PROVIDER_REQUESTS, job.plan.provider, "paid", status)


def _measure_end(job: Job) -> None:
    seconds = (job.updated_at - job.created_at).total_seconds()
    # Not below 0: the clock may have been set back in between, and a metric must not fail a job's last write.
    telemetry.count(metrics.JOB_DURATION, job.state.value, *_labels(job), amount=max(0.0, seconds))
    if job.settled_usd is not None:
        telemetry.count(metrics.USD_SETTLED, *_labels(job), amount=float(job.settled_usd))
    if job.billed_usd is not None:
        telemetry.count(metrics.USD_BILLED, *_labels(job), amount=float(job.billed_usd))


def _labels(job: Job) -> tuple[str, str, str, str]:
    return job.kind, job.plan.provider, job.plan.model, metrics.world(sandbox=job.sandbox)


def _log(level: int, job: Job, event: str, words: str, **facts: Any) -> None:
    world = metrics.world(sandbox=job.sandbox)
    telemetry.count(metrics.JOB_EVENTS, event, job.kind, job.plan.provider, world)
    # After the count: metrics do not depend on the log level.
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
