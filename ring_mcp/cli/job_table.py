"""The table of ``ring-mcp jobs list``: a line for each job, with as many columns as the terminal has room for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ring_mcp.cli.job_lookup import shorten
from ring_mcp.cli.show import SANDBOX_MONEY, dollars, safe
from ring_mcp.clients.gateway_answers import read_cost, read_instant

_WITH_KIND, _WITH_CLIP = 80, 100
_PROMPT_CHARS = 30
_UNSAID = "-"
# What the other columns take: an address is shown where there is room for all of it, or not at all.
_FIXED_CHARS = 68


def print_jobs(jobs: Sequence[Mapping[str, Any]]) -> None:
    """``jobs`` as ring-job-list gives them, newest first; a gateway of another version may leave out fields."""
    console = Console(highlight=False)
    if not jobs:
        console.print("no jobs")
        return
    sandboxed = [bool(job.get("sandbox")) for job in jobs]
    urls = [safe(job.get("url") or "") for job in jobs]
    has_kind = console.width >= _WITH_KIND
    has_clip = console.width >= _WITH_CLIP and any(job.get("clipId") for job in jobs)
    has_url = any(urls) and console.width >= _FIXED_CHARS + _PROMPT_CHARS + max(map(len, urls))
    ids = [str(job.get("jobId") or _UNSAID) for job in jobs]
    short = shorten(ids)
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("job", no_wrap=True)
    table.add_column("when (UTC)", no_wrap=True)
    if has_kind:
        table.add_column("kind", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("cost", justify="right", no_wrap=True)
    if has_clip:
        table.add_column("clip", no_wrap=True, overflow="ellipsis", max_width=16)
    table.add_column("prompt", overflow="ellipsis", no_wrap=True, ratio=1)
    if has_url:
        table.add_column("url", no_wrap=True)
    for job, job_id, is_sandbox, url in zip(jobs, ids, sandboxed, urls, strict=True):
        mark = " (sandbox)" if is_sandbox and not all(sandboxed) else ""
        cells = [short[job_id], _when(job)]
        cells += [job.get("kind") or _UNSAID] if has_kind else []
        cells += [job.get("state") or _UNSAID, f"{_cost(job)}{mark}"]
        cells += [job.get("clipId") or ""] if has_clip else []
        cells += [job.get("prompt") or ""]
        cells += [url] if has_url else []
        table.add_row(*(Text(safe(cell)) for cell in cells))
    if all(sandboxed):
        console.print(SANDBOX_MONEY, markup=False)
    console.print(table)


def _when(job: Mapping[str, Any]) -> str:
    at = read_instant(job)
    if at is None:
        return _UNSAID
    return f"{at:%m-%d %H:%M}" if at.year == datetime.now(UTC).year else f"{at:%Y-%m-%d}"


def _cost(job: Mapping[str, Any]) -> str:
    """What it cost, or what it may cost while that is open."""
    amount = read_cost(job)
    if amount is None:
        return _UNSAID
    is_open = job.get("state") not in ("done", "failed", "refused", "expired")
    return f"{'≤ ' if is_open else ''}{dollars(amount)}"
