"""Work that goes on to its end when its caller is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def complete(work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is never cut short: a cancelled caller gets its CancelledError when it is done.

    A caller that is cancelled twice does not wait; the work goes on by itself.
    """
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # an error is the caller's, or nobody's
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # ``wait``, and not ``await task``: a second cancellation would reach the work.
        await asyncio.wait({task})
        raise
