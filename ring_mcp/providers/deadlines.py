"""A deadline for an answer that was paid for, which a process may sleep through."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

LATE_S = 5.0
"""A deadline that strikes so much later than it should: the process was stopped meanwhile."""

GRACE_S = 10.0
"""How long it may then still read what has come meanwhile."""


@contextlib.asynccontextmanager
async def limit(seconds: float) -> AsyncIterator[None]:
    """As ``asyncio.timeout``, but for a process that was stopped past the deadline: the answer may lie in its socket,
    and would be thrown away in the moment in which it goes on."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    timer: asyncio.TimerHandle

    def strike() -> None:
        nonlocal timer
        if loop.time() - until < LATE_S:
            timeout.reschedule(loop.time())
        else:
            timer = loop.call_later(GRACE_S, lambda: timeout.reschedule(loop.time()))

    async with asyncio.timeout(None) as timeout:
        timer = loop.call_at(until, strike)
        try:
            yield
        finally:
            timer.cancel()
