"""Every ledger backend, set up so that the one contract suite can open more ledgers on it and look behind it."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg.rows import dict_row

from ring_mcp.clock import Clock
from ring_mcp.domain import Job
from ring_mcp.ledger.base import Ledger
from ring_mcp.ledger.postgres import PostgresLedger
from ring_mcp.ledger.rows import Dialect, encode_job
from ring_mcp.ledger.sqlite import SqliteLedger
from ring_mcp.ledger.tasks import TABLE
from tests.fake_clock import FakeClock

Kind = Literal["sqlite", "postgres"]

DATABASE_ERRORS = (sqlite3.DatabaseError, psycopg.Error)


class LedgerDatabase:
    """A database that ledgers share, with a back door. ``address`` is the file's path or the server's URL."""

    def __init__(self, kind: Kind, address: str) -> None:
        self.kind = kind
        self.address = address

    def ledger(self, clock: Clock | None = None, **options: Any) -> Ledger:
        """One more ledger; not started."""
        if self.kind == "sqlite":
            return SqliteLedger(Path(self.address), clock or FakeClock())
        return PostgresLedger(self.address, clock or FakeClock(), **{"grace_s": 0.0, **options})

    @asynccontextmanager
    async def started(self, clock: Clock | None = None, **options: Any) -> AsyncIterator[Ledger]:
        ledger = self.ledger(clock, **options)
        try:
            await ledger.start()
            yield ledger
        finally:
            await ledger.aclose()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A connection of somebody else's, in a transaction that is committed at the end."""
        if self.kind == "sqlite":
            with contextlib.closing(sqlite3.connect(self.address, isolation_level=None, timeout=10.0)) as connection:
                connection.row_factory = sqlite3.Row
                connection.execute("BEGIN IMMEDIATE")
                yield Transaction(connection)
                connection.execute("COMMIT")
        else:
            with psycopg.connect(self.address, row_factory=dict_row) as connection:
                yield Transaction(connection)

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """One statement of somebody else's; parameters are written ``:name``."""
        with self.transaction() as transaction:
            return transaction.query(sql, parameters)

    def let_go(self) -> None:
        """As if all drivers had put their jobs back."""
        self.query("UPDATE media_jobs SET owner = NULL")
        if self.kind == "postgres":
            self.query(f"UPDATE {TABLE} SET status = 'queued', queue_manager_id = NULL")

    def columns(self, job: Job) -> dict[str, Any]:
        """What the job's row would hold."""
        return encode_job(job, Dialect(text_times=self.kind == "sqlite"))

    def insert(self, table: str, values: Mapping[str, Any]) -> None:
        """A row past the ledger."""
        names = ", ".join(values)
        self.query(f"INSERT INTO {table} ({names}) VALUES ({', '.join(f':{name}' for name in values)})", values)


class Transaction:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        if isinstance(self._connection, psycopg.Connection):
            sql = re.sub(r"(?<!:):(\w+)", r"%(\1)s", sql)
        cursor = self._connection.execute(sql, parameters or {})
        return [dict(row) for row in cursor.fetchall()] if cursor.description else []
