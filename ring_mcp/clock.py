"""Time as a dependency, so that tests never wait for it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


def to_iso(at: datetime) -> str:
    """A time as JSON has it everywhere here: UTC, with milliseconds and a Z."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Clock(Protocol):
    """What the product needs of time. ``sleep`` takes seconds; ``now`` is aware and UTC."""

    def now(self) -> datetime: ...

    # For spans of time: the wall clock may be set back while something is waited for.
    def monotonic(self) -> float: ...

    async def sleep(self, delay_s: float) -> None: ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
