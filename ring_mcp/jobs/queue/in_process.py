"""Jobs are carried on in this process, one task each; what dead processes left behind is taken over."""

from __future__ import annotations

import asyncio
import logging

from ring_mcp.clock import Clock
from ring_mcp.domain import DRIVEN, Job, JobState
from ring_mcp.errors import LedgerError
from ring_mcp.jobs.record import JobRecord
from ring_mcp.jobs.runner import JobRunner
from ring_mcp.jobs.watch import JobWatch
from ring_mcp.ledger.base import Ledger

logger = logging.getLogger(__name__)

SWEEP_INTERVAL_S = 2.0
HEARTBEAT_INTERVAL_S = 15.0
_TAKE_OVER_AT_ONCE = 1000


class InProcessQueue:
    """See ``jobs.queue.base.JobQueue``. ``drain_s``: how long paid requests under way may still be answered."""

    name = "in_process"

    def __init__(self, ledger: Ledger, runner: JobRunner, watch: JobWatch, clock: Clock, *, drain_s: float) -> None:
        self._ledger = ledger
        self._runner = runner
        self._watch = watch
        self._clock = clock
        self._drain_s = drain_s
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._upkeep: list[asyncio.Task[None]] = []

    async def start(self, *, take_over: bool) -> None:
        looking = self._sweep() if take_over else self._runner.catch_up()
        self._upkeep = [asyncio.create_task(looking), asyncio.create_task(self._beat())]

    async def aclose(self) -> None:
        for task in self._upkeep:
            task.cancel()
        tasks = [*self._upkeep, *self._tasks.values()]
        submitting = [self._tasks[record.job.id] for record in self._runner.records if self._is_worth_waiting(record)]
        if submitting:
            await asyncio.wait(submitting, timeout=self._drain_s)
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_worth_waiting(self, record: JobRecord) -> bool:
        """A paid request whose answer would be lost with this process."""
        is_sent = record.job.state is JobState.SUBMITTING and not record.is_orphan and not record.is_carried
        return is_sent and record.job.id in self._tasks

    def enqueue(self, job: Job) -> None:
        self._drive(job, asked=False)

    def _drive(self, job: Job, *, asked: bool) -> None:
        if job.id in self._tasks or job.is_settled:
            return
        task = asyncio.create_task(self._runner.drive(job, asked=asked), name=f"job {job.id}")
        self._tasks[job.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(job.id, None))

    async def adopt(self, job: Job) -> None:
        if job.id in self._tasks:
            self._watch.wake(job.id)
        elif (taken := await self._runner.take(job.id)) is not None:
            self._drive(taken, asked=True)

    async def _sweep(self) -> None:
        """Take over jobs of dead processes: all of them at the start, also parked ones, then those that are due."""
        parked, told = True, ""
        while True:
            try:
                await self._runner.catch_up()
                for job in await self._ledger.claim(_TAKE_OVER_AT_ONCE, parked=parked):
                    self.enqueue(job)
                parked, told = False, ""
            except LedgerError as exc:
                if exc.message != told:
                    logger.warning("open jobs cannot be looked for: %s", exc.message)
                told = exc.message
            await self._clock.sleep(SWEEP_INTERVAL_S)

    async def _beat(self) -> None:
        """Show that this process lives, and let go of jobs that others have taken."""
        while True:
            await self._clock.sleep(HEARTBEAT_INTERVAL_S)
            driven = {
                record.job.id: record
                for record in self._runner.records
                if record.job.state in DRIVEN and not record.is_behind
            }
            try:
                kept = await self._ledger.heartbeat(driven)
            except LedgerError as exc:
                logger.warning("the ledger does not answer: %s", exc.message)
                continue
            for job_id, record in driven.items():
                if job_id in kept or record.job.is_settled or job_id not in self._tasks:
                    continue
                if record.job.state is JobState.SUBMITTING and not record.is_orphan:
                    continue  # an answer that is on its way is still worth having: it wins over "unknown"
                logger.warning("job %s: another process has it now", job_id)
                self._tasks[job_id].cancel()
