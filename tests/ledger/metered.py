"""A ledger that counts what each of its statements reads, for databases that have many rows."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg.rows import dict_row

from ring_mcp.clock import SystemClock
from ring_mcp.domain import Holder
from ring_mcp.ledger import claims, fleet, tasks
from ring_mcp.ledger.base import Opened, Process
from ring_mcp.ledger.postgres_session import PLANNING
from ring_mcp.ledger.rows import Dialect
from ring_mcp.ledger.statements import Condition, Row, Statement, Transaction
from ring_mcp.ledger.transactional import TransactionalLedger
from tests.ledger_databases import LedgerDatabase

T = TypeVar("T")

ME = "4ac51e5c-3dbd-4a29-8a3c-6f0e5a9ad0a7"
LEASE_S = 60.0
STEPS_A_ROW = 120
"""What SQLite's virtual machine does for a row at the most: it counts steps, not rows. To skip a row takes it three."""

_READS = {"Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan", "Bitmap Index Scan", "Tid Scan"}


class MeteredLedger(TransactionalLedger):
    """One connection, everything in the test's own time. ``read``: of each statement its text, and how many rows it
    read, or, on SQLite, for how many rows its steps would have been enough. Dead is whoever is called so.

    Without ``counts`` it only writes: to count takes many times as long.
    """

    def __init__(self, database: LedgerDatabase, *, counts: bool = True) -> None:
        super().__init__(SystemClock())
        self.dialect = Dialect(text_times=database.kind == "sqlite")  # type: ignore[misc]
        self.owner = ME
        self._counts = counts
        self.read: list[tuple[str, int]] = []
        self._connection: Any = (
            sqlite3.connect(database.address, isolation_level=None)
            if database.kind == "sqlite"
            else psycopg.connect(database.address, row_factory=dict_row, autocommit=True)
        )
        if database.kind == "sqlite":
            self._connection.row_factory = sqlite3.Row

    def close(self) -> None:
        self._connection.close()

    async def list_processes(self) -> list[Process]:
        """On SQLite it is no statement: files are looked at."""
        return [] if self.dialect.text_times else self._drive(fleet.select_sessions())

    async def _read(self, transaction: Transaction[T]) -> T:
        return self._drive(transaction)

    async def _write(self, transaction: Transaction[T], turns: Sequence[int] = (), *, relaxed: bool = False) -> T:
        return self._drive(transaction)

    async def _read_over_the_free(self, make: Callable[[Sequence[Condition]], Transaction[T]]) -> T:
        free = [tasks.match_untaken(LEASE_S)]
        if self.dialect.text_times:
            free = claims.match_unowned(self._find_dead(), self.dialect)
        return self._drive(make(free))

    async def _write_over_the_free(self, make: Callable[[Sequence[Condition]], Transaction[T]]) -> T:
        return await self._read_over_the_free(make)

    def _find_dead(self) -> list[str]:
        return [owner for owner in self._drive(claims.open_owners(ME)) if "dead" in owner]

    def _with_driver(self, opening: Transaction[Opened]) -> Transaction[Opened]:
        return opening if self.dialect.text_times else tasks.with_tasks(opening)

    async def claim(self, holder: Holder, limit: int, *, parked: bool = False) -> None:
        """Looking for jobs without a driver, as the queue of this database has it done."""
        if self.dialect.text_times:
            self._drive(
                claims.claim_jobs(ME, self._find_dead(), holder, self._clock.now(), limit, parked, self.dialect)
            )
        else:
            self._drive(tasks.enqueue_forgotten("", limit))

    async def claim_one(self, holder: Holder, job_id: str) -> None:
        now = self._clock.now()
        if self.dialect.text_times:
            self._drive(claims.claim_jobs(ME, self._find_dead(), holder, now, 1, True, self.dialect, job_id))
        else:
            self._drive(tasks.claim(ME, holder, job_id, now, LEASE_S))

    async def heartbeat(self, holder: Holder) -> None:
        if self.dialect.text_times:
            self._drive(claims.select_owned_jobs(ME, holder, self.dialect))
        else:
            self._drive(tasks.beat(ME))

    def _drive(self, transaction: Transaction[T]) -> T:
        self._connection.execute("BEGIN")
        if not self.dialect.text_times:
            self._connection.execute(PLANNING)
        rows: Sequence[Row] | None = None
        while True:
            try:
                statement = next(transaction) if rows is None else transaction.send(rows)
            except StopIteration as stop:
                self._connection.execute("COMMIT")
                return stop.value  # type: ignore[no-any-return]
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            rows = self._in_sqlite(statement) if self.dialect.text_times else self._in_postgres(statement)

    def _in_sqlite(self, statement: Statement) -> list[dict[str, Any]]:
        steps = 0

        def count() -> None:
            nonlocal steps
            steps += 1

        self._connection.set_progress_handler(count if self._counts else None, 1)
        try:
            rows = self._connection.execute(statement.sql, statement.parameters).fetchall()
        finally:
            self._connection.set_progress_handler(None, 0)
        self.read.append((statement.sql, steps // STEPS_A_ROW))
        return [dict(row) for row in rows]

    def _in_postgres(self, statement: Statement) -> list[dict[str, Any]]:
        sql = re.sub(r":([a-z][a-z0-9_]*)", r"%(\1)s", statement.sql)
        if self._counts and not sql.startswith("LOCK"):
            with self._undone():
                explained = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}"
                [row] = self._connection.execute(explained, statement.parameters).fetchall()
                [plan] = row["QUERY PLAN"] if not isinstance(row["QUERY PLAN"], str) else json.loads(row["QUERY PLAN"])
            self.read.append((statement.sql, round(sum(_read_by(node) for node in _nodes(plan["Plan"])))))
        cursor = self._connection.execute(sql, statement.parameters)
        return cursor.fetchall() if cursor.description else []

    @contextlib.contextmanager
    def _undone(self) -> Iterator[None]:
        """To explain a statement is to carry it out."""
        self._connection.execute("SAVEPOINT explained")
        yield
        self._connection.execute("ROLLBACK TO explained")


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


def _read_by(node: Mapping[str, Any]) -> float:
    if node["Node Type"] not in _READS:
        return 0
    removed = sum(float(node.get(f"Rows Removed by {what}", 0)) for what in ("Filter", "Index Recheck"))
    return float(node["Actual Loops"]) * (float(node["Actual Rows"]) + removed)
