"""Which jobs wait in line here, said in the ledger now and then; who takes one over knows that it was not forgotten.

Without that, a restart in front of a long line would end what has waited in it for more than ten minutes.
"""

from __future__ import annotations

import contextlib

from ring_mcp.clock import Clock
from ring_mcp.errors import LedgerError
from ring_mcp.ledger.base import Ledger

MARK_EVERY_S = 120.0
"""Small beside the age at which a plan is not started any more: what is left of that is for a process that is away."""


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
        """To be called often; what waits is marked every two minutes, and what is new in line at once: a process that
        dies young has done its part, too."""
        now_s = self._clock.monotonic()
        if now_s >= self._mark_at_s:
            self._new |= self._waiting
            self._mark_at_s = now_s + MARK_EVERY_S
        if not self._new:
            return
        with contextlib.suppress(LedgerError):  # the next time they are told as well
            await self._ledger.mark_in_line(told := sorted(self._new))
            self._new.difference_update(told)
