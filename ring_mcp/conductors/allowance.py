"""What an actor may spend: by the caps over everybody, by their own, and whether at all. Told, not decided: the ledger
checks it again in the transaction that spends."""

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
    """``spend`` is everybody's; ``left`` is what may still be spent, of each window the least that any cap leaves, and
    ``own_left`` what the actor's own caps leave. ``standing``: of an actor whom the ledger knows."""

    spend: Spend
    left: dict[str, Decimal]
    own_left: dict[str, Decimal]
    standing: Standing | None = None


class Allowance:
    """``caps``: the operator's, over everybody."""

    def __init__(self, ledger: Ledger, caps: Caps, clock: Clock, *, sandbox: bool) -> None:
        self._ledger = ledger
        self._caps = caps
        self._clock = clock
        self._sandbox = sandbox

    async def check_may_spend(self, actor_id: str) -> None:
        """Raises LookOnly, Unauthorized for one who was revoked, LedgerError. Of caps it says nothing."""
        member = await self._ledger.find_member(actor_id)
        if member is not None:
            member.check_may_spend(current_token_mark())

    async def read(self, actor_id: str | None) -> Allowed:
        """Raises LedgerError."""
        now = self._clock.now()
        spend = await self._ledger.spend(now, sandbox=self._sandbox)
        left = cap_left(self._caps, spend)
        member = await self._ledger.find_member(actor_id) if actor_id is not None else None
        if member is None:
            # Tokens of the environment make actors without caps of their own: everybody's hold for them.
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
