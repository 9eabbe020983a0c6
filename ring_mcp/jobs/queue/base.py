"""The queue contract: who carries an opened job on. One suite of tests runs over every queue.

A queue never decides what happens to a job: it calls ``JobRunner.run`` or ``drive``, any number of times, and the row
in the ledger says what is left to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from ring_mcp.domain import Job
from ring_mcp.jobs.preparing import find_awaited_still
from ring_mcp.jobs.runner import JobRunner
from ring_mcp.jobs.watch import JobWatch


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
