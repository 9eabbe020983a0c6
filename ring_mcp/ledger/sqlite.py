"""The ledger in one SQLite file: the default, nothing to install.

One connection, used by one worker thread, so the event loop never waits for the disk. WAL lets several server processes
of one user share the file. Every commit is synced to disk before it returns (``synchronous=FULL``): the row that guards
the money must not be lost with the power.

Who lives is shown by a lock file per process: the kernel drops the lock with the process, so that a dead owner is seen
at once and no process id is trusted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ring_mcp.clock import Clock
from ring_mcp.errors import LedgerError
from ring_mcp.ledger import claims
from ring_mcp.ledger.migrations import Migration, pending
from ring_mcp.ledger.process_lock import ProcessLock
from ring_mcp.ledger.rows import Dialect
from ring_mcp.ledger.statements import Row, Transaction
from ring_mcp.ledger.transactional import TransactionalLedger

T = TypeVar("T")

_BUSY_TIMEOUT_S = 30.0


class SqliteLedger(TransactionalLedger):
    """See ``ledger.base.Ledger``. ``path`` is the database file; its folder is made, and holds the lock files."""

    name = "sqlite"
    dialect = Dialect(text_times=True)

    def __init__(self, path: Path, clock: Clock) -> None:
        super().__init__(clock)
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._connection: sqlite3.Connection | None = None
        self._lock = ProcessLock(path.parent / "locks")
        self.owner = self._lock.name

    async def start(self) -> None:
        await self._in_thread(self._connect)

    async def aclose(self) -> None:
        await self._in_thread(self._disconnect)
        self._thread.shutdown(wait=False)

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            with _translate_errors(self._path):
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                with contextlib.suppress(FileExistsError):  # one in use is not opened: to close it drops its locks
                    os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))  # prompts are private
                connection = sqlite3.connect(
                    self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
                )
                try:
                    connection.row_factory = sqlite3.Row
                    _use_wal(connection)
                    connection.execute("PRAGMA synchronous = FULL")
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
        await self._in_thread(self._write)

    def _write(self) -> None:
        """The version of the tables, as it is: a page of the file, synced to the disk."""
        connection = self._connect()
        with _translate_errors(self._path):
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
            self._connection = None

    async def _in_thread(self, work: Callable[..., T], *args: object) -> T:
        try:
            running = asyncio.get_running_loop().run_in_executor(self._thread, work, *args)
        except RuntimeError as exc:
            raise LedgerError("the ledger is closed") from exc
        return await running

    async def _run(self, transaction: Transaction[T], *, alone: bool = False) -> T:
        """To its end in the worker thread, also when the caller is cancelled; a writer is alone in SQLite anyway."""
        return await self._in_thread(self._execute, transaction)

    def _execute(self, transaction: Transaction[T]) -> T:
        connection = self._connect()
        with _translate_errors(self._path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = _drive(connection, transaction)
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
        return result

    async def _run_over_the_dead(self, make: Callable[[list[str]], Transaction[T]], *, alone: bool) -> T:
        others = await self._run(claims.open_owners(self.owner))
        return await self._run(make([owner for owner in others if not self._lock.is_held(owner)]), alone=alone)


def _drive(connection: sqlite3.Connection, transaction: Transaction[T]) -> T:
    rows: Sequence[Row] | None = None
    while True:
        try:
            statement = next(transaction) if rows is None else transaction.send(rows)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        rows = [dict(row) for row in connection.execute(statement.sql, statement.parameters).fetchall()]


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to WAL. While another process does the same, SQLite refuses without regard to the timeout."""
    give_up_at = time.monotonic() + _BUSY_TIMEOUT_S
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
    """Bring the file up to date; several processes may start at once, so it is checked again under the write lock."""
    if not _pending(connection):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for migration in _pending(connection):
            for statement in _statements(migration.sql):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {migration.version:d}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _pending(connection: sqlite3.Connection) -> list[Migration]:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    return pending("sqlite", range(version + 1))


def _statements(script: str) -> list[str]:
    """Split a script into statements. ``executescript`` would commit the transaction that guards the migration."""
    statements, current = [], ""
    for line in script.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            statements.append(current)
            current = ""
    return statements


@contextlib.contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    """SQLite's and the disk's errors as LedgerError, with the file and what to do."""
    try:
        yield
    except sqlite3.DatabaseError as exc:
        raise LedgerError(_explain(path, exc)) from exc
    except OSError as exc:
        raise LedgerError(
            f"the state folder {path.parent} cannot be used: {exc.strerror}; point RING_STATE_DIR to a writable folder"
        ) from exc


def _explain(path: Path, exc: sqlite3.DatabaseError) -> str:
    text = str(exc)
    if "readonly" in text or "unable to open" in text:
        return f"the ledger {path} cannot be written; point RING_STATE_DIR to a writable folder"
    if "full" in text:
        return f"the disk that holds the ledger {path} is full; free some space"
    if "not a database" in text or "malformed" in text:
        return f"the ledger {path} is damaged; restore it from a backup, or move the file away to start an empty one"
    if "locked" in text:
        return f"the ledger {path} was locked by another process for {_BUSY_TIMEOUT_S:.0f} s; try again"
    return f"the ledger {path} failed: {text}"
