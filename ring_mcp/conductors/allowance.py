"""What an actor may spend: by the server's caps, by their own, and whether at all. For information and early refusals:
the ledger checks it again in the transaction that spends."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ring_mcp.clock import Clock
from ring_mcp.conductors.results import Standing
from ring_mcp.domain import Caps, Member, Spend, cap_left, least_left
from ring_mcp.ledger.base import Ledger
from ring_mcp.token_mark import current_token_mark


@dataclass(frozen=True, slots=True)
class Allowed:
    """``spend``: of all actors. ``left``: what may still be spent in each window, the least that any cap leaves.
    ``own_left``: what the actor's own caps leave. ``standing``: of an actor in the ledger."""

    spend: Spend
    left: dict[str, Decimal]
    own_left: dict[str, Decimal]
    standing: Standing | None = None


class Allowance:
    """``caps``: the server's, which count all actors together."""

    def __init__(self, ledger: Ledger, caps: Caps, clock: Clock, *, sandbox: bool) -> None:
        self._ledger = ledger
        self._caps = caps
        self._clock = clock
        self._sandbox = sandbox

    async def check_may_spend(self, actor_id: str) -> None:
        """Raises LookOnly, Unauthorized for a revoked actor, or LedgerError. Caps are not checked."""
        member = await self._ledger.find_member(actor_id)
        if member is not None:
            member.check_may_spend(current_token_mark())

    async def read(self, actor_id: str | None) -> Allowed:
        """What this actor may spend now; without one, what the server's caps leave. Raises LedgerError."""
        now = self._clock.now()
        spend = await self._ledger.spend(now, sandbox=self._sandbox)
        left = cap_left(self._caps, spend)
        member = await self._ledger.find_member(actor_id) if actor_id is not None else None
        if member is None:
            # Actors of tokens in the environment have no caps of their own, only the server's.
            return Allowed(spend, left, {})
        own = await self._ledger.spend(now, sandbox=self._sandbox, actor_id=member.name)
        own_left = cap_left(member.caps, own)
        return Allowed(spend, least_left(left, own_left), own_left, _describe(member, own))


def _describe(member: Member, own: Spend) -> Standing:
    caps = {
        "perCall": member.caps.per_call_usd,
        "perDay": member.caps.per_day_usd,
        "perMonth": member.caps.per_month_usd,
    }
    return Standing(
        id=member.name,
        may_spend=member.may_spend and member.revoked_at is None,
        spent_today_usd=own.day_usd,
        spent_this_month_usd=own.month_usd,
        caps_usd={name: cap for name, cap in caps.items() if cap is not None} or None,
    )
