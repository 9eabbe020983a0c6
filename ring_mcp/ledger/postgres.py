"""The ledger in PostgreSQL, for several server processes on several machines.

Who drives a job, and whether that process lives, the heartbeat of the job's task says (``ledger.tasks``), by the
database's clock. ``version`` in the job row is the fencing token: a process that was only paused cannot overwrite its
successor.
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
from ring_mcp.domain import Account, Caps, Holder, Job
from ring_mcp.errors import LedgerBehind, LedgerError
from ring_mcp.ledger import claims, task_tables, tasks
from ring_mcp.ledger.base import Opened
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
from ring_mcp.ledger.statements import Condition, Transaction
from ring_mcp.ledger.transactional import TransactionalLedger
from ring_mcp.ledger.transactions import get_job

if TYPE_CHECKING:
    from psycopg import AsyncConnection

T = TypeVar("T")

_LOCK_ID = 0x72696E67  # "ring": the advisory lock that makes opening and claiming jobs one after another
_RECONNECT_TIMEOUT_S = 5.0  # then the next call tries anew; the pool's own back-off would grow to minutes
_MIGRATION_LOCK_TIMEOUT_S = 60.0
_ALONE_AT_ONCE = 2
"""Of the transactions that wait for each other: one is at work and one is under way to it. More would fill the pool."""


class PostgresLedger(TransactionalLedger):
    """See ``ledger.base.Ledger``. ``lease_s`` is how long a silent process is believed to be alive, and ``grace_s`` how
    long a due task may wait before its job counts as nobody's; ``lock_timeout_s`` how long anything waits for a lock
    that somebody else holds: then nothing was done, and the caller hears of it."""

    name = "postgres"
    dialect = Dialect(text_times=False)

    def __init__(
        self,
        dsn: str,
        clock: Clock,
        *,
        lease_s: float = 60.0,
        grace_s: float = 30.0,
        lock_timeout_s: float = 5.0,
        max_connections: int = 10,
    ) -> None:
        super().__init__(clock)
        self._dsn = dsn
        self.lease_s = lease_s
        self._grace_s = grace_s
        self._lock_timeout_s = lock_timeout_s
        self.owner = str(uuid.uuid4())
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
        self._committing = set[str]()
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
                behind = [migration.name for migration in pending("postgres", await _read_applied(connection))]
                if not behind and not await _has_table(connection, tasks.TABLE):
                    behind = [tasks.TABLE]
            if behind:
                raise LedgerBehind(f"the ledger's tables are behind ({behind[0]}): run ring-mcp migrate")
            with translate_errors():
                await self._pool.open()
            self._started = True

    async def aclose(self) -> None:
        if self._started:
            with contextlib.suppress(psycopg.Error, PoolTimeout):
                async with self._pool.connection(timeout=2.0) as connection:
                    await begin(connection, self._lock_timeout_s)
                    await drive(connection, tasks.release_all(self.owner))
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

    def _with_driver(self, opening: Transaction[Opened]) -> Transaction[Opened]:
        opened = yield from tasks.with_tasks(opening)
        self._committing.add(opened.job.id)
        return opened

    async def _run_over_the_free(self, make: Callable[[Condition], Transaction[T]], *, alone: bool) -> T:
        held, parameters = tasks.held_by_somebody(None, self.lease_s, self._grace_s)
        return await self._run(make((f"NOT {held}", parameters)), alone=alone)

    async def open(self, job: Job, caps: Caps, still: Job | None = None) -> Opened:
        """The task is committed with the row, and whoever finds it submits: so a commit whose confirmation was lost is
        looked for before a caller is told that nothing was started."""
        try:
            return await super().open(job, caps, still)
        except LedgerError as exc:
            if job.id not in self._committing:
                raise
            try:
                return await self._run(_find_opened(job, still, self.dialect, exc), alone=True)
            except LedgerError as again:
                if again is exc:
                    raise
                raise LedgerError(
                    f"{exc.message}; whether job {job.id} was opened is not known",
                    billed="unknown",
                    next_action=f"Call ring-job-get with jobId {job.id}, or the same call again: it joins that job.",
                ) from exc
        finally:
            self._committing.discard(job.id)

    async def claim_one(self, holder: Holder, job_id: str) -> Job | None:
        """PgQueuer has given the job to this process, or nobody alive has it: see ``tasks.claim``."""
        now = self._clock.now()
        return await self._run(tasks.claim(self.owner, holder, job_id, now, self.lease_s))

    async def hand_over(self, job_id: str, to: Account, *, sandbox: bool) -> Job:
        held, parameters = tasks.held_by_somebody(None, self.lease_s)
        handing_over = claims.hand_over(
            job_id, to, sandbox, (f"NOT {held}", parameters), self._clock.now(), self.dialect
        )
        return await self._run(tasks.move(handing_over), alone=True)

    async def complete_account(self, account: Account) -> None:
        await super().complete_account(account)
        await self._run(tasks.complete_account(account))


def _find_opened(job: Job, still: Job | None, dialect: Dialect, why: LedgerError) -> Transaction[Opened]:
    """What was committed without a confirmation. Alone, so after whatever is still under way. Raises ``why``."""
    found = yield from get_job(job.id, dialect)
    if found is None:
        raise why
    frame_id = getattr(found.plan, "frame_job_id", None) if still is not None else None
    return Opened(job=found, joined=False, still=(yield from get_job(frame_id, dialect)) if frame_id else None)


async def migrate(dsn: str) -> list[str]:
    """Apply what is pending, each file in a transaction of its own, and PgQueuer's tables beside them.

    Returns the names that were applied. Raises ConfigError where PgQueuer is not installed.

    The lock ends with the transaction: one of the session would stay with a pooler's connection, and stop everybody.
    """
    task_tables.check_library()
    done = []
    async with open_connection(dsn) as connection:
        for migration in migrations("postgres"):
            await begin(connection, _MIGRATION_LOCK_TIMEOUT_S)
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK_ID,))
            if migration.version not in await _read_applied(connection):
                await connection.execute(migration.sql)
                await connection.execute("INSERT INTO ring_mcp_migrations VALUES (%s)", (migration.version,))
                done.append(migration.name)
            await connection.commit()
        await begin(connection, _MIGRATION_LOCK_TIMEOUT_S)
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK_ID,))
        is_new = await task_tables.install(connection)
        await connection.commit()
        if is_new or await task_tables.upgrade(connection):
            done.append("PgQueuer's tables")
    return done


async def _has_table(connection: AsyncConnection[dict[str, Any]], name: str) -> bool:
    cursor = await connection.execute("SELECT to_regclass(%s) IS NOT NULL AS present", (name,))
    row = await cursor.fetchone()
    return row is not None and bool(row["present"])


async def _read_applied(connection: AsyncConnection[dict[str, Any]]) -> set[int]:
    if not await _has_table(connection, "ring_mcp_migrations"):
        return set()
    cursor = await connection.execute("SELECT version FROM ring_mcp_migrations")
    return {int(found["version"]) for found in await cursor.fetchall()}
