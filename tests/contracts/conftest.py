"""Ledgers on each kind of database, a fresh one for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from ring_mcp.ledger.base import Ledger
from tests.fake_clock import FakeClock
from tests.ledger_databases import Kind, LedgerDatabase
from tests.migrated_file import put_migrated_file
from tests.postgres_server import fresh_database, server_url


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """A PostgreSQL server, started when the first test of this process needs one, removed with the process."""
    return server_url()


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """The URL of a migrated database for this test alone."""
    with fresh_database(postgres_url) as url:
        yield url


@pytest.fixture
def database_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Kind], LedgerDatabase]:
    """A database of that kind, for this test alone."""

    def make(kind: Kind) -> LedgerDatabase:
        if kind == "sqlite":
            put_migrated_file(file := tmp_path / "state" / "ledger.db")
            return LedgerDatabase("sqlite", str(file))
        return LedgerDatabase("postgres", request.getfixturevalue("postgres_database"))

    return make


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, database_of: Callable[[Kind], LedgerDatabase]) -> LedgerDatabase:
    return database_of(request.param)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def ledger(database: LedgerDatabase, clock: FakeClock) -> AsyncIterator[Ledger]:
    async with database.started(clock) as started:
        yield started


@pytest.fixture
async def second_ledger(ledger: Ledger, database: LedgerDatabase, clock: FakeClock) -> AsyncIterator[Ledger]:
    """Another one on the same database, as another server process has it."""
    async with database.started(clock) as started:
        yield started
