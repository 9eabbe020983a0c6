"""Who waits for whom in one process, and that nobody waits for long."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from ring_mcp.errors import LedgerError
from ring_mcp.ledger.turns import Turns

LIMIT_S = 60.0


async def test_two_at_a_time_take_a_lock_and_others_do_not_wait() -> None:
    turns = Turns(LIMIT_S, at_once=4)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(turns.take([7]))
        third = asyncio.create_task(stack.enter_async_context(turns.take([7])))
        await asyncio.sleep(0)
        async with turns.take([8]), turns.take([]) as left_s:
            assert left_s == LIMIT_S
        assert not third.done()
        await stack.pop_all().aclose()
        assert 0 < await asyncio.wait_for(third, LIMIT_S) <= LIMIT_S
    assert turns._of == {}, "of locks that nobody wants nothing is kept"


async def test_of_all_locks_together_no_more_are_taken_than_connections_allow() -> None:
    turns = Turns(0.05, at_once=2)
    async with turns.take([1]), turns.take([2]):
        with pytest.raises(LedgerError, match="is busy"):
            async with turns.take([3]):
                pass
        async with turns.take([]):
            pass
    async with turns.take([3]):
        pass


async def test_who_gives_up_or_is_cancelled_gives_its_turn_back() -> None:
    turns = Turns(0.05, at_once=4)
    async with turns.take([1]), turns.take([1]):
        with pytest.raises(LedgerError, match="is busy"):
            async with turns.take([0, 1]):
                pass
        waiting = asyncio.create_task(turns.take([0, 1]).__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert turns._of == {}
