"""Deadlines of paid requests, in a process that is stopped in between."""

from __future__ import annotations

import asyncio

import pytest

from ring_mcp.providers.deadlines import GRACE_S, LATE_S, limit
from tests.fake_clock import LIMIT_S, let_pass

DEADLINE_S = 30.0


async def wait(is_there: asyncio.Event) -> str:
    async with limit(DEADLINE_S):
        await is_there.wait()
    return "there"


async def begun(is_there: asyncio.Event) -> asyncio.Task[str]:
    waiting = asyncio.create_task(wait(is_there))
    await asyncio.sleep(0)
    return waiting


async def is_pending(waiting: asyncio.Task[str]) -> bool:
    for _ in range(20):
        await asyncio.sleep(0)
    return not waiting.done()


async def test_a_deadline_strikes_when_its_time_has_come() -> None:
    waiting = await begun(asyncio.Event())
    let_pass(DEADLINE_S - 1)
    assert await is_pending(waiting)
    let_pass(1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(waiting, LIMIT_S)


async def test_what_came_while_the_process_was_stopped_is_taken() -> None:
    is_there = asyncio.Event()
    waiting = await begun(is_there)
    let_pass(DEADLINE_S + LATE_S)
    assert await is_pending(waiting)
    let_pass(GRACE_S - 1)
    assert await is_pending(waiting)
    is_there.set()
    assert await asyncio.wait_for(waiting, LIMIT_S) == "there"


async def test_a_process_that_was_stopped_waits_no_longer_than_its_grace() -> None:
    waiting = await begun(asyncio.Event())
    let_pass(DEADLINE_S + 3600)
    assert await is_pending(waiting)
    let_pass(GRACE_S)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(waiting, LIMIT_S)


async def test_a_cancellation_is_none_of_the_deadline() -> None:
    waiting = await begun(asyncio.Event())
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
