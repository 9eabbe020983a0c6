"""What may be spent, and what counts against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from ring_mcp.errors import CapExceeded


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """Spending limits in US dollars; None means no limit. Day and month are calendar ones, in UTC.

    ``max_usd`` is the caller's own, of this one call; the others are the operator's.
    """

    max_usd: Decimal | None = None
    per_call_usd: Decimal | None = None
    per_day_usd: Decimal | None = None
    per_month_usd: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What the ledger counts against the caps: settled cost plus what open and unknown jobs have reserved."""

    day_usd: Decimal = Decimal(0)
    month_usd: Decimal = Decimal(0)
    day_reserved_usd: Decimal = Decimal(0)
    month_reserved_usd: Decimal = Decimal(0)
    unknown_jobs: int = 0
    open_jobs: int = 0


def usd(amount: Decimal) -> str:
    """As ``$0.06``: two decimals, up to four if they are not zero; a token's price, which is smaller, in full."""
    shown = amount.quantize(Decimal("0.0001"), ROUND_HALF_UP) or amount
    cents = shown.quantize(Decimal("0.01"), ROUND_HALF_UP)
    return f"${cents if cents == shown else shown.normalize():f}"


_OPERATORS = ("RING_MAX_USD_PER_CALL", "RING_MAX_USD_PER_DAY", "RING_MAX_USD_PER_MONTH")


def check_caps(needed_usd: Decimal, spend: Spend, caps: Caps, now: datetime, *, of: str | None = None) -> None:
    """Raises CapExceeded with the cap, what is used and reserved, what is needed, and when it resets.

    ``of``: whose caps they are and whose ``spend`` it is, if they are not the operator's over everybody.
    """
    per_call, per_day, per_month = (
        _OPERATORS if of is None else [f"the cap per {each} of {of}" for each in ("call", "day", "month")]
    )
    # The caller's own first: it is the one bound that the caller can change.
    if caps.max_usd is not None and needed_usd > caps.max_usd:
        raise CapExceeded(
            f"maxUsd is {usd(caps.max_usd)} and this call needs up to {usd(needed_usd)}; nothing was spent",
            next_action="Ask for something cheaper, or allow more with maxUsd; dryRun: true tells the price.",
        )
    if caps.per_call_usd is not None and needed_usd > caps.per_call_usd:
        raise CapExceeded(
            f"{per_call} is {usd(caps.per_call_usd)} and this call needs up to {usd(needed_usd)}; nothing was spent"
        )
    windows = (
        (per_day, caps.per_day_usd, spend.day_usd, spend.day_reserved_usd, next_day(now)),
        (per_month, caps.per_month_usd, spend.month_usd, spend.month_reserved_usd, next_month(now)),
    )
    for name, cap, total, reserved, resets_at in windows:
        # Not ``>=``: a cap may be used up to the cent.
        if cap is not None and total + needed_usd > cap:
            raise CapExceeded(
                f"{name} is {usd(cap)}: {usd(total - reserved)} used, {usd(reserved)} reserved by open jobs, "
                f"{usd(needed_usd)} needed; it resets at {resets_at:%Y-%m-%d %H:%M} UTC; nothing was spent"
            )


def day_start(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def month_start(now: datetime) -> datetime:
    return day_start(now).replace(day=1)


def next_day(now: datetime) -> datetime:
    return day_start(now) + timedelta(days=1)


def next_month(now: datetime) -> datetime:
    # 32 days after the first of any month lie in the next one, and never in the one after.
    return month_start(month_start(now) + timedelta(days=32))


WINDOW_WORDS = {"perCall": "per call", "today": "today", "thisMonth": "this month"}
"""How the windows of ``cap_left`` are told to people and models."""


def cap_left(caps: Caps, spend: Spend) -> dict[str, Decimal]:
    """What may still be spent in each window that has a cap, in USD; never below zero."""
    left = {}
    if caps.per_call_usd is not None:
        left["perCall"] = caps.per_call_usd
    if caps.per_day_usd is not None:
        left["today"] = max(Decimal(0), caps.per_day_usd - spend.day_usd)
    if caps.per_month_usd is not None:
        left["thisMonth"] = max(Decimal(0), caps.per_month_usd - spend.month_usd)
    return left


def least_left(*lefts: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """What may be spent under several caps: for each window, the least that any of them leaves."""
    least: dict[str, Decimal] = {}
    for left in lefts:
        for name, amount in left.items():
            least[name] = min(amount, least.get(name, amount))
    return least
