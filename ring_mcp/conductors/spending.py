"""What was spent and what may be: the ledger's sums, the caps, and the rule for confirmations. Spends nothing."""

from __future__ import annotations

from pydantic import Field

from ring_mcp.clock import Clock, to_iso
from ring_mcp.conductors.allowance import Allowance
from ring_mcp.conductors.results import Standing, Usd, Wire
from ring_mcp.domain import Caps, cap_left
from ring_mcp.domain.caps import next_day, next_month
from ring_mcp.domain.consent import Rule


class Window(Wire):
    """``used_usd``: of settled jobs; ``reserved_usd``: of open jobs and those of unknown outcome."""

    period: str = Field(description="The day or the month, UTC.")
    used_usd: Usd
    reserved_usd: Usd
    cap_usd: Usd | None = None
    left_usd: Usd | None = None
    resets_at: str


class Spending(Wire):
    """Spending of all actors of this ledger, for whom the caps hold together."""

    today: Window
    this_month: Window
    cap_per_call_usd: Usd | None = None
    open_jobs: int
    unknown_jobs: int = Field(description="Nobody knows whether these were billed.")
    confirm: str | None = None
    confirm_above_usd: Usd | None = None
    actor: Standing | None = Field(None, description="An actor of the ledger: what this one has spent and may do.")
    sandbox: bool | None = None


class SpendingConductor:
    """``sandbox``: whether the money is the sandbox's."""

    def __init__(self, allowance: Allowance, caps: Caps, rule: Rule, clock: Clock, *, sandbox: bool) -> None:
        self._allowance = allowance
        self._caps = caps
        self._rule = rule
        self._clock = clock
        self._sandbox = sandbox

    async def describe(self, actor_id: str | None) -> Spending:
        """Today's and this month's spending, and the standing of an actor of the ledger. Raises LedgerError."""
        now = self._clock.now()
        allowed = await self._allowance.read(actor_id)
        spend = allowed.spend
        left, is_asked = cap_left(self._caps, spend), self._rule.mode != "off"
        return Spending(
            today=Window(
                period=f"{now:%Y-%m-%d}",
                used_usd=spend.day_usd - spend.day_reserved_usd,
                reserved_usd=spend.day_reserved_usd,
                cap_usd=self._caps.per_day_usd,
                left_usd=left.get("today"),
                resets_at=to_iso(next_day(now)),
            ),
            this_month=Window(
                period=f"{now:%Y-%m}",
                used_usd=spend.month_usd - spend.month_reserved_usd,
                reserved_usd=spend.month_reserved_usd,
                cap_usd=self._caps.per_month_usd,
                left_usd=left.get("thisMonth"),
                resets_at=to_iso(next_month(now)),
            ),
            cap_per_call_usd=self._caps.per_call_usd,
            open_jobs=spend.open_jobs,
            unknown_jobs=spend.unknown_jobs,
            confirm=self._rule.mode if is_asked else None,
            confirm_above_usd=self._rule.above_usd if is_asked else None,
            actor=allowed.standing,
            sandbox=self._sandbox or None,
        )
