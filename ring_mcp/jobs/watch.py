"""Waiting for a job: changes by this process are told at once; for changes by others the ledger is polled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator

from ring_mcp.clock import Clock
from ring_mcp.domain import Job
from ring_mcp.ledger.base import Ledger

OnProgress = Callable[[Job], Awaitable[None]]

PROGRESS_INTERVAL_S = 5.0
LEAST_PAUSE_S = 5.0
"""The provider is not polled more often than that, however often callers ask for a job."""

LOOK_AT_OTHERS_S = 0.5
"""How often the ledger is polled for a job that another process drives, if changes are not announced."""

TAKE_UP_S = 8.0
"""How long to wait for a process to take up a parked job that a caller asks for: longer than any process of a fleet
takes between two polls for tasks."""


class JobWatch:
    """``hold`` a job while this process drives it, ``tell`` each change, ``release`` it at the end.

    ``hears``: whether changes by other processes are announced at present (``hear``).
    """

    def __init__(self, ledger: Ledger, clock: Clock, hears: Callable[[], bool] = lambda: False) -> None:
        self._ledger = ledger
        self._hears = hears
        self._clock = clock
        self._held: dict[str, Job] = {}
        self._listeners: dict[str, set[_Change]] = {}
        self._behind: set[str] = set()
        self._asleep: dict[str, asyncio.Future[None]] = {}
        self._closing = False

    def hold(self, job: Job) -> None:
        self._held[job.id] = job

    def tell(self, job: Job, is_behind: bool = False) -> None:
        """Tell waiting callers of a change. ``is_behind``: the ledger does not have it yet."""
        if job.id in self._held:
            self._held[job.id] = job
        if is_behind:
            self._behind.add(job.id)
        else:
            self._behind.discard(job.id)
        self._wake(job.id)

    def hear(self, job_id: str) -> None:
        """Another process has changed a job: those who wait for it read it."""
        self._wake(job_id)

    def hear_all(self) -> None:
        """Announcements may have been missed: all who wait read their jobs."""
        for job_id in self._listeners:
            self._wake(job_id)

    def is_behind(self, job_id: str) -> bool:
        """Whether this process knows more of the job than the ledger does."""
        return job_id in self._behind

    def release(self, job_id: str) -> None:
        self._held.pop(job_id, None)
        self._behind.discard(job_id)
        self._wake(job_id)

    async def read(self, job_id: str) -> Job | None:
        """The newest state of a job: from memory if this process drives it, otherwise from the ledger."""
        return self._held.get(job_id) or await self._ledger.get(job_id)

    async def wait(
        self, job_id: str, wait_s: float, on_progress: OnProgress | None = None, *, asked: Job | None = None
    ) -> Job | None:
        """Wait until the job is settled or parked, at most ``wait_s`` seconds; returns the job as it is then.

        ``on_progress`` is called for every change, and every PROGRESS_INTERVAL_S if nothing changes.
        ``asked``: the job as it was when a queue was asked to adopt it. If it was parked, another process has TAKE_UP_S
        to take it up before it is returned as parked. Raises LedgerError.
        """
        until = self._clock.monotonic() + wait_s
        taken_up_by = self._clock.monotonic() + TAKE_UP_S
        with self._subscribe(job_id) as changed:
            while True:
                # Before the read and not after it: a change in between would be missed.
                changed.clear()
                job = await self.read(job_id)
                if job is None or job.is_settled or job.is_stuck(self._clock.now()):
                    return job
                left_s = until - self._clock.monotonic()
                if job.is_parked:
                    if asked is None or job.version != asked.version:
                        return job
                    left_s = min(left_s, taken_up_by - self._clock.monotonic())
                if left_s <= 0 or self._closing:
                    return job
                if on_progress is not None:
                    await on_progress(job)
                look_s = PROGRESS_INTERVAL_S if self._is_told(job_id) else LOOK_AT_OTHERS_S
                await self._happens(changed, min(left_s, look_s))

    async def pause(self, job_id: str, delay_s: float, until: str | None) -> None:
        """Let ``delay_s`` seconds pass for a job; less if the job ``until`` changes and that is announced, or, after
        LEAST_PAUSE_S, if a caller asks for the job (``wake``). Where changes are announced it may be more."""
        if until is not None:
            with self._subscribe(until) as changed:
                await self._happens(changed, PROGRESS_INTERVAL_S if self._is_told(until) else delay_s)
            return
        woken = self._asleep[job_id] = asyncio.get_running_loop().create_future()
        try:
            await self._clock.sleep(min(delay_s, LEAST_PAUSE_S))
            if delay_s > LEAST_PAUSE_S:
                sleeping = asyncio.ensure_future(self._clock.sleep(delay_s - LEAST_PAUSE_S))
                sleeping.add_done_callback(lambda _: _end_wait(woken))
                try:
                    await woken
                finally:
                    sleeping.cancel()
        finally:
            del self._asleep[job_id]

    def wake(self, job_id: str) -> None:
        """End the long pause of a job that a caller asks for."""
        if (woken := self._asleep.get(job_id)) is not None:
            _end_wait(woken)

    def is_awaited(self, job_id: str) -> bool:
        """Whether a caller waits for this job here."""
        return job_id in self._listeners

    def close(self) -> None:
        """The server is about to stop: all waits return at once, also later ones."""
        self._closing = True
        for job_id in self._listeners:
            self._wake(job_id)

    @contextlib.contextmanager
    def _subscribe(self, job_id: str) -> Iterator[_Change]:
        changed = _Change()
        self._listeners.setdefault(job_id, set()).add(changed)
        try:
            yield changed
        finally:
            listeners = self._listeners[job_id]
            listeners.discard(changed)
            if not listeners:
                del self._listeners[job_id]

    def _is_told(self, job_id: str) -> bool:
        """Whether changes of a job are told here. Who waits for one looks now and then all the same: a word may be lost
        with the connection that it comes over."""
        return job_id in self._held or self._hears()

    def _wake(self, job_id: str) -> None:
        for changed in self._listeners.get(job_id, ()):
            changed.set()

    async def _happens(self, changed: _Change, timeout_s: float) -> None:
        waiting = changed.await_next()
        if waiting.done():
            return
        sleeping = asyncio.ensure_future(self._clock.sleep(timeout_s))
        sleeping.add_done_callback(lambda _: _end_wait(waiting))
        try:
            await waiting
        finally:
            sleeping.cancel()


class _Change:
    """An event for one who waits, whom it takes no task: a caller waits for each change of its job."""

    def __init__(self) -> None:
        self._has_come = False
        self._waiting: asyncio.Future[None] | None = None

    def set(self) -> None:
        self._has_come = True
        if self._waiting is not None:
            _end_wait(self._waiting)

    def clear(self) -> None:
        self._has_come = False

    def await_next(self) -> asyncio.Future[None]:
        """Done when it has come since ``clear``, or comes."""
        self._waiting = asyncio.get_running_loop().create_future()
        if self._has_come:
            _end_wait(self._waiting)
        return self._waiting


def _end_wait(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
