"""Work that a caller may leave but not break off."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def complete(work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` answers. A caller that is cancelled hears of it when the work is done, which is never cut short.

    Somebody who cancels twice does not wait; the work goes on by itself.
    """
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # an error is the caller's, or nobody's
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # Not awaited itself: whoever cancels once more would cut the work short.
        await asyncio.wait({task})
        raise
