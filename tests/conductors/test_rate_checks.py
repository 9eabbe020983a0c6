"""What ring-health says of rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from ring_mcp.conductors.rate_checks import check_rates
from ring_mcp.domain.rates import RateReading
from ring_mcp.jobs.rates import ProviderRates


def reading(**changes: object) -> RateReading:
    facts: dict[str, object] = {
        "provider": "xai",
        "model": "grok-imagine-video",
        "asking": "submit",
        "full": 0.4,
        "slowed": 1.0,
        "paused_s": 0.0,
        "waiting": 0,
    }
    return RateReading(**(facts | changes))  # type: ignore[arg-type]


class Read:
    def __init__(self, *readings: RateReading) -> None:
        self._readings = readings

    async def read(self) -> Sequence[RateReading]:
        return self._readings


async def texts(*readings: RateReading) -> list[str]:
    checks = await check_rates(cast("ProviderRates", Read(*readings)))
    return [f"{check.status}: {check.detail}" for check in checks]


async def test_each_bucket_says_how_full_it_is() -> None:
    assert await texts(reading(waiting=3), reading(asking="look", full=0.02)) == [
        "ok: xai grok-imagine-video: submits 40% full, 3 wait here",
        "ok: xai grok-imagine-video: looks 2% full",
    ]


async def test_an_account_that_was_refused_is_a_warning() -> None:
    assert await texts(reading(), reading(full=1.0, slowed=2.0, paused_s=8.0)) == [
        "warning: xai grok-imagine-video: submits 100% full; xai has refused requests: 2.0 times slower now, "
        "nothing for 8 s more",
        "ok: xai grok-imagine-video: submits 40% full",
    ]


async def test_many_buckets_are_counted_and_not_named() -> None:
    found = await texts(*(reading(model=f"model-{number}") for number in range(25)))
    assert (len(found), found[-1]) == (11, "ok: 15 more")
