"""Sessions of PostgreSQL: every transaction sets what it needs, and the driver's errors become the ledger's.

Nothing depends on defaults of the server, the role or the connection, and nothing stays behind on a connection: so a
pooler in transaction mode, which gives each transaction another one, works.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from psycopg_pool import PoolTimeout

from ring_mcp.errors import LedgerError
from ring_mcp.ledger.statements import Row, Transaction

if TYPE_CHECKING:
    from psycopg import AsyncConnection

T = TypeVar("T")

CONNECT_TIMEOUT_S = 10.0
CONNECTION: dict[str, Any] = {
    "autocommit": True,  # transactions are begun by hand, see ``begin``
    "row_factory": dict_row,
    "connect_timeout": int(CONNECT_TIMEOUT_S),
    "prepare_threshold": None,  # a prepared statement stays on one connection, and the next one may be another
}

PLANNING = "SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off;"
"""An index is read in its order and no further than needed. If it expects few rows, the planner would rather read all
that match and sort them."""


async def begin(connection: AsyncConnection[dict[str, Any]], lock_timeout_s: float) -> None:
    """Begin a transaction that sees what others commit meanwhile, and that is on disk when it has ended.

    Under a stricter isolation the snapshot would be older than the lock that was waited for: two callers would both
    find nothing, and both pay. A stronger durability than ours is kept.
    """
    # All in one text: without parameters it is one round trip, for every transaction.
    await connection.execute(
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
        # At least 1: to PostgreSQL 0 means to wait for ever.
        f" SET LOCAL lock_timeout = {max(1, round(lock_timeout_s * 1000))};"
        f" {PLANNING}"
        " SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit')"
        " WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true)"
    )


@contextlib.asynccontextmanager
async def open_connection(dsn: str, name: str | None = None) -> AsyncIterator[AsyncConnection[dict[str, Any]]]:
    """One connection outside the pool, which fails at once where the pool would retry. Raises LedgerError.

    ``name``: the session's application name.
    """
    named: dict[str, Any] = {} if name is None else {"application_name": name}
    try:
        conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:  # its text repeats parts of the address, and the pool would log it
        raise LedgerError(
            "DATABASE_URL is not an address of a PostgreSQL database",
            retryable=False,
            next_action="Correct DATABASE_URL; special characters in the password are written percent-encoded.",
        ) from None
    with translate_errors():
        async with await psycopg.AsyncConnection.connect(dsn, **CONNECTION, **named) as connection:
            yield connection


async def drive(connection: AsyncConnection[dict[str, Any]], transaction: Transaction[T]) -> T:
    """Execute a transaction's statements one by one; returns its result."""
    rows: Sequence[Row] | None = None
    while True:
        try:
            statement = next(transaction) if rows is None else transaction.send(rows)
        except StopIteration as stop:
            return cast(T, stop.value)
        cursor = await connection.execute(_psycopg_style(statement.sql), statement.parameters)
        rows = await cursor.fetchall() if cursor.description else []


@lru_cache(maxsize=256)
def _psycopg_style(sql: str) -> str:
    """``:name`` as ``%(name)s``. The text comes from the ledger's transactions alone, never from a caller."""
    # A cast written ``::text`` would be taken for a parameter: statements of the ledger say CAST.
    return re.sub(r":([a-z][a-z0-9_]*)", r"%(\1)s", sql)


def busy() -> LedgerError:
    return LedgerError(
        "the database of DATABASE_URL is busy: another transaction has held a lock for too long",
        next_action="This call started nothing. Call again in a moment.",
    )


_SEE_TO_IT = "See that the database runs and that DATABASE_URL is right, then call again; this call started nothing."
_CAUSES = {
    "Connection refused": "nothing listens there",
    "No such file or directory": "nothing listens there",  # a socket of this machine
    "failed to resolve host": "the name of its host is not known",
    "timeout expired": "nobody answered there in time",
    "authentication failed": "it refuses the user or the password",
    "does not exist": "it has no such database or user",
    "no pg_hba.conf entry": "its pg_hba.conf lets nobody in from here",
    "too many clients": "all its connections are taken",
    "remaining connection slots": "all its connections are taken",
    "starting up": "it is starting",
}


@contextlib.contextmanager
def translate_errors() -> Iterator[None]:
    """psycopg's errors as LedgerError. The driver's text may hold host, user and values: only its class is named, or in
    our words why nobody is connected.

    A cancellation is not lost in the block: on Python 3.11, ``asyncio.wait_for``, with which the pool waits for a
    connection, loses one that comes together with the connection, and a loop that was cancelled would go on for ever.
    """
    before = _count_cancellations()
    try:
        yield
    except PoolTimeout as exc:
        raise LedgerError("the database of DATABASE_URL does not answer", next_action=_SEE_TO_IT) from exc
    except psycopg.errors.LockNotAvailable as exc:  # a subclass of the next one: here the database is well
        raise busy() from exc
    except psycopg.OperationalError as exc:
        why = next((words for part, words in _CAUSES.items() if part in str(exc)), type(exc).__name__)
        raise LedgerError(f"the database of DATABASE_URL cannot be used ({why})", next_action=_SEE_TO_IT) from exc
    except psycopg.Error as exc:
        raise LedgerError(f"the database refused a statement ({type(exc).__name__} {exc.sqlstate or ''})") from exc
    if _count_cancellations() > before:
        raise asyncio.CancelledError


def _count_cancellations() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()
