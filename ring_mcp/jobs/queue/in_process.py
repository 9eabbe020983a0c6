"""The queue of a single machine: each job is a task in this process; jobs of dead processes are taken over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from ring_mcp.clock import Clock
from ring_mcp.domain import DRIVEN, Holder, Job, JobState
from ring_mcp.errors import JobMoved, LedgerError
from ring_mcp.jobs.accounts import Accounts
from ring_mcp.jobs.completion import complete
from ring_mcp.jobs.queue.base import end_drivers, find_undriven, let_go
from ring_mcp.jobs.record import JobRecord
from ring_mcp.jobs.runner import JobRunner
from ring_mcp.jobs.submitting import STALE_PLAN_S
from ring_mcp.jobs.watch import JobWatch
from ring_mcp.ledger.base import ClaimingLedger

logger = logging.getLogger(__name__)

SWEEP_INTERVAL_S = 2.0
HEARTBEAT_INTERVAL_S = 15.0
SET_BACK_S = 30.0
"""A clock that goes back by so much was set by somebody, and not only corrected."""

TAKE_OVER_AT_ONCE = 250
"""Few enough that nothing else waits for long while they are read."""


class InProcessQueue:
    """See ``jobs.queue.base.JobQueue``. ``drain_s``: how long ``aclose`` waits for answers to paid requests;
    ``at_once``: how many jobs are taken over in one transaction."""

    name = "in_process"

    def __init__(
        self,
        ledger: ClaimingLedger,
        runner: JobRunner,
        watch: JobWatch,
        accounts: Accounts,
        clock: Clock,
        *,
        drain_s: float,
        at_once: int = TAKE_OVER_AT_ONCE,
    ) -> None:
        self._ledger = ledger
        self._runner = runner
        self._watch = watch
        self._accounts = accounts
        self._clock = clock
        self._drain_s = drain_s
        self._at_once = at_once
        self._tasks: dict[str, asyncio.Task[Job]] = {}
        self._upkeep: list[asyncio.Task[None]] = []
        self._undriven_since_s: dict[str, float] = {}
        self._has_told_of_old_rows = False
        self._is_closing = False

    async def start(self, *, take_over: bool) -> None:
        looking = self._sweep() if take_over else self._runner.catch_up()
        self._upkeep = [asyncio.create_task(looking), asyncio.create_task(self._beat())]

    async def aclose(self) -> None:
        self._is_closing = True
        # First, so that nothing is taken over while paid requests are waited for.
        for task in self._upkeep:
            task.cancel()
        submitting = [record.job.id for record in self._runner.records if self._is_worth_waiting(record)]
        await end_drivers(self._tasks, submitting, self._drain_s)
        await asyncio.gather(*self._upkeep, return_exceptions=True)

    def _is_worth_waiting(self, record: JobRecord) -> bool:
        """Whether its paid request is in progress, and the answer would be lost with this process."""
        is_sent = record.job.state is JobState.SUBMITTING and not record.is_orphan and not record.is_carried
        return is_sent and record.job.id in self._tasks

    def enqueue(self, job: Job) -> None:
        self._drive(job, is_new=True)

    def _drive(self, job: Job, *, asked: bool = False, is_new: bool = False) -> None:
        if job.id in self._tasks or job.is_settled or self._is_closing:
            return
        task = asyncio.create_task(self._runner.drive(job, asked=asked, is_new=is_new), name=f"job {job.id}")
        self._tasks[job.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(job.id, None))

    async def adopt(self, job: Job) -> None:
        """Completed even if the caller is cancelled: a job that was taken and not driven would stand still."""
        await complete(self._adopt(job))

    async def _adopt(self, job: Job) -> None:
        async for job_id in find_undriven(job, self._tasks, self._runner, self._watch):
            if (taken := await self._runner.take(job_id)) is not None:
                self._drive(taken, asked=True)

    async def _sweep(self) -> None:
        """Take over jobs of dead processes: all of them at the start, parked ones included, then those that are due.

        All of them again when a provider has told the account of a key, since jobs of other keys of that account are
        ours then; and when the clock was set back, since jobs parked before that would be due much too late.
        """
        swept: Holder | None = None
        told = ""
        ahead_s = self._clock_ahead_s()
        while True:
            holder, now_ahead_s = self._accounts.holder, self._clock_ahead_s()
            ahead_s = max(ahead_s, now_ahead_s)
            was_set_back = ahead_s - now_ahead_s >= SET_BACK_S
            try:
                await self._runner.catch_up()
                await self._take_over(holder, parked=holder != swept or was_set_back)
                if swept is None:
                    await self._accounts.look_for_strangers()
                swept, told = holder, ""
                if was_set_back:
                    ahead_s = now_ahead_s
            except LedgerError as exc:
                if exc.message != told:
                    logger.warning("open jobs cannot be looked for: %s", exc.message)
                told = exc.message
            await self._clock.sleep(SWEEP_INTERVAL_S)

    def _clock_ahead_s(self) -> float:
        """Wall clock minus monotonic clock, in seconds: it changes when somebody sets the wall clock."""
        return self._clock.now().timestamp() - self._clock.monotonic()

    async def _take_over(self, holder: Holder, *, parked: bool) -> None:
        """Take all jobs that can be had, in batches, and drive them when all are taken: the first steps of thousands
        of jobs would hold up the other batches."""
        taken: list[Job] = []
        try:
            while claimed := await self._ledger.claim(holder, self._at_once, parked=parked):
                taken += claimed
                if len(claimed) < self._at_once:
                    break
        finally:
            self._tell_of_old_rows(taken)
            # Even if the ledger fails in between: what was taken is ours, and nobody else would drive it.
            for job in taken:
                self._drive(job)

    def _tell_of_old_rows(self, claimed: Sequence[Job]) -> None:
        old = [job for job in claimed if not job.account.is_recorded]
        if old and not self._has_told_of_old_rows:
            self._has_told_of_old_rows = True
            logger.warning(
                "%d open jobs from before accounts were recorded are carried on with this server's keys",
                len(old),
            )

    async def _beat(self) -> None:
        """Renew the leases of this process, let go of jobs that others have taken, drive own ones without a driver."""
        while True:
            await self._clock.sleep(HEARTBEAT_INTERVAL_S)
            # A record that is behind knows more than its row, so what the ledger says of that job does not count.
            driven = [record for record in self._runner.records if record.job.state in DRIVEN and not record.is_behind]
            try:
                owned = await self._ledger.heartbeat(self._accounts.holder)
                for record in driven:
                    if record.job.id not in owned:
                        await self._look_after(record)
                now_s, since_s = self._clock.monotonic(), self._undriven_since_s
                self._undriven_since_s = {each: since_s.get(each, now_s) for each in owned - self._tasks.keys()}
                for job_id in self._undriven_since_s:
                    await self._take_up(job_id)
                await self._accounts.look_for_strangers()
                await self._runner.mark_waiting()
            except LedgerError as exc:
                logger.warning("the ledger does not answer: %s", exc.message)

    async def _look_after(self, record: JobRecord) -> None:
        """A job driven here that is not ours by the ledger: another process took it, or the ledger lost our writes."""
        try:
            await record.write_what_is_lost()
        except JobMoved:
            let_go(record, self._tasks)

    async def _take_up(self, job_id: str) -> None:
        """Drive a job that is ours by its row and has no driver: the reply to our claim was lost.

        One that could still be submitted is left at first: whoever opened it is about to drive it, or was told that
        nothing was started. It ends unsent once it is stale by both clocks, so that a clock that is set ends nothing.
        """
        job = await self._ledger.get(job_id)
        if job is None or job.is_settled:
            return
        seen_s = self._clock.monotonic() - self._undriven_since_s[job_id]
        age_s = (self._clock.now() - job.created_at).total_seconds()
        if job.state is not JobState.PLANNED or min(seen_s, age_s) > STALE_PLAN_S:
            await complete(self._adopt(job))
