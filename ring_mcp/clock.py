"""Time as a dependency, so that tests never wait for it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol


def to_iso(at: datetime) -> str:
    """A time as JSON has it everywhere here: UTC, with milliseconds and a Z."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Clock(Protocol):
    """What the product needs of time. ``sleep`` takes seconds; ``now`` is aware and UTC."""

    def now(self) -> datetime: ...

    # For spans of time: the wall clock may be set while something is waited for.
    def monotonic(self) -> float: ...

    async def sleep(self, delay_s: float) -> None: ...


def _find_counter() -> Callable[[], float]:
    """What counts seconds and is never set. While the machine sleeps it goes on, where the system can tell: what was
    planned before a laptop was closed for an hour is an hour old."""
    # Linux and macOS have one that does, each under a name that on the other stands for one that does not.
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"):
        with contextlib.suppress(AttributeError, OSError):
            number: int = getattr(time, name)
            time.clock_gettime(number)
            return lambda: time.clock_gettime(number)
    return time.monotonic


_count_s = _find_counter()


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return _count_s()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
