"""Work that is done to its end, whoever leaves meanwhile."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from ring_mcp.errors import LedgerError
from ring_mcp.jobs.completion import complete


class Work:
    """Done when ``gate`` is opened."""

    def __init__(self, error: Exception | None = None) -> None:
        self.gate = asyncio.Event()
        self.is_done = False
        self._error = error

    async def __call__(self) -> str:
        await self.gate.wait()
        self.is_done = True
        if self._error is not None:
            raise self._error
        return "done"


async def leave(caller: asyncio.Task[str]) -> None:
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.sleep(0)


async def test_the_answer_of_the_work_is_the_callers() -> None:
    work = Work()
    work.gate.set()
    assert await complete(work()) == "done"


async def test_an_error_of_the_work_is_the_callers() -> None:
    work = Work(LedgerError("away"))
    work.gate.set()
    with pytest.raises(LedgerError, match="away"):
        await complete(work())


@pytest.mark.parametrize("error", [None, LedgerError("away")])
async def test_a_caller_that_leaves_hears_of_it_when_the_work_is_done(error: Exception | None) -> None:
    work = Work(error)
    caller = asyncio.create_task(complete(work()))
    await leave(caller)
    assert not caller.done()
    work.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert work.is_done


async def test_a_caller_that_leaves_twice_does_not_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work = Work(LedgerError("away"))
    caller = asyncio.create_task(complete(work()))
    await leave(caller)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert not work.is_done
    with caplog.at_level(logging.ERROR):
        work.gate.set()
        for _ in range(3):
            await asyncio.sleep(0)
        assert work.is_done
        gc.collect()
    assert caplog.text == ""
