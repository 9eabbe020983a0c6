"""How full the accounts' rate buckets are, for ring-health."""

from __future__ import annotations

from collections.abc import Sequence

from ring_mcp.conductors.report import Check
from ring_mcp.domain.rates import RateReading
from ring_mcp.jobs.rate_reading import ReadsRates

_NAMED = 10
_ASKING = {"submit": "submits", "look": "looks"}


async def check_rates(rates: ReadsRates) -> list[Check]:
    """A check for each account and model that was used; a warning for those that are slowed down after refusals.

    Raises LedgerError.
    """
    # Slowed ones first, since the list ends after a few.
    readings = sorted(await rates.read(), key=lambda each: (each.slowed <= 1, -each.full))
    return [_check(each) for each in readings[:_NAMED]] + _count_more(readings[_NAMED:])


def _check(reading: RateReading) -> Check:
    waiting = f", {reading.waiting} wait here" if reading.waiting else ""
    asked = f"{reading.provider} {reading.model}: {_ASKING[reading.asking]} {reading.full:.0%} full{waiting}"
    if reading.slowed <= 1:
        return Check(name="rates", status="ok", detail=asked)
    pause = f", nothing for {reading.paused_s:.0f} s more" if reading.paused_s > 0 else ""
    return Check(
        name="rates",
        status="warning",
        detail=f"{asked}; {reading.provider} has refused requests: {reading.slowed:.1f} times slower now{pause}",
        fix="It recovers by itself. If it goes on, lower rates in RING_PRESETS_FILE, or have the provider raise them.",
    )


def _count_more(more: Sequence[RateReading]) -> list[Check]:
    return [Check(name="rates", status="ok", detail=f"{len(more)} more")] if more else []
