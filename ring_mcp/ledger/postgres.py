"""The ledger in PostgreSQL, for several server processes on several machines.

Which process drives a job, and whether it is alive, is told by the heartbeat of the job's task (``ledger.tasks``), by
the database's clock. ``version`` in the job row is the fencing token: a process that was only paused cannot overwrite
its successor.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from ring_mcp.clock import Clock
from ring_mcp.domain import Account, Caps, Holder, Job
from ring_mcp.domain.consent import Terms
from ring_mcp.errors import LedgerBehind, LedgerError
from ring_mcp.ledger import claims, fleet, locks, task_tables, tasks
from ring_mcp.ledger.base import Opened, Process
from ring_mcp.ledger.migrations import list_pending, migrations
from ring_mcp.ledger.postgres_session import (
    CONNECT_TIMEOUT_S,
    CONNECTION,
    begin,
    drive,
    open_connection,
    translate_errors,
)
from ring_mcp.ledger.rows import Dialect
from ring_mcp.ledger.statements import Condition, Statement, Transaction
from ring_mcp.ledger.transactional import TransactionalLedger
from ring_mcp.ledger.transactions import get_job
from ring_mcp.ledger.turns import Turns

if TYPE_CHECKING:
    from psycopg import AsyncConnection

T = TypeVar("T")

_RECONNECT_TIMEOUT_S = 5.0  # then the next call tries anew; the pool's own back-off would grow to minutes
_MIGRATION_LOCK_TIMEOUT_S = 60.0


class PostgresLedger(TransactionalLedger):
    """See ``ledger.base.Ledger``. ``lease_s``: how long a silent process counts as alive. ``grace_s``: how long a due
    task may wait before its job counts as nobody's. ``lock_timeout_s``: how long a transaction waits for a lock; then
    it fails, and has done nothing."""

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
        # A quarter is left for transactions without locks: jobs write their steps while callers wait for each other.
        self._turns = Turns(lock_timeout_s, at_once=max(1, max_connections * 3 // 4))

    async def _check(self, connection: AsyncConnection[dict[str, Any]]) -> None:
        """Check all connections if one is dead: it is seldom the only one, and the pool would pause for each."""
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
                behind = [migration.name for migration in list_pending("postgres", await _read_applied(connection))]
                if not behind and not await _has_table(connection, tasks.TABLE):
                    behind = [tasks.TABLE]
            if behind:
                raise LedgerBehind(f"the ledger's tables are behind ({behind[0]}): run ring-mcp migrate")
            with translate_errors():
                await self._pool.open()
            self._started = True

    async def aclose(self) -> None:
        if self._started:
            # A courtesy: otherwise others wait for the lease to run out. Closing must not fail or hang for it.
            with contextlib.suppress(psycopg.Error, PoolTimeout):
                async with self._pool.connection(timeout=2.0) as connection:
                    await begin(connection, self._lock_timeout_s)
                    await drive(connection, tasks.release_all(self.owner))
        await self._pool.close()

    async def _read(self, transaction: Transaction[T]) -> T:
        # A read needs the planner's settings of ``begin`` as well, which last for one transaction.
        return await self._write(transaction)

    async def _write(self, transaction: Transaction[T], turns: Sequence[int] = (), *, relaxed: bool = False) -> T:
        """Every commit is synced, ``relaxed`` or not: to relax one would take another round trip."""
        await self.start()
        with translate_errors():
            async with self._turns.take(turns) as lock_timeout_s, self._transaction(lock_timeout_s) as connection:
                return await drive(connection, transaction)

    @contextlib.asynccontextmanager
    async def _transaction(self, lock_timeout_s: float | None = None) -> AsyncIterator[AsyncConnection[Any]]:
        """The pool commits at the end, and rolls back after an error."""
        async with self._pool.connection() as connection:
            await begin(connection, self._lock_timeout_s if lock_timeout_s is None else lock_timeout_s)
            yield connection

    async def ping(self) -> None:
        """Also writes a row unchanged, so that a read-only database is noticed."""
        await super().ping()
        await self._write(_write_row())

    def _with_driver(self, opening: Transaction[Opened]) -> Transaction[Opened]:
        opened = yield from tasks.with_tasks(opening)
        # Only the commit is left: if its confirmation is lost, ``open`` has to look.
        if not opened.joined:
            self._committing.add(opened.job.id)
        return opened

    async def _read_over_the_free(self, make: Callable[[Sequence[Condition]], Transaction[T]]) -> T:
        # With grace, since people read it: a task that was put back a moment ago is about to be taken.
        return await self._read(make([tasks.match_untaken(self.lease_s, self._grace_s)]))

    async def _write_over_the_free(self, make: Callable[[Sequence[Condition]], Transaction[T]]) -> T:
        return await self._write(make([tasks.match_untaken(self.lease_s)]))

    async def open(self, job: Job, caps: Caps, still: Job | None = None, terms: Terms | None = None) -> Opened:
        """The task is committed with the row, and any process submits it then: so if the confirmation of the commit is
        lost, the row is looked for before the caller is told that nothing was started."""
        try:
            return await super().open(job, caps, still, terms)
        except LedgerError as exc:
            # It failed before the commit: nothing of it can be in the database.
            if job.id not in self._committing:
                raise
            try:
                turns = locks.of_opening(job, still)
                return await self._write(_find_opened(job, still, self.dialect, exc), turns)
            except LedgerError as again:
                # The row was looked for and is not there: the first error stands.
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
        """Take a job that PgQueuer has given to this process, or that no live process has: see ``tasks.claim``."""
        now = self._clock.now()
        return await self._write(tasks.claim(self.owner, holder, job_id, now, self.lease_s))

    async def hand_over(self, job_id: str, to: Account, *, sandbox: bool) -> Job:
        now = self._clock.now()
        return await self._write_over_the_free(
            lambda free: tasks.move(claims.hand_over(job_id, to, sandbox, free, now, self.dialect))
        )

    async def list_processes(self) -> list[Process]:
        return await self._read(fleet.select_sessions())

    async def complete_account(self, account: Account) -> None:
        await super().complete_account(account)
        await self._write(tasks.complete_account(account))


def _write_row() -> Transaction[None]:
    yield Statement("UPDATE ring_mcp_migrations SET version = version WHERE version = 1")


def _find_opened(job: Job, still: Job | None, dialect: Dialect, why: LedgerError) -> Transaction[Opened]:
    """The job that was committed although the confirmation was lost. Raises ``why`` if it was not committed. Takes the
    locks of the transaction that opens, so that it looks only after that one has ended."""
    yield from dialect.take_locks(locks.of_opening(job, still))
    found = yield from get_job(job.id, dialect)
    if found is None:
        raise why
    frame_id = getattr(found.plan, "frame_job_id", None) if still is not None else None
    return Opened(job=found, joined=False, still=(yield from get_job(frame_id, dialect)) if frame_id else None)


async def migrate(dsn: str) -> list[str]:
    """Apply pending migrations, each file in a transaction of its own, and PgQueuer's tables.

    Returns the names of what was applied. Raises ConfigError if PgQueuer is not installed, and LedgerError.

    The lock ends with the transaction: a session's lock would stay on a pooler's connection and block everybody.
    """
    task_tables.check_library()
    done = []
    async with open_connection(dsn) as connection:
        for migration in migrations("postgres"):
            await begin(connection, _MIGRATION_LOCK_TIMEOUT_S)
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (locks.CLAIMS,))
            # Read under the lock: another process may have applied it while this one waited.
            if migration.version not in await _read_applied(connection):
                await connection.execute(migration.sql)  # which says by itself that it was run
                done.append(migration.name)
            await connection.commit()
        await begin(connection, _MIGRATION_LOCK_TIMEOUT_S)
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (locks.CLAIMS,))
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
