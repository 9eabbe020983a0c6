"""``ring-mcp approve``: a person's yes to a call that was refused until somebody agrees to what it costs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

import click

from ring_mcp.cli.show import SANDBOX_MONEY, paragraph, print_lines, safe
from ring_mcp.domain import usd

if TYPE_CHECKING:
    from ring_mcp.config import Config
    from ring_mcp.domain.consent import Question
    from ring_mcp.ledger.base import Ledger

T = TypeVar("T")

_SHOWN = 200


@click.command()
@click.argument("question_id", metavar="[ID]", required=False)
@click.option("--sandbox", is_flag=True, help="In the built-in sandbox's own ledger.")
def approve(question_id: str | None, sandbox: bool) -> None:
    """Approve the call that asked under ID: once, at its price, within an hour. Without an ID: all calls that wait.

    It asks at the terminal and takes no answer from anywhere else. It needs the settings of the server that asked
    (its RING_STATE_DIR or DATABASE_URL), whose ledger it writes to. Exit status 1: there is nothing to approve.
    """
    from ring_mcp.cli.progress import FAILED, fail
    from ring_mcp.config import load_config
    from ring_mcp.errors import RingError

    try:
        config = load_config(sandbox=True) if sandbox else load_config()
        asked = asyncio.run(_in_ledger(config, lambda ledger: _read(ledger, question_id, bool(config.sandbox))))
        if question_id is None:
            print_lines(_list_lines(asked))
            return
        if not asked:
            click.echo(f"error: nothing waits under {safe(question_id)}: answered, used, or expired", err=True)
            sys.exit(FAILED)
        if not is_at_terminal():
            click.echo("error: a yes is taken at a terminal only, from the person who types it", err=True)
            sys.exit(FAILED)
        print_lines(_question_lines(asked))
        # Asked between two loops, with the ledger closed: a person may think for as long as they like.
        if not click.confirm("Let exactly this through, once, within the next hour?", err=True):
            click.echo("Left as it is: nothing is spent.")
            sys.exit(FAILED)
        count = asyncio.run(_in_ledger(config, lambda ledger: ledger.approve_question(question_id, _now())))
    except RingError as exc:
        fail(exc, as_json=False, gateway=None)
    # Read and approved are two steps: in between somebody else may have answered, or its time be over.
    if count == 0:
        click.echo("error: it was answered or has expired meanwhile", err=True)
        sys.exit(FAILED)
    click.echo("Approved. The same call, made again within the hour, goes through once.")


def is_at_terminal() -> bool:
    """Whether stdin and stderr are a terminal, so that a person can be asked."""
    # Not stdout: what is asked goes to stderr, and stdout may be a program's.
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


async def _in_ledger(config: Config, work: Callable[[Ledger], Awaitable[T]]) -> T:
    from ring_mcp.backends import use_ledger

    async with use_ledger(config) as ledger:
        return await work(ledger)


async def _read(ledger: Ledger, question_id: str | None, sandbox: bool) -> list[Question]:
    """What can be approved: all items that wait, or those of one question."""
    if question_id is None:
        asked = await ledger.list_questions(_now(), _SHOWN)
    else:
        asked = await ledger.get_question(question_id)
    return [
        item
        for item in asked
        if item.sandbox == sandbox and item.approved_at is None and item.used_at is None and item.expires_at > _now()
    ]


def _now() -> datetime:
    return datetime.now(UTC)


def _question_lines(asked: Sequence[Question]) -> list[str]:
    total_usd = sum((item.usd for item in asked), Decimal(0))
    lines = [SANDBOX_MONEY] if asked[0].sandbox else []
    lines += [f"asked by {safe(asked[0].actor_id)} at {asked[0].asked_at:%Y-%m-%d %H:%M} UTC"]
    for item in asked:
        lines += paragraph(f"  {usd(item.usd)}  ", item.what)
    return [*lines, f"spends up to {usd(total_usd)}"]


def _list_lines(asked: Sequence[Question]) -> list[str]:
    if not asked:
        return ["Nothing waits for a yes."]
    by_id: dict[str, list[Question]] = {}
    for item in asked:
        by_id.setdefault(item.id, []).append(item)
    return [line for question_id, items in by_id.items() for line in (safe(question_id), *_question_lines(items))]
