"""Which jobs wait in line in this process, marked in the ledger now and then for whoever takes them over.

Without the marks, a restart would end every job that has waited in a long line for more than ten minutes, as too old.
"""

from __future__ import annotations

import contextlib

from ring_mcp.clock import Clock
from ring_mcp.errors import LedgerError
from ring_mcp.ledger.base import Ledger

MARK_EVERY_S = 120.0
"""Much less than the age at which a plan is no longer started: the rest of it is the time that a restart may take."""


class LineMarks:
    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._waiting: set[str] = set()
        self._new: set[str] = set()
        self._mark_at_s = clock.monotonic()

    def add(self, job_id: str) -> None:
        if job_id not in self._waiting:
            self._waiting.add(job_id)
            self._new.add(job_id)

    def discard(self, job_id: str) -> None:
        self._waiting.discard(job_id)
        self._new.discard(job_id)

    async def write(self) -> None:
        """Mark all that waits every two minutes, and what is new in line at once. To be called every few seconds."""
        now_s = self._clock.monotonic()
        if now_s >= self._mark_at_s:
            self._new |= self._waiting
            self._mark_at_s = now_s + MARK_EVERY_S
        if not self._new:
            return
        with contextlib.suppress(LedgerError):  # they stay in ``_new`` for the next call
            await self._ledger.mark_in_line(told := sorted(self._new))
            self._new.difference_update(told)
