"""The queue contract: who carries an opened job on. One suite of tests runs over every queue.

A queue never decides what happens to a job: it calls ``JobRunner.run`` or ``drive``, any number of times, and the row
in the ledger says what is left to do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Protocol

from ring_mcp.domain import Job, JobState
from ring_mcp.jobs.preparing import find_awaited_still
from ring_mcp.jobs.record import JobRecord
from ring_mcp.jobs.runner import JobRunner
from ring_mcp.jobs.watch import JobWatch

logger = logging.getLogger(__name__)


class JobQueue(Protocol):
    name: str

    async def start(self, *, take_over: bool) -> None:
        """Begin to carry jobs on. Returns at once; a ledger that is down is retried.

        Without ``take_over``, only jobs that this process opens or is asked for are driven: a command that ends in a
        moment must not submit for others, since a request that is cut off has an unknown outcome.
        """

    async def aclose(self) -> None:
        """Stop. Paid requests in progress get the drain time to be answered; the next process carries the jobs on."""

    def enqueue(self, job: Job) -> None:
        """Carry on a job that was opened by this process, in the background."""

    async def adopt(self, job: Job) -> None:
        """Have a job driven that was parked or whose process has died; and the still for which a clip waits.

        Raises LedgerError. A caller that is cancelled meanwhile leaves no job without a driver.
        """


async def find_undriven(
    job: Job, drivers: Mapping[str, asyncio.Task[Job]], runner: JobRunner, watch: JobWatch
) -> AsyncIterator[str]:
    """The ids, of a job and of the still that it waits for, of those that have no driver in ``drivers``.

    A driver that rests is woken.
    """
    # The still first: without it the clip goes nowhere.
    for job_id in (find_awaited_still(job), job.id):
        if job_id is None:
            continue
        driving = drivers.get(job_id)
        if driving is not None and not (driving.done() or runner.has_let_go(job_id)):
            watch.wake(job_id)
            continue
        if driving is not None:
            await asyncio.wait({driving})
        yield job_id


def let_go(record: JobRecord, drivers: Mapping[str, asyncio.Task[Job]]) -> None:
    """End the driving of a job that another process has by now; not while the answer to its request may still come,
    which wins over "unknown"."""
    job = record.job
    if job.is_settled or job.id not in drivers or (job.state is JobState.SUBMITTING and not record.is_orphan):
        return
    logger.warning("job %s: another process has it now", job.id)
    drivers[job.id].cancel()


async def end_drivers(drivers: Mapping[str, asyncio.Task[Job]], submitting: Collection[str], drain_s: float) -> None:
    """Cancel all drivers and wait for their end. Those of jobs in ``submitting`` have ``drain_s`` to get the answers to
    their paid requests; the others go first, or a request that they begin meanwhile would be cut off."""
    tasks = list(drivers.values())
    waited = {drivers[job_id] for job_id in submitting}
    for driving in tasks:
        if driving not in waited:
            driving.cancel()
    if waited:
        await asyncio.wait(waited, timeout=drain_s)
    for driving in tasks:
        driving.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
