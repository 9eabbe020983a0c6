"""What a server says, without what means nothing here; and why one says nothing. Pure."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ring_mcp.clients.gateway_errors import NEXT, as_lost_reply
from ring_mcp.errors import RingError


def without_paths(value: Any) -> Any:
    """An answer without ``localPath``: a path over there means nothing here, or another file."""
    if isinstance(value, dict):
        return {name: without_paths(each) for name, each in value.items() if name != "localPath"}
    return [without_paths(each) for each in value] if isinstance(value, list) else value


def read_jobs(page: Mapping[str, Any], base_url: str) -> list[dict[str, Any]]:
    """The jobs of one page of a list; what each has its reader sees. Raises RingError where it is no list of jobs."""
    jobs = page.get("jobs")
    if not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs):
        raise RingError(f"{base_url} answered with no list of jobs", next_action=NEXT[404])
    return jobs


def read_job_id(data: Mapping[str, Any], base_url: str) -> str:
    """The job that a paid request has begun. Raises RingError: nobody knows which it is, and it may be paid."""
    if not isinstance(job_id := data.get("jobId"), str):
        raise as_lost_reply(f"{base_url} took the request and does not say which job it is")
    return job_id


def read_cost(job: Mapping[str, Any]) -> float | None:
    """What a listed job counts, or is estimated at, in US dollars; None where it does not say."""
    for name in ("costUsd", "estimatedCostUsd"):
        amount = job.get(name)
        if isinstance(amount, int | float) and not isinstance(amount, bool) and math.isfinite(amount):
            return amount
    return None


def read_instant(job: Mapping[str, Any]) -> datetime | None:
    """When a listed job was asked for, in UTC; None where it does not say."""
    try:
        return datetime.fromisoformat(str(job.get("createdAt"))).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def reason(exc: Exception) -> str:
    """The system's own word for it, which hides at the bottom of the chain, on one line."""
    cause: BaseException = exc
    while (deeper := cause.__cause__ or cause.__context__) is not None:
        cause = deeper
    text = str(cause) or str(exc) or type(exc).__name__
    if isinstance(cause, OSError) and cause.errno is not None:
        # Errors of name look-ups are negative numbers, for which strerror knows no words.
        text = os.strerror(cause.errno) if cause.errno > 0 else cause.strerror or text
    return " ".join(text.split())
