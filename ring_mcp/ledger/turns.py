"""Turns of transactions in this process: those that wait for a lock of the database must not fill the pool."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from ring_mcp.ledger.postgres_session import busy

_AT_ONCE = 2
"""How many transactions that take the same lock go to the database: one that has it, and one that waits for it."""


class Turns:
    """``wait_s``: how long a transaction waits, here and in the database together. ``at_once``: how many transactions
    with locks have a connection; the other connections are for those without."""

    def __init__(self, wait_s: float, *, at_once: int) -> None:
        self._wait_s = wait_s
        self._all = asyncio.Semaphore(at_once)
        self._of: dict[int, tuple[asyncio.Semaphore, int]] = {}

    @contextlib.asynccontextmanager
    async def take(self, locks: Sequence[int]) -> AsyncIterator[float]:
        """Wait for a turn; yields the seconds that are left for the locks in the database. ``locks``: in the order in
        which they are taken there. Raises LedgerError."""
        if not locks:
            yield self._wait_s
            return
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._wait_s
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout_at(give_up_at):
                    for lock in locks:
                        await stack.enter_async_context(self._take(lock))
                    # The connection last: a transaction that waits for a lock must not keep one from others.
                    await stack.enter_async_context(self._all)
            except TimeoutError:
                raise busy() from None
            yield give_up_at - loop.time()

    @contextlib.asynccontextmanager
    async def _take(self, lock: int) -> AsyncIterator[None]:
        """Hold the semaphore of a lock, which exists for as long as anything waits for it."""
        semaphore, wanted = self._of.get(lock, (asyncio.Semaphore(_AT_ONCE), 0))
        self._of[lock] = (semaphore, wanted + 1)
        try:
            async with semaphore:
                yield
        finally:
            semaphore, wanted = self._of[lock]
            # Kept for every request ever made, they would fill the memory of a server in time.
            if wanted == 1:
                del self._of[lock]
            else:
                self._of[lock] = (semaphore, wanted - 1)
