"""Clocks for tests: one that stands still until it is moved, one that hurries, and the event loop's own, moved on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from ring_mcp.clock import SystemClock

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


LIMIT_S = 60.0
"""How long, in real time, anything may take that waits for nothing but this clock."""

T = TypeVar("T")


class FakeClock:
    """See ``ring_mcp.clock.Clock``. Whoever sleeps wakes when ``advance`` has brought its time.

    ``pauses_s``: what was asked of ``sleep``, in order.
    """

    def __init__(self, start: datetime = START) -> None:
        self._now = start
        self._monotonic_s = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self._somebody_sleeps = asyncio.Event()
        self.pauses_s: list[float] = []

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic_s

    async def sleep(self, delay_s: float) -> None:
        self.pauses_s.append(delay_s)
        if delay_s <= 0:
            await asyncio.sleep(0)
            return
        sleeper = (self._monotonic_s + delay_s, asyncio.get_running_loop().create_future())
        self._sleepers.append(sleeper)
        self._somebody_sleeps.set()
        try:
            await sleeper[1]
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)

    @property
    def next_wake_s(self) -> float | None:
        """How long until the first sleeper is due; None if nobody sleeps."""
        return min(due for due, _ in self._sleepers) - self._monotonic_s if self._sleepers else None

    @property
    def sleepers(self) -> int:
        """How many sleep just now."""
        return len(self._sleepers)

    async def asleep(self, timeout_s: float = 60.0) -> None:
        """Wait, in real time, until somebody sleeps."""
        while not self._sleepers:
            self._somebody_sleeps.clear()
            await asyncio.wait_for(self._somebody_sleeps.wait(), timeout_s)

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake those whose time has come, the earliest first."""
        self._now += timedelta(seconds=seconds)
        self._monotonic_s += seconds
        for due, future in sorted(self._sleepers, key=lambda sleeper: sleeper[0]):
            if due <= self._monotonic_s and not future.done():
                future.set_result(None)
        self._sleepers = [sleeper for sleeper in self._sleepers if not sleeper[1].done()]

    def set_by(self, seconds: float) -> None:
        """Somebody sets the clock, forwards or back: no time passes."""
        self._now += timedelta(seconds=seconds)

    def move_to(self, now: datetime) -> None:
        """Let time pass until ``now``."""
        self.advance((now - self._now).total_seconds())

    async def play(self, work: Coroutine[Any, Any, T], *, limit_s: float = LIMIT_S) -> T:
        """What ``work`` answers, with as much time passing as it sleeps for; ``limit_s`` is real time."""
        task = asyncio.ensure_future(work)
        try:
            async with asyncio.timeout(limit_s):
                while not task.done():
                    asleep = asyncio.ensure_future(self.asleep(limit_s))
                    await asyncio.wait({task, asleep}, return_when=asyncio.FIRST_COMPLETED)
                    asleep.cancel()
                    if not task.done() and self.next_wake_s is not None:
                        self.advance(self.next_wake_s)
                return await task
        finally:
            task.cancel()


class HurryingClock(SystemClock):
    """The machine's clock, run ``times`` as fast: whoever sleeps for seconds sleeps for a part of one."""

    def __init__(self, times: float = 20.0) -> None:
        self._times = times
        self._began_at = super().now()
        self._began_s = super().monotonic()

    def now(self) -> datetime:
        return self._began_at + timedelta(seconds=self.monotonic() - self._began_s)

    def monotonic(self) -> float:
        return self._began_s + (super().monotonic() - self._began_s) * self._times

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s / self._times)


def let_pass(seconds: float) -> None:
    """Move the running event loop's own clock: what has a deadline on it within so many seconds meets it now."""
    loop = asyncio.get_running_loop()
    before = loop.time
    loop.time = lambda: before() + seconds  # type: ignore[method-assign]
