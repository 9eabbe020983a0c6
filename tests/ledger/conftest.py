"""One kind of database at a time, a fresh one for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ledger_databases import LedgerDatabase
from tests.postgres_server import fresh_database, server_url


@pytest.fixture(scope="session")
def postgres_url() -> str:
    return server_url()


@pytest.fixture
def sqlite(tmp_path: Path) -> LedgerDatabase:
    """A place for a file, which is not there yet."""
    return LedgerDatabase("sqlite", str(tmp_path / "state" / "ledger.db"))


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[LedgerDatabase]:
    with fresh_database(postgres_url) as url:
        yield LedgerDatabase("postgres", url)


@pytest.fixture
def empty_postgres(postgres_url: str) -> Iterator[LedgerDatabase]:
    """Without any table."""
    with fresh_database(postgres_url, migrated=False) as url:
        yield LedgerDatabase("postgres", url)
