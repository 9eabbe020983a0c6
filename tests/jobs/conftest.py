from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ring_mcp.ledger.base import Ledger
from ring_mcp.ledger.sqlite import SqliteLedger
from tests.contracts.queue_backends import Processes, processes_of
from tests.fake_clock import FakeClock
from tests.jobs.engine import Engine, started_engine
from tests.ledger_databases import LedgerDatabase
from tests.postgres_server import fresh_database, server_url


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


@pytest.fixture
def database() -> Iterator[LedgerDatabase]:
    """A PostgreSQL of this test alone."""
    with fresh_database(server_url()) as url:
        yield LedgerDatabase("postgres", url)


@pytest.fixture
async def processes(database: LedgerDatabase, tmp_path: Path) -> AsyncIterator[Processes]:
    """Servers that have jobs given by PgQueuer there."""
    async with processes_of("pgqueuer", database, tmp_path / "processes") as processes:
        yield processes
