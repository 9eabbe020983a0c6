"""The ledger in PostgreSQL, for several server processes on several machines.

A process shows that it lives by renewing one lease, by the database's clock; its jobs may be taken over when that has
run out. ``version`` in the job row is the fencing token: a process that was only paused cannot overwrite its successor.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from ring_mcp.clock import Clock
from ring_mcp.domain import Holder
from ring_mcp.errors import LedgerBehind
from ring_mcp.ledger import claims
from ring_mcp.ledger.migrations import migrations, pending
from ring_mcp.ledger.postgres_session import (
    CONNECT_TIMEOUT_S,
    CONNECTION,
    begin,
    busy,
    drive,
    open_connection,
    translate_errors,
)
from ring_mcp.ledger.rows import Dialect
from ring_mcp.ledger.statements import Statement, Transaction
from ring_mcp.ledger.transactional import TransactionalLedger

if TYPE_CHECKING:
    from psycopg import AsyncConnection

T = TypeVar("T")

_LOCK_ID = 0x72696E67  # "ring": the advisory lock that makes opening and claiming jobs one after another
_RECONNECT_TIMEOUT_S = 5.0  # then the next call tries anew; the pool's own back-off would grow to minutes
_MIGRATION_LOCK_TIMEOUT_S = 60.0
_ALONE_AT_ONCE = 2
"""Of the transactions that wait for each other: one is at work and one is under way to it. More would fill the pool."""


class PostgresLedger(TransactionalLedger):
    """See ``ledger.base.Ledger``. ``lease_s`` is how long a silent process is believed to be alive; ``lock_timeout_s``
    how long anything waits for a lock that somebody else holds: then nothing was done, and the caller hears of it."""

    name = "postgres"
    dialect = Dialect(text_times=False)

    def __init__(
        self,
        dsn: str,
        clock: Clock,
        *,
        lease_s: float = 60.0,
        lock_timeout_s: float = 5.0,
        max_connections: int = 10,
    ) -> None:
        super().__init__(clock)
        self._dsn = dsn
        self._lease_s = lease_s
        self._lock_timeout_s = lock_timeout_s
        self.owner = uuid.uuid4().hex
        self._pool: AsyncConnectionPool[AsyncConnection[dict[str, Any]]] = AsyncConnectionPool(
            dsn,
            min_size=1,
            max_size=max_connections,
            timeout=CONNECT_TIMEOUT_S,
            reconnect_timeout=_RECONNECT_TIMEOUT_S,
            kwargs=CONNECTION,
            check=self._check,
            open=False,
        )
        self._started = False
        self._starting = asyncio.Lock()
        self._turns = asyncio.Semaphore(_ALONE_AT_ONCE)

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
            async with open_connection(self._dsn) as connection:
                behind = pending("postgres", await _read_applied(connection))
            if behind:
                raise LedgerBehind(f"the ledger's tables are behind ({behind[0].name}): run ring-mcp migrate")
            with translate_errors():
                await self._pool.open()
                await self._renew_lease()
                await self._forget_old_leases()
            self._started = True

    async def aclose(self) -> None:
        if self._started:
            with contextlib.suppress(psycopg.Error, PoolTimeout):
                async with self._pool.connection(timeout=2.0) as connection:
                    await begin(connection, self._lock_timeout_s)
                    await connection.execute("DELETE FROM media_job_owners WHERE id = %s", (self.owner,))
        await self._pool.close()

    async def _run(self, transaction: Transaction[T], *, alone: bool = False) -> T:
        await self.start()
        with translate_errors():
            async with self._turn(alone) as lock_timeout_s, self._transaction(lock_timeout_s) as connection:
                if alone:
                    await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK_ID,))
                return await drive(connection, transaction)

    @contextlib.asynccontextmanager
    async def _turn(self, alone: bool) -> AsyncIterator[float]:
        """Wait for one's turn in this process; what is left of the time for the lock in the database."""
        if not alone:
            yield self._lock_timeout_s
            return
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._lock_timeout_s
        try:
            async with asyncio.timeout_at(give_up_at):
                await self._turns.acquire()
        except TimeoutError:
            raise busy() from None
        try:
            yield give_up_at - loop.time()
        finally:
            self._turns.release()

    @contextlib.asynccontextmanager
    async def _transaction(self, lock_timeout_s: float | None = None) -> AsyncIterator[AsyncConnection[Any]]:
        """The pool commits at the end, and rolls back after an error."""
        async with self._pool.connection() as connection:
            await begin(connection, self._lock_timeout_s if lock_timeout_s is None else lock_timeout_s)
            yield connection

    async def ping(self) -> None:
        await super().ping()
        with translate_errors():
            await self._renew_lease()

    async def _forget_old_leases(self) -> None:
        """An owner without a lease is as dead as one whose lease has run out."""
        async with self._transaction() as connection:
            await connection.execute("DELETE FROM media_job_owners WHERE lease_expires_at < now() - interval '1 day'")

    async def _renew_lease(self) -> None:
        async with self._transaction() as connection:
            await connection.execute(
                "INSERT INTO media_job_owners (id, lease_expires_at)"
                " VALUES (%(me)s, now() + make_interval(secs => %(lease_s)s))"
                " ON CONFLICT (id) DO UPDATE SET lease_expires_at = excluded.lease_expires_at",
                {"me": self.owner, "lease_s": self._lease_s},
            )

    async def _run_over_the_dead(self, make: Callable[[list[str]], Transaction[T]], *, alone: bool) -> T:
        return await self._run(self._over_the_dead(make), alone=alone)

    def _over_the_dead(self, make: Callable[[list[str]], Transaction[T]]) -> Transaction[T]:
        others = yield from claims.open_owners(self.owner)
        rows = yield Statement("SELECT id FROM media_job_owners WHERE lease_expires_at > now()")
        alive = {row["id"] for row in rows}
        return (yield from make([owner for owner in others if owner not in alive]))

    async def heartbeat(self, holder: Holder) -> set[str]:
        await self.start()
        with translate_errors():
            await self._renew_lease()
        return await super().heartbeat(holder)


async def migrate(dsn: str) -> list[str]:
    """Apply what is pending, each file in a transaction of its own. Returns the names that were applied.

    The lock ends with the transaction: one of the session would stay with a pooler's connection, and stop everybody.
    """
    done = []
    async with open_connection(dsn) as connection:
        for migration in migrations("postgres"):
            await begin(connection, _MIGRATION_LOCK_TIMEOUT_S)
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK_ID,))
            if migration.version not in await _read_applied(connection):
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO ring_mcp_migrations VALUES (%s) ON CONFLICT DO NOTHING", (migration.version,)
                )
                done.append(migration.name)
            await connection.commit()
    return done


async def _read_applied(connection: AsyncConnection[dict[str, Any]]) -> set[int]:
    cursor = await connection.execute("SELECT to_regclass('ring_mcp_migrations') IS NOT NULL AS present")
    row = await cursor.fetchone()
    if row is None or not row["present"]:
        return set()
    cursor = await connection.execute("SELECT version FROM ring_mcp_migrations")
    return {int(found["version"]) for found in await cursor.fetchall()}
