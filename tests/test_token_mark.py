"""The mark of the token that a call came by goes along into the tasks of the call, and into no other call."""

from __future__ import annotations

import asyncio

from ring_mcp.token_mark import current_token_mark, mark_token
from tests.fake_clock import START


async def test_a_mark_is_that_of_its_call_and_of_its_tasks() -> None:
    async def read() -> object:
        return current_token_mark()

    async def call() -> object:
        mark_token(START)
        return await asyncio.create_task(read())

    assert await asyncio.create_task(call()) == START
    assert await read() is None
