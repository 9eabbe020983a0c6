"""``ring-mcp jobs``: look at what was asked and paid, carry a job on, settle one whose outcome is not known."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from ring_mcp.domain import DRIVEN, Failure, Job, JobState
from ring_mcp.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from ring_mcp.ledger.base import Ledger


@click.group()
def jobs() -> None:
    """Look at jobs, carry them on, settle unknown ones."""


@jobs.command("list")
@click.option("--state", "states", multiple=True, type=click.Choice([s.value for s in JobState]), help="Repeatable.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def list_(states: tuple[str, ...], limit: int, as_json: bool) -> None:
    """The newest jobs."""
    from ring_mcp.ledger.base import JobQuery

    async def read() -> list[Job]:
        async with _ledger() as ledger:
            query = JobQuery(states=[JobState(s) for s in states] or None, limit=limit)
            return list((await ledger.list_jobs(query)).jobs)

    found = asyncio.run(read())
    if as_json:
        for job in found:
            click.echo(json.dumps(summary(job), ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("job", no_wrap=True, min_width=36)
    table.add_column("state", no_wrap=True, min_width=10)
    table.add_column("cost", justify="right", no_wrap=True, min_width=7)
    table.add_column("prompt", overflow="ellipsis", no_wrap=True, ratio=1)
    for job in found:
        table.add_row(job.id, job.state.value, cost(job), " ".join(job.plan.prompt.split()))
    Console(highlight=False).print(table if found else "no jobs")


@jobs.command()
@click.argument("job_id")
def show(job_id: str) -> None:
    """Everything about one job, as JSON."""

    async def read() -> tuple[Job, list[dict[str, object]]]:
        async with _ledger() as ledger:
            job = await _get(ledger, job_id)
            return job, await ledger.records(f"generated_{job.kind}s", [asset.record_id for asset in job.assets])

    job, records = asyncio.run(read())
    from pydantic import TypeAdapter

    row = TypeAdapter(Job).dump_python(job, mode="json")
    click.echo(json.dumps({"job": row, "records": records}, indent=2, ensure_ascii=False, default=str))


@jobs.command()
@click.argument("job_id")
@click.option("--wait-s", type=click.FloatRange(0, 3600), default=120.0, show_default=True)
def resume(job_id: str, wait_s: float) -> None:
    """Carry a parked job on and wait for it."""
    from ring_mcp.app import open_app
    from ring_mcp.conductors.results import job_result
    from ring_mcp.config import load_config

    async def carry_on() -> Job:
        async with open_app(load_config()) as app:
            job = await _get(app.ledger, job_id)
            await app.runner.adopt(job)
            return await app.runner.wait(job.id, wait_s) or job

    job = asyncio.run(carry_on())
    click.echo(json.dumps(job_result(job).data(), indent=2, ensure_ascii=False))
    if job.state is not JobState.DONE:
        raise SystemExit(1)


@jobs.command()
@click.argument("job_id")
@click.option("--paid/--not-paid", "paid", required=True, default=None, help="What the provider's console says.")
def resolve(job_id: str, paid: bool) -> None:
    """Settle a job whose outcome is unknown, after a look at the provider's console."""

    async def settle() -> Job:
        async with _ledger() as ledger:
            job = await _get(ledger, job_id)
            return await ledger.save(job, resolved(job, paid))

    job = asyncio.run(settle())
    click.echo(f"{job.id} is settled: ${job.settled_usd} counts against the caps")


def resolved(job: Job, paid: bool) -> Job:
    """An unknown job, settled by a person. Raises InvalidRequest for any other."""
    if job.state is not JobState.UNKNOWN:
        hint = "it is still under way" if job.state in DRIVEN else "it is settled already"
        raise InvalidRequest(f"job {job.id} is {job.state}: {hint}")
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    message = f"outcome unknown; resolved by hand as {'paid' if paid else 'not paid'}"
    return replace(
        job.to(
            JobState.FAILED,
            failure=Failure(code="unknown_outcome", message=message, billed="yes" if paid else "no"),
            settled_usd=job.reserved_usd if paid else Decimal(0),
            finished_at=now,
        ),
        updated_at=now,
    )


def cost(job: Job) -> str:
    """What it cost, or what it may cost while that is open."""
    if job.settled_usd is not None:
        return f"${job.settled_usd:.2f}"
    return f"≤ ${job.reserved_usd:.2f}"


def summary(job: Job) -> dict[str, Any]:
    facts = {
        "jobId": job.id,
        "kind": job.kind,
        "state": job.state.value,
        "prompt": job.plan.prompt,
        "requestId": job.provider_request_id,
        "estimatedCostUsd": float(job.plan.estimated_usd),
        "billedCostUsd": float(job.billed_usd) if job.billed_usd is not None else None,
        "url": job.assets[0].url if job.assets else None,
        "error": job.failure.message if job.failure else None,
        "createdAt": job.created_at.isoformat(),
    }
    return {key: value for key, value in facts.items() if value is not None}


async def _get(ledger: Ledger, job_id: str) -> Job:
    job = await ledger.get(job_id)
    if job is None:
        raise NotFound(f"there is no job {job_id!r}; `ring-mcp jobs list` shows the newest")
    return job


@contextlib.asynccontextmanager
async def _ledger() -> AsyncIterator[Ledger]:
    from ring_mcp.app import open_ledger
    from ring_mcp.config import load_config

    ledger = open_ledger(load_config())
    await ledger.start()
    try:
        yield ledger
    finally:
        await ledger.aclose()
