"""What the last bills say of the list: which of them count, and when they are off."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest

from ring_mcp.conductors.price_drift import DRIFT_JOBS, Bills, last_bills
from ring_mcp.ledger.base import BilledDay
from ring_mcp.presets import load_presets

PRESETS = load_presets()
FLAGSHIP, OLD, CLIPS = "grok-imagine-image-2.0", "grok-imagine-image", "grok-imagine-video"
TODAY = date(2026, 11, 21)


def list_of(model: str) -> str:
    found = PRESETS.image_models.get(model) or PRESETS.video_models[model]
    assert found.prices is not None
    return found.prices.as_of.isoformat()


def billed(
    usd: str, jobs: int = 1, *, model: str = FLAGSHIP, days_ago: int = 0, prices_of: str | None = None
) -> BilledDay:
    """Jobs of one day, each listed at $0.06 and billed ``usd``."""
    return BilledDay(
        day=TODAY - timedelta(days=days_ago),
        model=model,
        prices_of=prices_of or list_of(FLAGSHIP if model not in (OLD, CLIPS) else model),
        jobs=jobs,
        billed_usd=jobs * Decimal(usd),
        listed_usd=jobs * Decimal("0.06"),
    )


def test_days_count_until_they_hold_twenty_bills_of_a_model() -> None:
    days = [billed("0.06", 12), billed("0.07", model=OLD), billed("0.06", 9, days_ago=1), billed("9", 5, days_ago=2)]
    flagship, old = last_bills(days, PRESETS)
    assert (flagship.model, flagship.jobs, flagship.billed_usd) == (FLAGSHIP, 21, Decimal("1.26"))
    assert (old.model, old.jobs, old.is_off) == (OLD, 1, True)
    exact, _ = last_bills([billed("0.06", DRIFT_JOBS), *days[1:]], PRESETS)
    assert exact.jobs == DRIFT_JOBS


@pytest.mark.parametrize(
    ("billed_usd", "is_off"),
    [("0.0612", False), ("0.0588", False), ("0.0613", True), ("0.0587", True), ("0", True), ("0.06", False)],
)
def test_two_percent_either_way_are_let_pass(billed_usd: str, is_off: bool) -> None:
    [bills] = last_bills([billed(billed_usd)], PRESETS)
    assert bills.is_off is is_off


@pytest.mark.parametrize(
    "day",
    [billed("0.09", prices_of="2026-01-01"), billed("0.09", model="unheard-of")],
    ids=["an older list", "unknown model"],
)
def test_bills_that_say_nothing_of_todays_list_do_not_count(day: BilledDay) -> None:
    assert last_bills([day], PRESETS) == []


def test_an_older_list_does_not_hide_the_bills_of_todays() -> None:
    [bills] = last_bills([billed("9", 50, prices_of="2026-01-01"), billed("0.06", 2, days_ago=3)], PRESETS)
    assert (bills.jobs, bills.is_off) == (2, False)


def test_clips_are_compared_as_pictures_are() -> None:
    [bills] = last_bills([billed("0.066", model=CLIPS)], PRESETS)
    assert (bills.model, bills.list_usd, bills.drift) == (CLIPS, Decimal("0.06"), Decimal("0.1"))


def test_a_bill_of_nothing_counts_as_nothing_below_the_list() -> None:
    bills = Bills(model="m", jobs=2, billed_usd=Decimal("0.5"), list_usd=Decimal(2))
    assert (bills.drift, bills.is_off) == (Decimal("-0.75"), True)


def test_a_model_without_prices_any_more_has_no_list_to_compare_with() -> None:
    flagship = PRESETS.image_models[FLAGSHIP].model_copy(update={"prices": None})
    bare = PRESETS.model_copy(update={"image_models": {**PRESETS.image_models, FLAGSHIP: flagship}})
    assert last_bills([billed("0.09")], bare) == []
