"""``ring-mcp tokens``: who of a team may call every server of this ledger, and what each may spend."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ring_mcp.cli.show import SANDBOX_MONEY, print_json, print_lines
from ring_mcp.domain import Caps, Member, Spend, hash_token, is_name, make_token, usd

if TYPE_CHECKING:
    from ring_mcp.config import Config
    from ring_mcp.ledger.base import Ledger

T = TypeVar("T")


class Dollars(click.ParamType[Decimal]):
    name = "usd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        try:
            amount = Decimal(str(value).strip().removeprefix("$"))
        except InvalidOperation:
            amount = Decimal(-1)
        # More than a million is a slip, and would be no cap.
        if not amount.is_finite() or amount < 0 or amount > 1_000_000:
            self.fail(f"{value!r} is no amount of dollars", param, ctx)
        return amount


@click.group()
def tokens() -> None:
    """Tokens in the ledger: each person or program of a team has one of its own, beside RING_MCP_SERVICE_TOKENS."""


@tokens.command()
@click.argument("name")
@click.option("--per-call", type=Dollars(), metavar="USD", help="The most that one call may cost.")
@click.option("--per-day", type=Dollars(), metavar="USD", help="The most of a day (UTC).")
@click.option("--per-month", type=Dollars(), metavar="USD", help="The most of a calendar month (UTC).")
@click.option("--look-only", is_flag=True, help="May read jobs, prices and health, and neither spend nor cancel.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def add(
    name: str,
    per_call: Decimal | None,
    per_day: Decimal | None,
    per_month: Decimal | None,
    look_only: bool,
    as_json: bool,
) -> None:
    """Make a token for NAME, and show it this once.

    The ledger keeps only its hash. NAME is the actor of the jobs: after a revocation, a new token gets them back.
    """
    config = _config()
    _check_name(name, config)
    token, caps = make_token(), Caps(per_call_usd=per_call, per_day_usd=per_day, per_month_usd=per_month)
    member = Member(name=name, may_spend=not look_only, caps=caps, created_at=datetime.now(UTC))
    # Its hash alone: whoever reads the ledger, or a backup of it, cannot call with it.
    asyncio.run(_with_ledger(config, lambda ledger: ledger.add_member(member, hash_token(token))))
    if as_json:
        print_json({"token": token, **_facts(member, None)})
        return
    click.echo(token)  # alone on stdout, so that it can be piped on
    click.echo(f"This is the token of {name} ({_may(member)}). It is shown this once.", err=True)
    click.echo("From now on a server of this ledger serves nobody over HTTP without a token.", err=True)


@tokens.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_tokens(as_json: bool) -> None:
    """Everybody who has or had a token, with caps and with what they have spent."""
    config, now = _config(), datetime.now(UTC)

    async def read(ledger: Ledger) -> list[tuple[Member, Spend]]:
        members, sandbox = await ledger.list_members(), bool(config.sandbox)
        return [(each, await ledger.spend(now, sandbox=sandbox, actor_id=each.name)) for each in members]

    found = asyncio.run(_with_ledger(config, read))
    if as_json:
        marked = {"sandbox": True} if config.sandbox else {}
        for member, spend in found:
            print_json({**_facts(member, spend), **marked})
        return
    if not found:
        click.echo("nobody has a token in this ledger; `ring-mcp tokens add NAME` makes one")
        return
    from rich.console import Console
    from rich.table import Table

    if config.sandbox:
        print_lines([SANDBOX_MONEY])
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "may", "today", "this month", "since"):
        table.add_column(heading, overflow="fold", justify="right" if heading in ("today", "this month") else "left")
    for member, spend in found:
        since = f"revoked {member.revoked_at:%Y-%m-%d}" if member.revoked_at else f"{member.created_at:%Y-%m-%d}"
        table.add_row(member.name, _may(member), usd(spend.day_usd), usd(spend.month_usd), since)
    Console(highlight=False, markup=False).print(table)


@tokens.command()
@click.argument("name")
def revoke(name: str) -> None:
    """End the token of NAME: it spends nothing from now on, and within seconds no server accepts it.

    Its open requests end, too. Jobs go on, and their rows stay.
    """
    now = datetime.now(UTC)
    member = asyncio.run(_with_ledger(_config(), lambda ledger: ledger.revoke_member(name, now)))
    was = "" if member.revoked_at == now else f" already, on {member.revoked_at:%Y-%m-%d %H:%M} UTC"
    click.echo(f"{name} was revoked{was}")


def _config() -> Config:
    from ring_mcp.config import load_config

    return load_config()


async def _with_ledger(config: Config, work: Callable[[Ledger], Awaitable[T]]) -> T:
    from ring_mcp.backends import use_ledger

    async with use_ledger(config) as ledger:
        return await work(ledger)


def _check_name(name: str, config: Config) -> None:
    """Refuse a name that is in use: its owner would share these jobs and get these caps."""
    from ring_mcp.server.auth import ServiceTokens

    if not is_name(name):
        raise click.BadParameter("a name has 64 letters, digits, '.', '_' and '-' at most", param_hint="NAME")
    if name in ServiceTokens(config.service_tokens, config.actor_id).names:
        raise click.BadParameter(
            f"{name} is an actor of this configuration already (RING_MCP_SERVICE_TOKENS, RING_MCP_SERVICE_USER_ID)",
            param_hint="NAME",
        )


def _may(member: Member) -> str:
    if not member.may_spend:
        return "look only"
    caps = member.caps
    windows = (("call", caps.per_call_usd), ("day", caps.per_day_usd), ("month", caps.per_month_usd))
    limits = [f"{usd(cap)} a {window}" for window, cap in windows if cap is not None]
    return f"spend up to {', '.join(limits)}" if limits else "spend"


def _facts(member: Member, spend: Spend | None) -> dict[str, Any]:
    caps = member.caps
    windows = {"perCall": caps.per_call_usd, "perDay": caps.per_day_usd, "perMonth": caps.per_month_usd}
    facts: dict[str, Any] = {
        "name": member.name,
        "maySpend": member.may_spend,
        "capsUsd": {window: float(cap) for window, cap in windows.items() if cap is not None},
        "createdAt": member.created_at.isoformat(),
    }
    if member.revoked_at is not None:
        facts["revokedAt"] = member.revoked_at.isoformat()
    if spend is not None:
        facts |= {"spentTodayUsd": float(spend.day_usd), "spentThisMonthUsd": float(spend.month_usd)}
    return facts
