from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ring_mcp.ledger.base import Ledger
from ring_mcp.ledger.sqlite import SqliteLedger
from tests.fake_clock import FakeClock
from tests.jobs.engine import Engine, started_engine


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def engine(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Engine]:
    """An engine that nobody has started anything in."""
    async with started_engine(tmp_path, clock) as engine:
        yield engine


@pytest.fixture
async def elsewhere(engine: Engine, clock: FakeClock, tmp_path: Path) -> AsyncIterator[Ledger]:
    """The engine's ledger, as another living process has it."""
    ledger = SqliteLedger(tmp_path / "ledger.db", clock)
    await ledger.start()
    yield ledger
    await ledger.aclose()
