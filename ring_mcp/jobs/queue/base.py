"""The queue contract: who carries an opened job on. One suite of tests runs over every queue.

A queue never decides what happens to a job: it calls ``JobRunner.run`` or ``drive``, any number of times, and the row
in the ledger says what is left to do.
"""

from __future__ import annotations

from typing import Protocol

from ring_mcp.domain import Job


class JobQueue(Protocol):
    name: str

    async def start(self, *, take_over: bool) -> None:
        """Begin to carry jobs on. Returns at once; a ledger that is down is tried again.

        Without ``take_over`` only what this process is asked for is driven: a command that ends in a moment must not
        begin to submit for others, since a request that is cut off has an unknown outcome.
        """

    async def aclose(self) -> None:
        """Stop. Paid requests under way get the drain time to be answered; jobs go on with the next process."""

    def enqueue(self, job: Job) -> None:
        """Carry on a job that was opened by this process, in the background."""

    async def adopt(self, job: Job) -> None:
        """See that somebody alive carries a job on: it was parked, or its process has died. So is the still for which
        a clip waits. Raises LedgerError; a caller that is cancelled meanwhile leaves no job without a driver."""
