"""Reads large arguments in a thread, one at a time, so that the event loop serves others meanwhile."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

LARGE_CHARS = 64 * 1024
"""What takes a few milliseconds; a thread costs a fraction of one."""

_VALUE_CHARS = 32
"""A value counts as so much text, however short it is."""

T = TypeVar("T")


async def read_aside(read: Callable[[], T], *, is_large: bool) -> T:
    """What ``read`` returns or raises. Large reading has one thread: behind more, the loop would wait for the GIL."""
    if not is_large:
        return read()
    return await asyncio.get_running_loop().run_in_executor(_reader(), read)


@functools.cache
def _reader() -> ThreadPoolExecutor:
    # Made when first needed: most processes never read anything large.
    return ThreadPoolExecutor(1, thread_name_prefix="ring-reader")


def is_large(value: Any) -> bool:
    """Whether a JSON value is so large that reading it takes a while. Stops counting as soon as that is known."""
    # A stack of its own: nested as deep as it comes, recursion would end before the bounds are reached.
    left, waiting = LARGE_CHARS, [value]
    while waiting:
        each = waiting.pop()
        left -= _VALUE_CHARS
        if isinstance(each, str):
            left -= len(each)
        elif isinstance(each, list | tuple | dict):
            # Before its items are even listed: a million of them would take as long as the reading.
            if len(each) * _VALUE_CHARS > left:
                return True
            waiting += [*each.keys(), *each.values()] if isinstance(each, dict) else each
        if left < 0:
            return True
    return False
