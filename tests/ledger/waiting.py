"""Waiting for what a database does: looked at, never slept for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tests.ledger_databases import LedgerDatabase

T = TypeVar("T")

LIMIT_S = 60.0


async def until(look: Callable[[], Awaitable[T | None]], limit_s: float = LIMIT_S) -> T:
    """What ``look`` answers, as soon as it is anything."""

    async def looking() -> T:
        while not (seen := await look()):
            pass
        return seen

    return await asyncio.wait_for(looking(), limit_s)


async def until_somebody_waits_for_a_lock(database: LedgerDatabase) -> None:
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    await until(lambda: asyncio.to_thread(database.query, waiting))
