"""``ring-mcp jobs``: look at what was asked and paid, carry a job on, settle one whose outcome is not known."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from ring_mcp.cli.backend import gateway_option, load_config_with, token_of
from ring_mcp.cli.show import safe
from ring_mcp.cli.spelled import JOB_ID, WAIT, one_of
from ring_mcp.domain import TERMINAL, Job, JobState
from ring_mcp.errors import NotFound, RingError

if TYPE_CHECKING:
    from ring_mcp.cli.backend import Backend
    from ring_mcp.cli.progress import Watch
    from ring_mcp.config import Config
    from ring_mcp.ledger.base import Ledger


@click.group()
def jobs() -> None:
    """Look at jobs, carry them on, settle unknown ones.

    In this process they are those of the whole ledger; at a gateway those of the token's own actor.
    """


@jobs.command("list")
@click.option("--state", "states", multiple=True, type=one_of(*(s.value for s in JobState)), help="Repeatable.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@gateway_option
def list_(states: tuple[str, ...], limit: int, as_json: bool, gateway: str | None) -> None:
    """The newest jobs."""
    config = load_config_with(gateway)
    listing = _list_there if config.api_base_url else _list_here
    found = asyncio.run(listing(config, states, limit))
    if as_json:
        for job in found:
            click.echo(json.dumps({key: value for key, value in job.items() if key != "_cost"}, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("job", no_wrap=True, min_width=36)
    table.add_column("state", no_wrap=True, min_width=10)
    table.add_column("cost", justify="right", no_wrap=True, min_width=7)
    table.add_column("prompt", overflow="ellipsis", no_wrap=True, ratio=1)
    for job in found:
        table.add_row(safe(job["jobId"]), safe(job["state"]), job["_cost"], Text(safe(job["prompt"])))
    Console(highlight=False).print(table if found else "no jobs")


@jobs.command()
@click.argument("job_id", type=JOB_ID)
@gateway_option
def show(job_id: str, gateway: str | None) -> None:
    """Everything about one job, as JSON; at a gateway what ring-job-get says of it."""
    config = load_config_with(gateway)
    if config.api_base_url:
        click.echo(json.dumps(asyncio.run(_show_there(config, job_id)), indent=2, ensure_ascii=False))
        return

    async def read() -> tuple[Job, list[dict[str, object]]]:
        async with _ledger() as ledger:
            job = await _get(ledger, job_id)
            ids = [asset.record_id for asset in job.assets]
            records = await ledger.records(f"generated_{job.kind}s", ids)
            return job, sorted(records, key=lambda record: ids.index(str(record["id"])))

    job, records = asyncio.run(read())
    from pydantic import TypeAdapter

    row = TypeAdapter(Job).dump_python(job, mode="json")
    click.echo(json.dumps({"job": row, "records": records}, indent=2, ensure_ascii=False, default=str))


@jobs.command()
@click.argument("job_id", type=JOB_ID)
@click.option("--wait-s", type=WAIT, default=120.0, show_default=True)
@click.option("--json/--text", "as_json", default=None, help="Default: text on a terminal, otherwise JSON.")
@click.option("--open", "opened", is_flag=True, help="Show the result in the platform's viewer.")
@gateway_option
def resume(job_id: str, wait_s: float, as_json: bool | None, opened: bool, gateway: str | None) -> None:
    """Carry a parked job on and wait for it. Exit status 3: still under way."""
    from ring_mcp.cli.progress import fail, finish, follow

    as_json = not sys.stdout.isatty() if as_json is None else as_json

    async def work(backend: Backend, watch: Watch) -> dict[str, Any]:
        watch.job_id = job_id
        return await backend.job(job_id, wait_s, watch)

    try:
        data = follow(load_config_with(gateway), work)
    except RingError as exc:
        if exc.job_id is None:
            raise
        fail(exc, as_json=as_json, gateway=gateway)
    finish(data, as_json=as_json, gateway=gateway, opened=opened)


@jobs.command()
@click.argument("job_id", type=JOB_ID)
@click.option("--paid", "outcome", flag_value="paid", help="The provider's console shows that it was billed.")
@click.option("--not-paid", "outcome", flag_value="not paid", help="It shows that it was not.")
def resolve(job_id: str, outcome: str | None) -> None:
    """Settle a job whose outcome is unknown, after a look at the provider's console. Run it where the ledger is."""
    if outcome is None:  # never guessed: it decides what counts against the caps
        raise click.UsageError("say what the provider's console shows: --paid or --not-paid")

    from ring_mcp.clock import SystemClock
    from ring_mcp.jobs.outcomes import resolve_by_hand

    async def settle() -> Job:
        async with _ledger() as ledger:
            job = await _get(ledger, job_id)
            return await ledger.save(job, resolve_by_hand(job, paid=outcome == "paid", now=SystemClock().now()))

    job = asyncio.run(settle())
    click.echo(f"{job.id} is settled: ${job.settled_usd} counts against the caps")


@jobs.command()
@click.argument("job_ids", nargs=-1, metavar="[JOB]...")
@click.option("--account", help="All open jobs of this account: its id or fingerprint, as ring-health shows it.")
def adopt(job_ids: tuple[str, ...], account: str | None) -> None:
    """Hand open jobs over to the account of this configuration's key, after the old key was replaced.

    A job is only ever carried on with a key of its own account. This says that the account is the same, or has access.
    Run it where the ledger is; a running server with the key then carries them on.
    """
    if bool(job_ids) == bool(account):
        raise click.UsageError("say which jobs: their ids, or --account")
    from ring_mcp.cli.adopting import hand_over
    from ring_mcp.config import load_config

    done = asyncio.run(hand_over(load_config(), job_ids, account))
    for job in done.handed_over:
        click.echo(f"{job.id} belongs to {job.account} now")
    for reason in done.refused:
        click.echo(f"error: {reason}", err=True)
    if not done.handed_over and not done.refused:
        click.echo("no open jobs of that account")
    sys.exit(1 if done.refused else 0)


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


async def _list_here(config: Config, states: Sequence[str], limit: int) -> list[dict[str, Any]]:
    from ring_mcp.ledger.base import JobQuery

    async with _ledger() as ledger:
        query = JobQuery(states=[JobState(s) for s in states] or None, limit=limit)
        return [{**summary(job), "_cost": cost(job)} for job in (await ledger.list_jobs(query)).jobs]


async def _list_there(config: Config, states: Sequence[str], limit: int) -> list[dict[str, Any]]:
    from ring_mcp.clients.gateway import open_gateway

    async with open_gateway(str(config.api_base_url), token_of(config), config.proxies) as client:
        found = await client.jobs(states=states, limit=limit)
    ended = [state.value for state in TERMINAL]
    return [
        {**job, "_cost": f"{'' if job['state'] in ended else '≤ '}${job.get('costUsd', job['estimatedCostUsd']):.2f}"}
        for job in found
    ]


async def _show_there(config: Config, job_id: str) -> dict[str, Any]:
    from ring_mcp.clients.gateway import open_gateway
    from ring_mcp.tools.envelope import failure_facts

    async with open_gateway(str(config.api_base_url), token_of(config), config.proxies) as client:
        try:
            return await client.leave(job_id)
        except RingError as exc:
            if exc.job_id is None or exc.code == "gateway_away":
                raise
            return failure_facts(exc, getattr(exc, "extra", {}))  # that it failed is what there is to show


async def _get(ledger: Ledger, job_id: str) -> Job:
    job = await ledger.get(job_id)
    if job is None:
        raise NotFound(f"there is no job {job_id!r}; `ring-mcp jobs list` shows the newest")
    return job


@contextlib.asynccontextmanager
async def _ledger() -> AsyncIterator[Ledger]:
    from ring_mcp.backends import open_ledger
    from ring_mcp.config import load_config

    ledger = open_ledger(load_config())
    await ledger.start()
    try:
        yield ledger
    finally:
        await ledger.aclose()
