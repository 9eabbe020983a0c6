"""Connections to PostgreSQL for tasks and notifications, apart from those of the ledger.

Heartbeats must not wait behind callers, so the connections are not the ledger's. One of them only listens: it is opened
again whenever it is lost, and its listeners are then told that notifications may have been missed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from psycopg import AsyncRawCursor, sql
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from ring_mcp.errors import LedgerError
from ring_mcp.ledger.postgres_session import (
    CONNECT_TIMEOUT_S,
    CONNECTION,
    begin,
    drive,
    open_connection,
    translate_errors,
)
from ring_mcp.ledger.statements import Transaction

if TYPE_CHECKING:
    from psycopg import AsyncConnection

T = TypeVar("T")

logger = logging.getLogger(__name__)

Heard = Callable[[str], None]
"""Called with the payload of a notification."""

_LOCK_TIMEOUT_S = 5.0
_RECONNECT_S = 1.0
_MAX_SESSIONS = 3  # beside the one that listens
_ALIVE: dict[str, Any] = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}
"""A server that has vanished silently is noticed within half a minute."""


class PostgresChannel:
    """``listen_dsn``: where to listen, since a pooler in transaction mode passes no notifications on; None: ``dsn``.
    ``name``: the listening session's application name."""

    def __init__(self, dsn: str, listen_dsn: str | None = None, *, name: str | None = None) -> None:
        self._listen_dsn = listen_dsn or dsn
        self._name = name
        self._pool: AsyncConnectionPool[AsyncConnection[dict[str, Any]]] = AsyncConnectionPool(
            dsn,
            min_size=0,
            max_size=_MAX_SESSIONS,
            timeout=CONNECT_TIMEOUT_S,
            reconnect_timeout=5.0,
            kwargs={**CONNECTION, **_ALIVE},
            check=AsyncConnectionPool.check_connection,
            open=False,
        )
        self._heard: dict[str, list[Heard]] = {}
        self._after_a_gap: list[Callable[[], None]] = []
        self._listening: asyncio.Task[None] | None = None
        self.is_listening = False

    def on(self, channel: str, heard: Heard) -> None:
        """Call ``heard`` for every notification of a channel. To be called before ``start``."""
        self._heard.setdefault(channel, []).append(heard)

    def after_a_gap(self, do: Callable[[], None]) -> None:
        """Call ``do`` whenever notifications may have been missed."""
        self._after_a_gap.append(do)

    async def start(self) -> None:
        """Begin to listen, in the background. A database that is away is retried."""
        await self._pool.open()
        self._listening = asyncio.create_task(self._listen())

    async def aclose(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await self._pool.close()

    async def fetch(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        """The rows of one statement, whose parameters are written ``$1``. Raises LedgerError."""
        with translate_errors():
            async with self._pool.connection() as connection:
                cursor = AsyncRawCursor(connection, row_factory=dict_row)
                await cursor.execute(query.encode(), arguments or None)
                return await cursor.fetchall() if cursor.description else []

    async def run(self, transaction: Transaction[T], *, alone_as: int | None = None) -> T | None:
        """Run one of the ledger's transactions. Raises LedgerError.

        ``alone_as``: an advisory lock; if another process has it, nothing is done and None is returned.
        """
        with translate_errors():
            async with self._pool.connection() as connection:
                await begin(connection, _LOCK_TIMEOUT_S)
                if alone_as is not None:
                    cursor = await connection.execute("SELECT pg_try_advisory_xact_lock(%s) AS is_ours", (alone_as,))
                    row = await cursor.fetchone()
                    # Not waited for: the process that has the lock does the work for all.
                    if row is None or not row["is_ours"]:
                        return None
                return await drive(connection, transaction)

    async def tell(self, channel: str, payload: str = "") -> None:
        """Send a notification. Raises LedgerError."""
        await self.fetch("SELECT pg_notify($1, $2)", channel, payload)

    async def _listen(self) -> None:
        told = ""
        while True:
            try:
                async with open_connection(self._listen_dsn, self._name) as connection:
                    for channel in self._heard:
                        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                    # After LISTEN, never before: earlier changes are read now, later ones are notified.
                    self.is_listening, told = True, ""
                    for do in self._after_a_gap:
                        do()
                    async for notification in connection.notifies():
                        for heard in self._heard.get(notification.channel, ()):
                            heard(notification.payload)
            except LedgerError as exc:
                # Once for each reason: a database may be away for a night.
                if exc.message != told:
                    logger.warning("nothing is heard from the database: %s", exc.message)
                told = exc.message
            finally:
                self.is_listening = False
            await asyncio.sleep(_RECONNECT_S)
