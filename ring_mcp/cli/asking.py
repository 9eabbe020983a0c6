"""Asks at the terminal before anything is paid, if RING_CONFIRM of the process that does the work demands it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from ring_mcp.cli.approving import is_at_terminal
from ring_mcp.cli.show import SANDBOX_MONEY, cap_lines, dollars, field, print_lines
from ring_mcp.domain import MediaKind, usd
from ring_mcp.domain.consent import ConfirmationNeeded, Rule, SpendingDeclined
from ring_mcp.errors import RingError

if TYPE_CHECKING:
    from ring_mcp.cli.backend import Backend
    from ring_mcp.cli.progress import Watch
    from ring_mcp.config import Config

_SAY_YES = "Type it at a terminal to be asked, or add --yes."


class YesNeeded(Exception):
    """Not an error: the person at the terminal has to be asked, about ``quote``."""

    def __init__(self, total_usd: Decimal, cap_left_usd: Mapping[str, Any]) -> None:
        super().__init__()
        self.total_usd = total_usd
        self.quote = {"totalUsd": float(total_usd), "capLeftUsd": dict(cap_left_usd)}


def follow_asked(
    config: Config, kind: MediaKind, arguments: Mapping[str, Any], wait_s: float, *, yes: bool
) -> dict[str, Any]:
    """Create; if that is refused until somebody agrees, ask at the terminal and create again, at no higher price.

    Raises what ``create`` raises, and SpendingDeclined.
    """
    from ring_mcp.cli.progress import follow

    async def create(backend: Backend, watch: Watch, given: Mapping[str, Any]) -> dict[str, Any]:
        return await backend.create(kind, given, wait_s, watch)

    can_ask = is_at_terminal()
    # False is not no: this program can ask, and wants to be told. Without the word it passes for one that cannot.
    said = {"confirmed": True} if yes else {"confirmed": False} if can_ask else {}
    # A quote spends nothing, so that nothing has to be agreed to.
    if arguments.get("dryRun"):
        said = {}
    try:
        return follow(config, lambda backend, watch: create(backend, watch, {**arguments, **said}))
    except RingError as exc:
        if exc.code != ConfirmationNeeded.code or yes:
            raise
        if not can_ask:
            exc.next_action = f"{exc.next_action} {_SAY_YES}"
            raise
        quote = dict(getattr(exc, "extra", {}).get("quote") or {})
    # Here, where nothing is open any more: no App and no connection waits for a person who thinks.
    ask_at_terminal(quote)
    # The yes was to this price: if it has risen since, the call is refused and not paid.
    at_most = [float(str(arguments["maxUsd"]).lstrip("$"))] if arguments.get("maxUsd") is not None else []
    agreed = {**arguments, "confirmed": True, "maxUsd": min([*at_most, float(quote["totalUsd"])])}
    return follow(config, lambda backend, watch: create(backend, watch, agreed))


def ask_at_terminal(quote: Mapping[str, Any]) -> None:
    """Returns after a yes. Raises SpendingDeclined."""
    lines = [SANDBOX_MONEY] if quote.get("sandbox") else []
    lines += field("costs", f"up to {dollars(quote.get('totalUsd', 0))}")
    for price in quote.get("prices", ()):
        lines += field("price", f"{price['count']:g} x {dollars(price['unitUsd'])}: {price['what']}")
    lines += cap_lines(quote.get("capLeftUsd"))
    print_lines(lines, err=True)
    if not click.confirm("Spend it?", err=True):
        raise SpendingDeclined("you said no; nothing was spent", next_action="")


def check_script(rule: Rule, total_usd: Decimal, cap_left_usd: Mapping[str, Any]) -> None:
    """Check that clips at this sum may be started unasked. Raises YesNeeded or ConfirmationNeeded."""
    if not rule.covers(total_usd):
        return
    if is_at_terminal():
        raise YesNeeded(total_usd, cap_left_usd)
    # "ask" alone lets whoever cannot be asked go on, bound by the caps.
    if rule.mode == "require":
        raise ConfirmationNeeded(
            f"the clips would cost up to {usd(total_usd)}, which has to be agreed to first; nothing was spent",
            next_action=_SAY_YES,
        )
