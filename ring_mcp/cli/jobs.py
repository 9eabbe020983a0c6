"""``ring-mcp jobs``: look at what was asked and paid, carry a job on, settle one whose outcome is not known."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from ring_mcp.cli.backend import gateway_option, load_config_with, token_of
from ring_mcp.cli.job_lookup import complete_job_id, find_job, open_here, where_they_are
from ring_mcp.cli.spelled import JOB_ID, WAIT, one_of
from ring_mcp.domain import DRIVEN, Job, JobState, usd
from ring_mcp.errors import RingError

if TYPE_CHECKING:
    from ring_mcp.cli.backend import Backend
    from ring_mcp.cli.progress import Watch
    from ring_mcp.config import Config


@click.group()
def jobs() -> None:
    """Look at jobs, carry them on, settle unknown ones.

    In this process they are those of the whole ledger; at a gateway those of the token's own actor.
    """


@jobs.command("list")
@click.option(
    "--state", "states", multiple=True, type=one_of("open", *(s.value for s in JobState)), help="Repeatable; open: any."
)
@click.option("--kind", type=one_of("image", "video"), help="Only images, or only videos.")
@click.option("--clip-id", help="Only this clip.")
@click.option("--pipeline-request-id", help="Only this campaign.")
@click.option("--ref-code", help="Only jobs with this tracking id.")
@click.option("--since", help="Only those asked for since then: 12h, 7d, 2w, or a date like 2026-11-01 (UTC).")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@gateway_option
def list_(states: tuple[str, ...], limit: int, as_json: bool, gateway: str | None, **filters: str | None) -> None:
    """The newest jobs. Their ids are shortened: every command takes them so."""
    from ring_mcp.cli.job_table import print_jobs
    from ring_mcp.cli.show import print_json
    from ring_mcp.cli.spend import since_when

    config = load_config_with(gateway)
    span = filters.pop("since")
    since = since_when(span, datetime.now(UTC)) if span else None
    listing = _list_there if config.api_base_url else _list_here
    found = asyncio.run(listing(config, _open_up(states), since, limit, filters))
    if not as_json:
        print_jobs(found)
        return
    for job in found:
        print_json(job)


@jobs.command()
@click.argument("job_id", type=JOB_ID, shell_complete=complete_job_id)
@click.option("--json/--text", "as_json", default=None, help="Default: text on a terminal, otherwise JSON.")
@gateway_option
def show(job_id: str, as_json: bool | None, gateway: str | None) -> None:
    """Everything about one job; at a gateway what ring-job-get says of it."""
    from ring_mcp.cli.show import print_json, print_lines

    config = load_config_with(gateway)
    as_json = not sys.stdout.isatty() if as_json is None else as_json
    if config.api_base_url:
        data = asyncio.run(_show_there(config, job_id))
        if as_json:
            print_json(data, indent=2)
        else:
            print_lines(_lines_there(data))
        return

    async def read() -> tuple[Job, list[dict[str, object]]]:
        async with open_here() as ledger:
            job = await find_job(ledger, job_id)
            ids = [asset.record_id for asset in job.assets]
            records = await ledger.records(f"generated_{job.kind}s", ids)
            return job, sorted(records, key=lambda record: ids.index(str(record["id"])))

    job, records = asyncio.run(read())
    if not as_json:
        from ring_mcp.cli.job_lines import job_lines

        [shown] = asyncio.run(where_they_are([job]))
        print_lines(job_lines(shown))
        return
    from pydantic import TypeAdapter

    row = TypeAdapter(Job).dump_python(job, mode="json")
    print_json({"job": row, "records": records}, indent=2)


@jobs.command()
@click.argument("job_id", type=JOB_ID, shell_complete=complete_job_id)
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
        if exc.job_id is None:  # nothing to say of a job: RingGroup tells it
            raise
        fail(exc, as_json=as_json, gateway=gateway)
    finish(data, as_json=as_json, gateway=gateway, opened=opened)


@jobs.command()
@click.argument("job_id", type=JOB_ID, shell_complete=complete_job_id)
@click.option("--paid", is_flag=True, help="The provider's console shows that it was billed.")
@click.option("--not-paid", is_flag=True, help="It shows that it was not.")
@click.option("--sandbox", is_flag=True, help="In the built-in sandbox's own ledger.")
def resolve(job_id: str, paid: bool, not_paid: bool, sandbox: bool) -> None:
    """Settle a job whose outcome is unknown, after a look at the provider's console. Run it where the ledger is."""
    if paid is not_paid:  # never guessed, nor the last of two taken: it decides what counts against the caps
        raise click.UsageError("say what the provider's console shows: --paid or --not-paid")

    from ring_mcp.clock import SystemClock
    from ring_mcp.jobs.outcomes import resolve_by_hand

    async def settle() -> Job:
        async with open_here(sandbox=sandbox) as ledger:
            job = await find_job(ledger, job_id)
            return await ledger.save(job, resolve_by_hand(job, paid=paid, now=SystemClock().now()))

    job = asyncio.run(settle())
    click.echo(f"{job.id} is settled: {usd(job.settled_usd or Decimal(0))} counts against the caps")


@jobs.command()
@click.argument("job_ids", nargs=-1, metavar="[JOB]...", shell_complete=complete_job_id)
@click.option("--account", help="All open jobs of this account: its id or fingerprint, as ring-health shows it.")
def adopt(job_ids: tuple[str, ...], account: str | None) -> None:
    """Hand open jobs over to the account of this configuration's key, after the old key was replaced.

    A job is only ever carried on with a key of its own account. This says that the account is the same, or has access.
    Run it where the ledger is; a running server with the key then carries them on.
    """
    # Never all by default: to adopt says that two accounts are one, which nobody but a person knows.
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


def summary(job: Job) -> dict[str, Any]:
    """As ring-job-list has it, with the whole prompt."""
    facts = {
        "jobId": job.id,
        "kind": job.kind,
        "state": job.state.value,
        "prompt": job.plan.prompt,
        "requestId": job.provider_request_id,
        "clipId": job.clip_id,
        "model": job.plan.model,
        "costUsd": float(job.reserved_usd if job.settled_usd is None else job.settled_usd),
        "estimatedCostUsd": float(job.plan.estimated_usd),
        "billedCostUsd": float(job.billed_usd) if job.billed_usd is not None else None,
        "url": job.assets[0].url if job.assets else None,
        "error": job.failure.message if job.failure else None,
        "createdAt": job.created_at.isoformat(),
        "sandbox": job.sandbox or None,
    }
    return {key: value for key, value in facts.items() if value is not None}


def _open_up(states: Sequence[str]) -> list[str]:
    """The states, with those that ``open`` stands for in its place."""
    opened = [state.value for state in DRIVEN] if "open" in states else []
    return list(dict.fromkeys([*(state for state in states if state != "open"), *opened]))


async def _list_here(
    config: Config, states: Sequence[str], since: datetime | None, limit: int, filters: Mapping[str, Any]
) -> list[dict[str, Any]]:
    from ring_mcp.ledger.base import JobQuery

    async with open_here() as ledger:
        query = JobQuery(states=[JobState(s) for s in states] or None, since=since, limit=limit, **filters)
        found = (await ledger.list_jobs(query)).jobs
    return [summary(job) for job in await where_they_are(found)]


async def _list_there(
    config: Config, states: Sequence[str], since: datetime | None, limit: int, filters: Mapping[str, Any]
) -> list[dict[str, Any]]:
    from ring_mcp.clients.gateway import open_gateway

    async with open_gateway(str(config.api_base_url), token_of(config), config.proxies) as client:
        at = since.isoformat().replace("+00:00", "Z") if since else None
        return await client.jobs(states=states, since=at, limit=limit, **filters)


def _lines_there(data: Mapping[str, Any]) -> list[str]:
    from ring_mcp.cli.show import field, result_lines

    if data.get("success") is not False:
        return result_lines(data)
    told = field("trouble", f"{data.get('error')} [{data.get('code')}, billed: {data.get('billed')}]")
    return [*told, *field("next step", data.get("nextAction") or "-"), *result_lines(data)]


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
