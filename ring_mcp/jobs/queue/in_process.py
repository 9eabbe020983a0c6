"""Jobs are carried on in this process, one task each; what dead processes left behind is taken over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from ring_mcp.clock import Clock
from ring_mcp.domain import DRIVEN, Holder, Job, JobState
from ring_mcp.errors import JobMoved, LedgerError
from ring_mcp.jobs.accounts import Accounts
from ring_mcp.jobs.completion import complete
from ring_mcp.jobs.queue.base import find_undriven
from ring_mcp.jobs.record import JobRecord
from ring_mcp.jobs.runner import JobRunner
from ring_mcp.jobs.submitting import STALE_PLAN_S
from ring_mcp.jobs.watch import JobWatch
from ring_mcp.ledger.base import ClaimingLedger

logger = logging.getLogger(__name__)

SWEEP_INTERVAL_S = 2.0
HEARTBEAT_INTERVAL_S = 15.0
SET_BACK_S = 30.0
"""A clock that has gone back by so much has been set, and not only corrected."""

TAKE_OVER_AT_ONCE = 250
"""Few enough that nobody else has to wait for long while they are read."""


class InProcessQueue:
    """See ``jobs.queue.base.JobQueue``. ``drain_s``: how long paid requests under way may still be answered;
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
        # First, so that nothing is taken over any more while paid requests are waited for.
        for task in self._upkeep:
            task.cancel()
        tasks: list[asyncio.Task[Any]] = [*self._upkeep, *self._tasks.values()]
        submitting = [self._tasks[record.job.id] for record in self._runner.records if self._is_worth_waiting(record)]
        for driving in self._tasks.values():
            if driving not in submitting:  # a request that was begun meanwhile would be cut off at the end of the wait
                driving.cancel()
        if submitting:
            await asyncio.wait(submitting, timeout=self._drain_s)
        for driving in self._tasks.values():
            driving.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_worth_waiting(self, record: JobRecord) -> bool:
        """A paid request whose answer would be lost with this process."""
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
        """Taking and driving are one: a caller that goes away in between leaves nothing taken that nobody drives."""
        await complete(self._adopt(job))

    async def _adopt(self, job: Job) -> None:
        async for job_id in find_undriven(job, self._tasks, self._runner, self._watch):
            if (taken := await self._runner.take(job_id)) is not None:
                self._drive(taken, asked=True)

    async def _sweep(self) -> None:
        """Take over jobs of dead processes: all of them at the start, also parked ones, then those that are due.

        All of them once more when a provider has told whose a key is: jobs of another key of that account are ours. So
        too when the clock was set back: what was parked while it was ahead would be due long after it should be.
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
        """Of the clock that only ever counts seconds: it changes when somebody sets the other one."""
        return self._clock.now().timestamp() - self._clock.monotonic()

    async def _take_over(self, holder: Holder, *, parked: bool) -> None:
        """All that can be taken, some at a time. They are driven when all are held, or when no more can be had: what
        thousands of jobs begin to do would keep the rest waiting."""
        taken: list[Job] = []
        try:
            while claimed := await self._ledger.claim(holder, self._at_once, parked=parked):
                taken += claimed
                if len(claimed) < self._at_once:
                    break
        finally:
            self._tell_of_old_rows(taken)
            # Also where the ledger fails in the middle: what was taken is ours, and nobody else would drive it.
            for job in taken:
                self._drive(job)

    def _tell_of_old_rows(self, claimed: Sequence[Job]) -> None:
        old = [job for job in claimed if not job.account.is_recorded]
        if old and not self._has_told_of_old_rows:
            self._has_told_of_old_rows = True
            logger.warning(
                "%d open jobs are of a time before accounts were recorded: they are carried on with this server's keys",
                len(old),
            )

    async def _beat(self) -> None:
        """Show that this process lives, let go of jobs that others have taken, take up own ones that nobody drives."""
        while True:
            await self._clock.sleep(HEARTBEAT_INTERVAL_S)
            # Of a row that is behind the ledger knows less than is known here, and its word does not count.
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
        """A job of ours of which the ledger says that it is not: it was taken, or the ledger has lost what we know."""
        try:
            await record.write_what_is_lost()
        except JobMoved:
            if record.job.is_settled or record.job.id not in self._tasks:
                return
            if record.job.state is JobState.SUBMITTING and not record.is_orphan:
                return  # an answer that is on its way is still worth having: it wins over "unknown"
            logger.warning("job %s: another process has it now", record.job.id)
            self._tasks[record.job.id].cancel()

    async def _take_up(self, job_id: str) -> None:
        """A row that says it is ours and that nobody drives: the confirmation that we had claimed it was lost.

        One that could still be submitted is left: whoever planned it is about to drive it, or was told that nothing
        was started. Later it ends unsent: when it has been seen for so long, whatever is done to the clock.
        """
        job = await self._ledger.get(job_id)
        if job is None or job.is_settled:
            return
        seen_s = self._clock.monotonic() - self._undriven_since_s[job_id]
        age_s = (self._clock.now() - job.created_at).total_seconds()
        if job.state is not JobState.PLANNED or min(seen_s, age_s) > STALE_PLAN_S:
            await complete(self._adopt(job))
