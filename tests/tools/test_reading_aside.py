"""Long reading leaves the event loop, short reading stays, and nothing is measured beyond what it has to be."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from ring_mcp.errors import InvalidRequest
from ring_mcp.tools.reading_aside import LARGE_CHARS, is_large, read_aside

LIMIT_S = 60.0
nested: list[Any] = []
for _ in range(100_000):
    nested = [nested]


@pytest.mark.parametrize(
    "value",
    [
        {"prompt": "x" * (LARGE_CHARS + 1)},
        {"a": {"b": ["x" * LARGE_CHARS, "y"]}},
        {"x" * LARGE_CHARS: 1},
        {f"k{number}": 1 for number in range(3_000)},
        {"clips": [{}] * 3_000},
        {"clips": [{"a": [1, 2, 3]} for _ in range(1_000)]},
        {"deep": nested},
    ],
)
def test_much_is_large_however_it_is_put(value: Any) -> None:
    assert is_large(value)


@pytest.mark.parametrize(
    "value", [None, {}, {"prompt": "a boat" * 100}, {"clips": [{"id": str(n)} for n in range(50)]}]
)
def test_a_usual_call_is_not_large(value: Any) -> None:
    assert not is_large(value)


async def test_the_loop_goes_on_while_something_large_is_read() -> None:
    seen = threading.Event()
    asyncio.get_running_loop().call_later(0, seen.set)
    assert await read_aside(lambda: seen.wait(LIMIT_S), is_large=True)


async def test_what_is_small_is_read_at_once_in_place() -> None:
    assert await read_aside(threading.current_thread, is_large=False) is threading.current_thread()


async def test_a_refusal_comes_back_from_there() -> None:
    def refuse() -> None:
        raise InvalidRequest("no")

    with pytest.raises(InvalidRequest, match="no"):
        await read_aside(refuse, is_large=True)


async def test_large_readings_come_one_after_the_other() -> None:
    at_work, most = 0, 0

    def read() -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        at_work -= 1

    await asyncio.gather(*(read_aside(read, is_large=True) for _ in range(200)))
    assert most == 1
