"""Parts of the composition root that do something by themselves."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from ring_mcp.config import load_config
from ring_mcp.wiring import TIDY_EVERY_S, remove_what_grows_old
from tests.fake_clock import FakeClock
from tests.jobs.engine import started_engine, until


async def test_a_server_that_runs_for_long_removes_what_grows_old(tmp_path: Path) -> None:
    clock, config = FakeClock(), load_config({"RING_STATE_DIR": str(tmp_path)}, folder=tmp_path)
    (config.state_path / "spool").mkdir(parents=True)
    old, young = (config.state_path / "spool" / f"input-{name * 64}" for name in "ab")
    for path in (old, young):
        path.write_bytes(b"x")
    two_days_ago = time.time() - 2 * 86400
    os.utime(old, (two_days_ago, two_days_ago))
    async with started_engine(tmp_path / "engine", clock) as engine:
        engine.ledger.fail("count_jobs")
        removing = asyncio.create_task(remove_what_grows_old(config, engine.ledger, clock))
        await clock.asleep()
        clock.advance(TIDY_EVERY_S)
        await until(lambda: "count_jobs" in engine.ledger.calls)
        await clock.asleep()
        assert old.exists(), "without the ledger nobody knows what plans need"
        clock.advance(TIDY_EVERY_S)
        await until(lambda: not old.exists())
        assert young.exists()
        removing.cancel()
