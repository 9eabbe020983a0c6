"""How full the accounts of a whole ledger are, for somebody who holds no key."""

from __future__ import annotations

from pathlib import Path

import pytest

from ring_mcp.domain import MediaKind, RateBucket, RateLimit, RateState
from ring_mcp.domain.rates import Asking, RateReading, space_out
from ring_mcp.jobs.rate_reading import EveryRate, find_limit, read_bucket
from ring_mcp.ledger.sqlite import SqliteLedger
from ring_mcp.presets import load_presets
from tests.fake_clock import FakeClock

PRESETS = load_presets()
MODEL = next(iter(PRESETS.video_models))
PROVIDER = PRESETS.video_models[MODEL].provider


async def test_accounts_are_read_that_nobody_here_holds(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.db", FakeClock(), "serve here:1")
    await ledger.start()
    bucket = RateBucket(sandbox=False, account=f"{PROVIDER}/somebody", model=MODEL, asking="submit")
    spacing = space_out(find_limit(PRESETS, MODEL, PROVIDER, "video", "submit"))
    assert spacing.step_s, "this model has a number"
    await ledger.take_rate(bucket, spacing, 1, 60.0)
    await ledger.slow_down(bucket, 7.0)
    assert await EveryRate(ledger, PRESETS, sandbox=True).read() == []
    assert await EveryRate(ledger, PRESETS, sandbox=False).read() == [
        RateReading(provider=PROVIDER, model=MODEL, asking="submit", full=1.0, slowed=2.0, paused_s=7.0, waiting=0)
    ]
    await ledger.aclose()


@pytest.mark.parametrize("asking", ["submit", "look"])
@pytest.mark.parametrize("kind", ["image", "video"])
def test_a_bucket_is_as_full_as_the_numbers_of_its_kind_say(kind: MediaKind, asking: Asking) -> None:
    numbers = {
        ("image", "submit"): RateLimit(per_second=1.0),
        ("image", "look"): RateLimit(per_second=2.0),
        ("video", "submit"): RateLimit(per_second=4.0),
        ("video", "look"): RateLimit(per_second=8.0),
    }
    rates = {
        "xai": {
            each: {f"{what}s": {"perSecond": numbers[each, what].per_second} for what in ("submit", "look")}
            for each in ("image", "video")
        }
    }
    limits = type(PRESETS.limits).model_validate(
        {**PRESETS.limits.model_dump(by_alias=True, exclude={"rates"}), "rates": rates}
    )
    model = "grok-imagine-image-2.0" if kind == "image" else "grok-imagine-video"
    bucket = RateBucket(sandbox=False, account="xai/somebody", model=model, asking=asking)
    state = RateState(bucket=bucket, second_ahead_s=0.01, minute_ahead_s=0.0, slowed=1.5, paused_s=0.0)
    assert read_bucket(state, PRESETS.model_copy(update={"limits": limits}), waiting=3) == RateReading(
        provider="xai",
        model=model,
        asking=asking,
        full=state.fullness(space_out(numbers[kind, asking])),
        slowed=1.5,
        paused_s=0.0,
        waiting=3,
    )
