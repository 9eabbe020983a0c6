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
        self._mark_at_s = clock.monotonic()

    def add(self, job_id: str) -> None:
        self._waiting.add(job_id)

    def discard(self, job_id: str) -> None:
        self._waiting.discard(job_id)

    async def write(self) -> None:
        """To be called often; what waits is marked every two minutes, and at once the first time: a process that dies
        young has done its part, too."""
        now_s = self._clock.monotonic()
        if not self._waiting or now_s < self._mark_at_s:
            return
        self._mark_at_s = now_s + MARK_EVERY_S
        with contextlib.suppress(LedgerError):  # the next mark says the same
            await self._ledger.mark_in_line(sorted(self._waiting))
