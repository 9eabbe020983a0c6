"""The mark that a caller has been given the outcome of a job: from then on an identical request is a new one.

It is written while the answer goes out, which does not wait for it. A call that arrives after the answer still never
joins the job: opening a job waits for the marks of the same request first. If the process dies before the mark is on
the disk, an identical call gets the same result once more and pays nothing. The other order would be worse: with the
mark written and the answer lost, the identical call would pay for a result that nobody has seen.

Where other machines open jobs as well (``beside=False``), the answer waits for its mark, since they cannot know of one
that is about to be written. With several processes on one SQLite file, a call to another process within the millisecond
that the mark takes may join the job, which costs nothing.
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
    """``beside``: whether marks are written while the answers go out; otherwise before them."""

    def __init__(self, ledger: Ledger, clock: Clock, *, beside: bool) -> None:
        self._ledger = ledger
        self._clock = clock
        self._beside = beside
        self._owed: dict[str, Job] = {}
        self._writing: dict[str, asyncio.Task[None]] = {}

    async def mark(self, job: Job) -> None:
        """Mark the job, whose outcome is about to be told. Raises LedgerError if the answer waits for the mark."""
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
            # Otherwise the ledger would join a job whose outcome was told: an old result for a new request.
            if job.id in self._owed:
                raise LedgerError(f"the ledger cannot be told that job {job.id} was delivered", billed="no")

    async def aclose(self) -> None:
        """Wait for the marks that are being written."""
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
