"""The mark that a caller has been given the outcome of a job: from then on an identical request is a new one.

It is written beside the answer, which does not wait for it. A call that arrives after the answer never joins the job:
whoever opens a job waits for the marks of the same request first. Where the process dies before the mark is on the
disk, an identical call gets the same result once more and pays nothing; the other way round, a mark that is written
before its answer has left, it would pay for what nobody has seen.

Where other machines open jobs as well (``beside=False``) the answer waits for its mark, since they know nothing of one
that is only about to be written. Of several processes on one SQLite file, one that is asked within the millisecond that
the mark takes may join: that costs nothing.
"""

from __future__ import annotations

import asyncio
import logging

from ring_mcp.clock import Clock
from ring_mcp.domain import Job
from ring_mcp.errors import LedgerError
from ring_mcp.ledger.base import Ledger

logger = logging.getLogger(__name__)


class Delivery:
    """``beside``: whether marks are written beside the answers."""

    def __init__(self, ledger: Ledger, clock: Clock, *, beside: bool) -> None:
        self._ledger = ledger
        self._clock = clock
        self._beside = beside
        self._owed: dict[str, Job] = {}
        self._writing: dict[str, asyncio.Task[None]] = {}

    async def mark(self, job: Job) -> None:
        """The outcome of this job is about to be told. Raises LedgerError where the answer waits for the mark."""
        if not self._beside:
            await self._ledger.mark_delivered(job.id, self._clock.now())
        elif job.delivered_at is None:
            self._owed[job.id] = job
            if job.id not in self._writing:
                self._begin(job)

    async def settle(self, request_hash: str) -> None:
        """Return when no mark of this request is owed any more. Raises LedgerError if one cannot be written."""
        for job in [job for job in self._owed.values() if job.request_hash == request_hash]:
            await asyncio.wait({self._writing.get(job.id) or self._begin(job)})
            # Otherwise the ledger would join a job whose outcome was told: an old result in answer to a new wish.
            if job.id in self._owed:
                raise LedgerError(f"the ledger cannot be told that job {job.id} was delivered", billed="no")

    async def aclose(self) -> None:
        """Let marks be written that are under way."""
        await asyncio.gather(*self._writing.values())

    def _begin(self, job: Job) -> asyncio.Task[None]:
        self._writing[job.id] = writing = asyncio.create_task(self._write(job))
        return writing

    async def _write(self, job: Job) -> None:
        try:
            await self._ledger.mark_delivered(job.id, self._clock.now())
        except LedgerError as exc:
            logger.warning("job %s: that it was delivered could not be written: %s", job.id, exc.message)
        else:
            del self._owed[job.id]
        finally:
            del self._writing[job.id]
