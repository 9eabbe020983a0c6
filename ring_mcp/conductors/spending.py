"""What a job costs in the end: the provider's own figure, else the list price; nothing only when that is certain."""

from __future__ import annotations

from decimal import Decimal

from ring_mcp.domain import Caps, Job, Spend
from ring_mcp.errors import Billed


def settled_cost(job: Job, billed: Billed, billed_usd: Decimal | None) -> Decimal:
    """What counts against the caps from now on."""
    if billed_usd is not None:
        return billed_usd
    return Decimal(0) if billed == "no" else job.reserved_usd


def cap_left(caps: Caps, spend: Spend) -> dict[str, Decimal]:
    """What may still be spent per window, for the windows that have a cap; never below zero."""
    left = {}
    if caps.per_call_usd is not None:
        left["perCall"] = caps.per_call_usd
    if caps.per_day_usd is not None:
        left["today"] = max(Decimal(0), caps.per_day_usd - spend.day_usd)
    if caps.per_month_usd is not None:
        left["thisMonth"] = max(Decimal(0), caps.per_month_usd - spend.month_usd)
    return left
