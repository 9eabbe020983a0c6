"""The ledger in one SQLite file: the default, nothing to install.

One connection writes and another reads, each in a worker thread of its own, so the event loop never waits for the disk
and readers never wait for writers. WAL lets several server processes of one user share the file. Waiting writes share a
commit: each has a savepoint of its own, and none is confirmed before all are on disk. A commit is synced to disk before
it returns (``synchronous=FULL``), because the row that guards the money must survive a loss of power. A commit of only
relaxed writes is not (``synchronous=NORMAL``): it is in the log, in order, and the next sync by any process includes
it. So a loss of power takes the end of the log and never something out of its middle.

A lock file per process shows which processes are alive: the kernel drops the lock with the process, so a dead owner is
seen at once, and no process id is trusted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from ring_mcp.clock import Clock
from ring_mcp.domain import Holder, Job
from ring_mcp.errors import LedgerError
from ring_mcp.ledger import claims, fleet
from ring_mcp.ledger.base import Process
from ring_mcp.ledger.migrations import Migration, list_pending, split_statements
from ring_mcp.ledger.process_lock import ProcessLock
from ring_mcp.ledger.rows import Dialect
from ring_mcp.ledger.sqlite_errors import BUSY_TIMEOUT_S, translate_errors
from ring_mcp.ledger.statements import Condition, Row, Transaction
from ring_mcp.ledger.transactional import TransactionalLedger

T = TypeVar("T")

_COMMITS_AT_ONCE = 32  # a bound, since the first of them is confirmed only after the last


class SqliteLedger(TransactionalLedger):
    """See ``ledger.base.Ledger``. ``path``: the database file, whose folder is created and holds the lock files.
    ``label``: what the lock file says of this process."""

    name = "sqlite"
    dialect = Dialect(text_times=True)
    lease_s = 0.0

    def __init__(self, path: Path, clock: Clock, label: str = "") -> None:
        super().__init__(clock)
        self._path = path
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger-reads")
        self._connection: sqlite3.Connection | None = None
        self._reading: sqlite3.Connection | None = None
        self._waiting: deque[tuple[Transaction[Any], Future[Any], bool]] = deque()
        self._syncs: bool | None = None
        self._lock = ProcessLock(path.parent / "locks", label)
        self.owner = self._lock.name

    async def start(self) -> None:
        await self._in_thread(self._writer, self._connect)

    async def aclose(self) -> None:
        await self._in_thread(self._reader, self._stop_reading)
        await self._in_thread(self._writer, self._disconnect)
        self._reader.shutdown(wait=False)
        self._writer.shutdown(wait=False)

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            with translate_errors(self._path):
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                with contextlib.suppress(FileExistsError):  # O_EXCL: closing a file in use would drop SQLite's locks
                    os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))  # prompts are private
                connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
                try:
                    connection.row_factory = sqlite3.Row
                    _use_wal(connection)
                    _migrate(connection)
                    self._lock.acquire()
                    self._lock.remove_dead()
                except BaseException:
                    connection.close()
                    raise
            self._connection = connection
        return self._connection

    async def ping(self) -> None:
        await super().ping()
        await self._in_thread(self._writer, self._write_page)

    def _write_page(self) -> None:
        """Write a page of the file without a change (the version of the tables), synced to the disk."""
        connection = self._connect()
        with translate_errors(self._path):
            self._sync_commits(connection, True)
            connection.execute("BEGIN IMMEDIATE")
            try:
                version = int(connection.execute("PRAGMA user_version").fetchone()[0])
                connection.execute(f"PRAGMA user_version = {version:d}")
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    def _disconnect(self) -> None:
        self._lock.release()
        if self._connection is not None:
            self._connection.close()
            self._connection = self._syncs = None

    def _connect_to_read(self) -> sqlite3.Connection:
        if self._reading is None:
            if self._connection is None:
                self._writer.submit(self._connect).result()  # makes and migrates the file
            with translate_errors(self._path):
                connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
                connection.row_factory = sqlite3.Row
                connection.execute("PRAGMA query_only = ON")
            self._reading = connection
        return self._reading

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    async def _in_thread(self, thread: ThreadPoolExecutor, work: Callable[..., T], *args: object) -> T:
        try:
            running = asyncio.get_running_loop().run_in_executor(thread, work, *args)
        except RuntimeError as exc:
            raise LedgerError("the ledger is closed") from exc
        return await running

    async def _read(self, transaction: Transaction[T]) -> T:
        return await self._in_thread(self._reader, self._execute_read, transaction)

    def _execute_read(self, transaction: Transaction[T]) -> T:
        """Run a transaction on one snapshot of the ledger."""
        connection = self._connect_to_read()
        with translate_errors(self._path):
            connection.execute("BEGIN")
            try:
                return _drive(connection, transaction)
            finally:
                connection.execute("ROLLBACK")  # nothing was written: this releases the snapshot

    async def _write(self, transaction: Transaction[T], turns: Sequence[int] = (), *, relaxed: bool = False) -> T:
        """Runs to its end in the worker thread, even if the caller is cancelled. ``turns`` are not needed: a writer is
        alone in SQLite."""
        done: Future[T] = Future()
        self._waiting.append((transaction, done, relaxed))
        try:
            self._writer.submit(self._commit_waiting)
        except RuntimeError as exc:
            raise LedgerError("the ledger is closed") from exc
        return await asyncio.wrap_future(done)

    def _commit_waiting(self) -> None:
        """Run the waiting transactions in one commit. An error of one goes to its caller, a failed commit to all."""
        batch: list[tuple[Transaction[Any], Future[Any]]] = []
        must_sync = False
        while self._waiting and len(batch) < _COMMITS_AT_ONCE:
            transaction, done, relaxed = self._waiting.popleft()
            if done.set_running_or_notify_cancel():  # one that was cancelled before its turn is not begun
                batch.append((transaction, done))
                must_sync = must_sync or not relaxed
        if not batch:
            return
        confirmed: list[tuple[Future[Any], Any]] = []
        try:
            connection = self._connect()
            with translate_errors(self._path):
                self._sync_commits(connection, must_sync)
                connection.execute("BEGIN IMMEDIATE")  # a read that turns into a write may be refused without a wait
                try:
                    for transaction, done in batch:
                        with _undo_alone(done, connection, self._path):
                            confirmed.append((done, _drive(connection, transaction)))
                    connection.execute("COMMIT")
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                    raise
        except BaseException as exc:  # whatever it is: all callers of the batch have to get it
            for _, done in batch:
                if not done.done():
                    done.set_exception(exc)
            return
        for done, result in confirmed:
            done.set_result(result)  # only now: it is on the disk

    def _sync_commits(self, connection: sqlite3.Connection, syncs: bool) -> None:
        """Set whether the next commit is on the disk before it returns."""
        if self._syncs is not syncs:
            connection.execute(f"PRAGMA synchronous = {'FULL' if syncs else 'NORMAL'}")
            self._syncs = syncs

    async def _read_over_the_free(self, make: Callable[[Sequence[Condition]], Transaction[T]]) -> T:
        return await self._read(make(claims.match_unowned(await self._find_dead(), self.dialect)))

    async def _write_over_the_free(self, make: Callable[[Sequence[Condition]], Transaction[T]]) -> T:
        return await self._write(make(claims.match_unowned(await self._find_dead(), self.dialect)))

    async def claim_one(self, holder: Holder, job_id: str) -> Job | None:
        claimed = await self.claim(holder, 1, parked=True, job_id=job_id)
        return claimed[0] if claimed else None

    async def claim(self, holder: Holder, limit: int, *, parked: bool = False, job_id: str | None = None) -> list[Job]:
        """Looks in a read first: there is almost never anything to take, and then no writer is kept waiting."""
        now, dead = self._clock.now(), await self._find_dead()
        if not await self._read(claims.find_free_jobs(dead, holder, now, 1, parked, self.dialect, job_id)):
            return []
        return await self._write(claims.claim_jobs(self.owner, dead, holder, now, limit, parked, self.dialect, job_id))

    async def list_processes(self) -> list[Process]:
        alive = await self._in_thread(self._reader, self._lock.list_alive)
        return [fleet.read_process(label, datetime.fromtimestamp(at, UTC)) for label, at in alive]

    async def heartbeat(self, holder: Holder) -> set[str]:
        return await self._read(claims.select_owned_jobs(self.owner, holder, self.dialect))

    async def _find_dead(self) -> list[str]:
        """The dead processes that own open jobs. The names of dead processes are never used again."""
        others = await self._read(claims.open_owners(self.owner))
        return [owner for owner in others if not self._lock.is_held(owner)]


@contextlib.contextmanager
def _undo_alone(done: Future[Any], connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """A savepoint around one transaction of a batch: its error goes to its caller, and its writes are undone.

    If SQLite has rolled back the whole batch, as it does when the disk is full, all have failed.
    """
    connection.execute("SAVEPOINT one")
    try:
        with translate_errors(path):
            yield
    except BaseException as exc:  # whatever it is: its caller gets it, and the others' commit goes on
        if not connection.in_transaction:
            raise
        connection.execute("ROLLBACK TO one")
        done.set_exception(exc)
    finally:
        if connection.in_transaction:
            connection.execute("RELEASE one")


def _drive(connection: sqlite3.Connection, transaction: Transaction[T]) -> T:
    rows: Sequence[Row] | None = None
    while True:
        try:
            statement = next(transaction) if rows is None else transaction.send(rows)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        rows = [dict(row) for row in connection.execute(statement.sql, statement.parameters).fetchall()]


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to WAL. While another process does the same, SQLite refuses without waiting for the timeout."""
    give_up_at = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc) or time.monotonic() > give_up_at:
                raise
            time.sleep(0.01)  # in the worker thread
        else:
            return


def _migrate(connection: sqlite3.Connection) -> None:
    """Apply pending migrations. Several processes may start at once, so it is checked again under the write lock."""
    if not _list_pending(connection):
        return
    # Whoever sees it fail closes the connection, and with it the transaction.
    connection.execute("BEGIN IMMEDIATE")
    for migration in _list_pending(connection):
        for statement in split_statements(migration.sql):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {migration.version:d}")
    connection.execute("COMMIT")


def _list_pending(connection: sqlite3.Connection) -> list[Migration]:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    return list_pending("sqlite", range(version + 1))
