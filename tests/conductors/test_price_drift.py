"""What the last bills say of the list: which of them count, and when they are off."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from ring_mcp.conductors.price_drift import DRIFT_JOBS, Bills, last_bills
from ring_mcp.domain import Job, JobState, PriceLine
from ring_mcp.presets import load_presets
from tests.jobs.engine import clip_plan
from tests.ledger_samples import OUTPUT, planned

PRESETS = load_presets()
FLAGSHIP, OLD, CLIPS = "grok-imagine-image-2.0", "grok-imagine-image", "grok-imagine-video"


def done(price_usd: str = "0.06", billed_usd: str | None = "0.06", **changes: Any) -> Job:
    """A finished picture; ``price_usd`` is its list price of today's list."""
    model = changes.pop("model", FLAGSHIP)
    as_of = changes.pop("as_of", PRESETS.image_models[FLAGSHIP].prices.as_of.isoformat())  # type: ignore[union-attr]
    job = planned()
    line = PriceLine(what="image", unit_usd=Decimal(price_usd), count=Decimal(1), as_of=as_of)
    plan = job.plan.model_copy(update={"model": model, "prices": (line,)})
    billed = None if billed_usd is None else Decimal(billed_usd)
    facts = {"state": JobState.DONE, "plan": plan, "outputs": (OUTPUT,), "billed_usd": billed}
    return replace(job, **facts | changes)


def test_only_the_last_twenty_bills_of_each_model_count() -> None:
    jobs = [done() for _ in range(DRIFT_JOBS)] + [done(billed_usd="9")] * 5 + [done(model=OLD, billed_usd="0.07")]
    flagship, old = last_bills(jobs, PRESETS)
    assert (flagship.model, flagship.jobs, flagship.billed_usd) == (FLAGSHIP, DRIFT_JOBS, Decimal("1.20"))
    assert (old.model, old.jobs, old.is_off) == (OLD, 1, True)


@pytest.mark.parametrize(
    ("billed_usd", "is_off"),
    [("0.0612", False), ("0.0588", False), ("0.0613", True), ("0.0587", True), ("0", True), ("0.06", False)],
)
def test_two_percent_either_way_are_let_pass(billed_usd: str, is_off: bool) -> None:
    [bills] = last_bills([done(billed_usd=billed_usd)], PRESETS)
    assert bills.is_off is is_off


@pytest.mark.parametrize(
    "job",
    [
        done(billed_usd=None),
        done(price_usd="0", billed_usd="0"),
        done(as_of="2026-01-01", billed_usd="0.09"),
        done(model="unheard-of", billed_usd="0.09"),
        done(outputs=(), billed_usd="0.03"),
        replace(done(billed_usd="0.09"), state=JobState.REFUSED),
    ],
    ids=["no bill", "free", "an older list", "unknown model", "fewer than asked for", "refused"],
)
def test_bills_that_say_nothing_of_todays_list_do_not_count(job: Job) -> None:
    assert last_bills([job], PRESETS) == []


def clip(**changes: Any) -> Job:
    as_of = PRESETS.video_models[CLIPS].prices.as_of.isoformat()  # type: ignore[union-attr]
    line = PriceLine(what="second", unit_usd=Decimal("0.05"), count=Decimal(6), as_of=as_of)
    plan = clip_plan(prices=(line,), **changes)
    return replace(planned(kind="video", plan=plan), state=JobState.DONE, billed_usd=Decimal("0.33"))


def test_only_a_clip_from_nothing_tells_of_the_list() -> None:
    [bills] = last_bills([clip()], PRESETS)
    assert (bills.model, bills.jobs, bills.list_usd, bills.drift) == (CLIPS, 1, Decimal("0.30"), Decimal("0.1"))
    assert last_bills([clip(generation_kind="edit"), clip(generation_kind="extend")], PRESETS) == []


def test_a_bill_of_nothing_counts_as_nothing_below_the_list() -> None:
    bills = Bills(model="m", jobs=2, billed_usd=Decimal("0.5"), list_usd=Decimal(2))
    assert (bills.drift, bills.is_off) == (Decimal("-0.75"), True)


def test_one_line_of_an_older_list_is_enough_not_to_count() -> None:
    job = done(billed_usd="0.09")
    older = job.plan.prices[0].model_copy(update={"as_of": "2026-01-01"})
    plan = job.plan.model_copy(update={"prices": (*job.plan.prices, older)})
    assert last_bills([replace(job, plan=plan)], PRESETS) == []


def test_a_model_without_prices_any_more_has_no_list_to_compare_with() -> None:
    flagship = PRESETS.image_models[FLAGSHIP].model_copy(update={"prices": None})
    bare = PRESETS.model_copy(update={"image_models": {**PRESETS.image_models, FLAGSHIP: flagship}})
    assert last_bills([done(billed_usd="0.09")], bare) == []
