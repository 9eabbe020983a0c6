"""How far the latest bills are from the list prices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from ring_mcp.conductors.report import Check
from ring_mcp.domain import usd
from ring_mcp.ledger.base import BilledDay, Ledger
from ring_mcp.presets import Presets

DRIFT_DAYS = 31
DRIFT_JOBS = 20
MAX_DRIFT = Decimal("0.02")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bills:
    """What the latest jobs of a model were billed, and what they would have cost by the list."""

    model: str
    jobs: int
    billed_usd: Decimal
    list_usd: Decimal

    @property
    def drift(self) -> Decimal:
        """The difference as a part of the list price; positive if the bills are higher."""
        return (self.billed_usd - self.list_usd) / self.list_usd

    @property
    def is_off(self) -> bool:
        return abs(self.drift) > MAX_DRIFT


def last_bills(days: Iterable[BilledDay], presets: Presets) -> list[Bills]:
    """For every model, the sums over its latest days with at least DRIFT_JOBS jobs in all, or over all of its days if
    there are fewer. ``days``: from newest to oldest.

    Jobs planned with another price list are left out. Jobs that made less than was reserved (a clip from a clip of
    unknown length, fewer pictures than asked for) are in none of the ledger's sums.
    """
    last: dict[str, Bills] = {}
    for day in days:
        so_far = last.get(day.model, Bills(model=day.model, jobs=0, billed_usd=Decimal(0), list_usd=Decimal(0)))
        # Whole days, since the ledger sums them up: the last one may bring more than DRIFT_JOBS.
        if so_far.jobs < DRIFT_JOBS and day.prices_of == _list_of(day.model, presets):
            last[day.model] = Bills(
                model=day.model,
                jobs=so_far.jobs + day.jobs,
                billed_usd=so_far.billed_usd + day.billed_usd,
                list_usd=so_far.list_usd + day.listed_usd,
            )
    return list(last.values())


def _list_of(name: str, presets: Presets) -> str | None:
    """The date of the price list from which quotes for this model are computed."""
    model = presets.image_models.get(name) or presets.video_models.get(name)
    return model.prices.as_of.isoformat() if model is not None and model.prices is not None else None


async def check_bills(ledger: Ledger, presets: Presets, now: datetime, *, sandbox: bool) -> list[Check]:
    """The latest bills compared with the list prices, from which quotes and caps are computed."""
    since = now - timedelta(days=DRIFT_DAYS)
    bills = last_bills(await ledger.bills(since, sandbox=sandbox), presets)
    off = [
        Check(
            name="bills",
            status="warning",
            detail=f"{each.model}: billed {usd(each.billed_usd)} for what is listed at {usd(each.list_usd)} "
            f"({each.drift:+.1%} over the last {_some_jobs(each.jobs)})",
            fix="Quotes and caps count with presets.json: compare it with the provider's price list "
            "(`ring-mcp presets check --live` does, as far as prices are listed).",
        )
        for each in bills
        if each.is_off
    ]
    if off or not bills:
        return off
    jobs = sum(each.jobs for each in bills)
    return [Check(name="bills", status="ok", detail=f"as listed, over the last {_some_jobs(jobs)}")]


def _some_jobs(count: int) -> str:
    return "job" if count == 1 else f"{count} jobs"
