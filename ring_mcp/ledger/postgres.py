"""The ledger in PostgreSQL, for several server processes on several machines.

A process shows that it lives by renewing one lease, by the database's clock; its jobs may be taken over when that has
run out. ``version`` in the job row is the fencing token: a process that was only paused cannot overwrite its successor.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import uuid
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from ring_mcp.clock import Clock
from ring_mcp.domain import Job
from ring_mcp.errors import LedgerBehind, LedgerError
from ring_mcp.ledger import transactions as tx
from ring_mcp.ledger.migrations import migrations, pending
from ring_mcp.ledger.rows import Dialect
from ring_mcp.ledger.transactional import TransactionalLedger

if TYPE_CHECKING:
    from psycopg import AsyncConnection

T = TypeVar("T")

_LOCK_ID = 0x72696E67  # "ring": the advisory lock that makes opening and claiming jobs one after another
_CONNECT_TIMEOUT_S = 10.0
_RECONNECT_TIMEOUT_S = 5.0  # then the next call tries anew; the pool's own back-off would grow to minutes


class PostgresLedger(TransactionalLedger):
    """See ``ledger.base.Ledger``. ``lease_s`` is how long a silent process is believed to be alive."""

    name = "postgres"
    dialect = Dialect(text_times=False)

    def __init__(self, dsn: str, clock: Clock, *, lease_s: float = 60.0, max_connections: int = 10) -> None:
        super().__init__(clock)
        self._dsn = dsn
        self._lease_s = lease_s
        self.owner = uuid.uuid4().hex
        self._pool: AsyncConnectionPool[AsyncConnection[dict[str, Any]]] = AsyncConnectionPool(
            dsn,
            min_size=1,
            max_size=max_connections,
            timeout=_CONNECT_TIMEOUT_S,
            reconnect_timeout=_RECONNECT_TIMEOUT_S,
            kwargs={"autocommit": True, "row_factory": dict_row, "connect_timeout": int(_CONNECT_TIMEOUT_S)},
            check=self._check,
            open=False,
        )
        self._started = False
        self._starting = asyncio.Lock()

    async def _check(self, connection: AsyncConnection[dict[str, Any]]) -> None:
        """A dead connection is seldom the only one: look at all, where the pool would find one after a pause each."""
        try:
            await AsyncConnectionPool.check_connection(connection)
        except psycopg.Error:
            await self._pool.check()
            raise

    async def start(self) -> None:
        async with self._starting:
            if self._started:
                return
            async with _connected(self._dsn) as connection:
                behind = pending("postgres", await _applied(connection))
            if behind:
                raise LedgerBehind(f"the ledger's tables are behind ({behind[0].name}): run ring-mcp migrate")
            with _translated():
                await self._pool.open()
                await self._renew_lease()
                await self._forget_old_leases()
            self._started = True

    async def aclose(self) -> None:
        if self._started:
            with contextlib.suppress(psycopg.Error, PoolTimeout):
                async with self._pool.connection(timeout=2.0) as connection:
                    await connection.execute("DELETE FROM media_job_owners WHERE id = %s", (self.owner,))
        await self._pool.close()

    async def _run(self, transaction: tx.Transaction[T], *, alone: bool = False) -> T:
        await self.start()
        with _translated():
            async with self._transaction() as connection:
                if alone:
                    await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK_ID,))
                return await _drive(connection, transaction)

    @contextlib.asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection[dict[str, Any]]]:
        async with self._pool.connection() as connection, connection.transaction():
            yield connection

    async def _forget_old_leases(self) -> None:
        """An owner without a lease is as dead as one whose lease has run out."""
        async with self._pool.connection() as connection:
            await connection.execute("DELETE FROM media_job_owners WHERE lease_expires_at < now() - interval '1 day'")

    async def _renew_lease(self) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(
                "INSERT INTO media_job_owners (id, lease_expires_at)"
                " VALUES (%(me)s, now() + make_interval(secs => %(lease_s)s))"
                " ON CONFLICT (id) DO UPDATE SET lease_expires_at = excluded.lease_expires_at",
                {"me": self.owner, "lease_s": self._lease_s},
            )

    async def _claim(self, limit: int, parked: bool, job_id: str | None) -> list[Job]:
        now = self._clock.now()
        return await self._run(self._claiming(now, limit, parked, job_id), alone=True)

    def _claiming(self, now: datetime, limit: int, parked: bool, job_id: str | None) -> tx.Transaction[list[Job]]:
        others = yield from tx.open_owners(self.owner)
        rows = yield tx.Statement("SELECT id FROM media_job_owners WHERE lease_expires_at > now()")
        alive = {row["id"] for row in rows}
        dead = [owner for owner in others if owner not in alive]
        return (yield from tx.claim_jobs(self.owner, dead, now, limit, parked, self.dialect, job_id))

    async def heartbeat(self, job_ids: Collection[str]) -> set[str]:
        await self.start()
        with _translated():
            await self._renew_lease()
        return await super().heartbeat(job_ids)


async def migrate(dsn: str) -> list[str]:
    """Apply what is pending, under a lock, each file in its own transaction. Returns the names that were applied."""
    async with _connected(dsn) as connection:
        await connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK_ID,))
        applied = await _applied(connection)
        done = []
        for migration in migrations("postgres"):
            if migration.version not in applied:
                async with connection.transaction():
                    await connection.execute(migration.sql)
                    await connection.execute("INSERT INTO ring_mcp_migrations VALUES (%s)", (migration.version,))
                done.append(migration.name)
        return done


@contextlib.asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[AsyncConnection[dict[str, Any]]]:
    """One connection beside the pool. If there is none, it says so at once, where the pool would try for a while."""
    try:
        conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:  # its text repeats parts of the address, and the pool would log it
        raise LedgerError(
            "DATABASE_URL is not an address of a PostgreSQL database",
            retryable=False,
            next_action="Correct DATABASE_URL; special characters in the password are written percent-encoded.",
        ) from None
    with _translated():
        async with await psycopg.AsyncConnection.connect(
            dsn, autocommit=True, row_factory=dict_row, connect_timeout=int(_CONNECT_TIMEOUT_S)
        ) as connection:
            yield connection


async def _applied(connection: AsyncConnection[dict[str, Any]]) -> set[int]:
    cursor = await connection.execute("SELECT to_regclass('ring_mcp_migrations') IS NOT NULL AS present")
    row = await cursor.fetchone()
    if row is None or not row["present"]:
        return set()
    cursor = await connection.execute("SELECT version FROM ring_mcp_migrations")
    return {int(found["version"]) for found in await cursor.fetchall()}


@lru_cache(maxsize=256)
def _psycopg_style(sql: str) -> str:
    """``:name`` as ``%(name)s``. The text comes from ``ledger.transactions`` alone, never from a caller."""
    return re.sub(r":([a-z][a-z0-9_]*)", r"%(\1)s", sql)


async def _drive(connection: AsyncConnection[dict[str, Any]], transaction: tx.Transaction[T]) -> T:
    rows: Sequence[tx.Row] | None = None
    while True:
        try:
            statement = next(transaction) if rows is None else transaction.send(rows)
        except StopIteration as stop:
            return cast(T, stop.value)
        cursor = await connection.execute(_psycopg_style(statement.sql), statement.parameters)
        rows = await cursor.fetchall() if cursor.description else []


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """psycopg's errors as LedgerError. The driver's text may hold host, user and values, so only its class is named."""
    try:
        yield
    except PoolTimeout as exc:
        raise LedgerError("the database of DATABASE_URL does not answer") from exc
    except psycopg.OperationalError as exc:
        raise LedgerError(f"the database of DATABASE_URL cannot be used ({type(exc).__name__})") from exc
    except psycopg.Error as exc:
        raise LedgerError(f"the database refused a statement ({type(exc).__name__} {exc.sqlstate or ''})") from exc
