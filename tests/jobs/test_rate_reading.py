"""How full the accounts of a whole ledger are, for somebody who holds no key."""

from __future__ import annotations

from pathlib import Path

from ring_mcp.domain import RateBucket
from ring_mcp.domain.rates import RateReading, space_out
from ring_mcp.jobs.rate_reading import EveryRate, find_limit
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
