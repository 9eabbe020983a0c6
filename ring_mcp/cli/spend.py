"""``ring-mcp spend``: what was paid, what is still open, and what the caps leave."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from ring_mcp.cli.backend import gateway_option, token_of
from ring_mcp.cli.show import SANDBOX_MONEY, cap_lines, print_json, print_lines
from ring_mcp.clients.gateway_answers import read_cost, read_instant
from ring_mcp.domain import Job, JobState, usd
from ring_mcp.errors import RingError

if TYPE_CHECKING:
    from ring_mcp.config import Config

_PAGE = 500
_SPAN = re.compile(r"(\d{1,4})([hdw])")


@dataclass(frozen=True, slots=True)
class Paid:
    """One job, as far as money goes. ``cost_usd`` is settled when it ended, and reserved until then."""

    day: str
    kind: str
    model: str
    state: JobState
    cost_usd: Decimal
    sandbox: bool = False
    actor: str | None = None


@dataclass(slots=True)
class Totals:
    jobs: int = 0
    settled_usd: Decimal = Decimal(0)
    reserved_usd: Decimal = Decimal(0)
    unknown_usd: Decimal = Decimal(0)

    def add(self, paid: Paid) -> None:
        self.jobs += 1
        # Neither paid nor under way: nobody knows, and it counts against the caps until somebody does.
        if paid.state is JobState.UNKNOWN:
            self.unknown_usd += paid.cost_usd
        elif paid.state in (JobState.DONE, JobState.FAILED, JobState.REFUSED, JobState.EXPIRED):
            self.settled_usd += paid.cost_usd
        else:
            self.reserved_usd += paid.cost_usd

    def facts(self) -> dict[str, Any]:
        return {
            "jobs": self.jobs,
            "settledUsd": float(self.settled_usd),
            "reservedUsd": float(self.reserved_usd),
            "unknownUsd": float(self.unknown_usd),
        }


@click.command()
@click.option("--since", default="7d", show_default=True, help="12h, 7d, 2w, or a date like 2026-11-01 (UTC).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@gateway_option
def spend(since: str, as_json: bool, gateway: str | None) -> None:
    """Totals per day (UTC), model and actor, what open and unknown jobs keep reserved, and what the caps leave.

    In this process: all of the ledger. At a gateway: the jobs of the token's own actor. 7d is today and the six days
    before, 12h the last twelve hours.
    """
    from ring_mcp.cli.backend import load_config_with
    from ring_mcp.cli.progress import fail

    now = datetime.now(UTC)
    start = since_when(since, now)
    try:
        config = load_config_with(gateway)
        read = _at_gateway if config.api_base_url is not None else _in_ledger
        paid, left = asyncio.run(read(config, start, now))
    except RingError as exc:
        fail(exc, as_json=as_json, gateway=gateway)
    report = totals(paid)
    is_sandbox = bool(config.sandbox) or any(job.sandbox for job in paid)
    if as_json:
        times = {"since": start.isoformat(), "until": now.isoformat()}
        marked = {"sandbox": True} if is_sandbox else {}
        print_json({**times, **marked, **report, "capLeftUsd": left})
        return
    if is_sandbox:
        print_lines([SANDBOX_MONEY])
    _print(report, left, start)


def since_when(text: str, now: datetime) -> datetime:
    """The instant that ``--since`` names; days and weeks are whole ones up to and with today, in UTC."""
    span = _SPAN.fullmatch(text.strip().lower())
    if span is not None and int(span[1]) > 0:
        count, unit = int(span[1]), span[2]
        if unit == "h":
            return now - timedelta(hours=count)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight - timedelta(days=count * (7 if unit == "w" else 1) - 1)  # today is one of them
    try:
        instant = datetime.fromisoformat(text.strip())
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    # OverflowError: the first day of the calendar, in a zone that moves it out of it.
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{text!r} is neither like 12h, 7d, 2w nor a date", param_hint="--since") from None


def totals(paid: Iterable[Paid]) -> dict[str, Any]:
    """The sums over all, per day, per kind and model, and per actor if there are several."""
    everything = Totals()
    days: dict[str, Totals] = {}
    models: dict[tuple[str, str], Totals] = {}
    actors: dict[str, Totals] = {}
    for job in paid:
        for sums in (
            everything,
            days.setdefault(job.day, Totals()),
            models.setdefault((job.kind, job.model), Totals()),
            *((actors.setdefault(job.actor, Totals()),) if job.actor is not None else ()),
        ):
            sums.add(job)
    return {
        "total": everything.facts(),
        "days": [{"day": day, **sums.facts()} for day, sums in sorted(days.items())],
        "models": [{"kind": kind, "model": model, **sums.facts()} for (kind, model), sums in sorted(models.items())],
        **({"actors": [{"actor": actor, **sums.facts()} for actor, sums in sorted(actors.items())]} if actors else {}),
    }


async def _in_ledger(config: Config, start: datetime, now: datetime) -> tuple[list[Paid], dict[str, float]]:
    from ring_mcp.backends import use_ledger
    from ring_mcp.domain import cap_left
    from ring_mcp.ledger.base import JobQuery

    sandbox = bool(config.sandbox)
    jobs: list[Job] = []
    async with use_ledger(config) as ledger:
        cursor: str | None = None
        while True:
            page = await ledger.list_jobs(JobQuery(since=start, before=cursor, limit=_PAGE))
            # A database may have both, and the sandbox's money is nobody's.
            jobs += [job for job in page.jobs if job.sandbox == sandbox]
            cursor = page.cursor
            if cursor is None:
                break
        left = cap_left(config.caps, await ledger.spend(now, sandbox=sandbox))
    return [_count_job(job) for job in jobs], {name: float(amount) for name, amount in left.items()}


async def _at_gateway(config: Config, start: datetime, now: datetime) -> tuple[list[Paid], dict[str, float]]:
    from ring_mcp.clients.gateway import open_gateway

    async with open_gateway(str(config.api_base_url), token_of(config), config.proxies) as client:
        listed = await client.jobs(since=start.isoformat().replace("+00:00", "Z"))
        left = (await client.health()).get("capLeftUsd") or {}
    return [_list_paid(job) for job in listed], left


def _count_job(job: Job) -> Paid:
    day = f"{job.created_at:%Y-%m-%d}"
    return Paid(day, job.kind, job.plan.model, job.state, _cost(job), job.sandbox, job.actor_id)


def _cost(job: Job) -> Decimal:
    return job.reserved_usd if job.settled_usd is None else job.settled_usd


def _list_paid(job: dict[str, Any]) -> Paid:
    """Raises RingError for a job that does not say what it cost: without it every sum would be too low."""
    cost, at, state = read_cost(job), read_instant(job), job.get("state")
    if cost is None or at is None or state not in tuple(JobState):
        raise RingError(
            "the gateway lists a job without what it cost, when it was asked for, or how it stands",
            next_action="See that a `ring-mcp serve` of this version runs there.",
        )
    model, is_sandbox = str(job.get("model", "")), bool(job.get("sandbox"))
    return Paid(f"{at:%Y-%m-%d}", str(job.get("kind", "")), model, JobState(state), Decimal(str(cost)), is_sandbox)


def _print(report: dict[str, Any], left: dict[str, float], start: datetime) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column(f"since {start:%Y-%m-%d %H:%M} UTC", overflow="fold", min_width=12)
    for heading in ("jobs", "settled", "reserved", "unknown"):
        # Below, where a name takes two lines: figures in the middle of it would be those of no row.
        table.add_column(heading, justify="right", no_wrap=True, vertical="bottom")
    actors = report.get("actors", ())
    groups = (
        [(day["day"], day) for day in report["days"]],
        [(f"{model['kind']} {model['model']}", model) for model in report["models"]],
        [(actor["actor"], actor) for actor in actors] if len(actors) > 1 else [],
    )
    for group in filter(None, groups):
        for name, facts in group:
            table.add_row(name, *_cells(facts))
        table.add_row()
    table.add_row("total", *_cells(report["total"]), style="bold")
    Console(highlight=False, markup=False).print(table)
    print_lines(cap_lines(left))


def _cells(facts: dict[str, Any]) -> list[str]:
    money = (usd(Decimal(str(facts[key]))) for key in ("settledUsd", "reservedUsd", "unknownUsd"))
    return [str(facts["jobs"]), *money]
