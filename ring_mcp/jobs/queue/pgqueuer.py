"""The queue of a fleet: PgQueuer gives jobs to processes; each drives what it is given, and puts it back when it stops.

A job is queued in the transaction that opens it, under an entrypoint of its account, which only processes that hold
the account register. A process without a heartbeat loses its jobs to the others, even if it was only paused: the row's
version then keeps it from writing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable

from ring_mcp.clock import Clock
from ring_mcp.domain import Job, JobState
from ring_mcp.errors import JobMoved, LedgerError
from ring_mcp.jobs.accounts import Accounts
from ring_mcp.jobs.completion import complete
from ring_mcp.jobs.dispatching import REST_FOR_GOOD_S, Dispatcher
from ring_mcp.jobs.queue.base import end_drivers, find_undriven, let_go
from ring_mcp.jobs.reconciling import Reconciler
from ring_mcp.jobs.record import JobRecord
from ring_mcp.jobs.runner import JobRunner
from ring_mcp.jobs.watch import JobWatch
from ring_mcp.ledger import tasks
from ring_mcp.ledger.base import Ledger
from ring_mcp.ledger.postgres_channel import PostgresChannel

logger = logging.getLogger(__name__)

_TRY_AGAIN_S = 1.0
_PUT_BACK_LIMIT_S = 5.0
_READ_AT_ONCE = 500
_TAKEN_AT_ONCE = 16
"""If ten thousand jobs of a dead process come at once, they wait here, where nothing times out, and not for a
connection."""


class PgqueuerQueue:
    """See ``jobs.queue.base.JobQueue``. ``drives``: whether this process carries jobs on at all; otherwise it opens
    them, waits, and leaves them to others. ``drain_s``: how long ``aclose`` waits for answers to paid requests."""

    name = "pgqueuer"

    def __init__(
        self,
        ledger: Ledger,
        runner: JobRunner,
        watch: JobWatch,
        accounts: Accounts,
        clock: Clock,
        channel: PostgresChannel,
        *,
        drain_s: float,
        drives: bool = True,
    ) -> None:
        self._ledger = ledger
        self._runner = runner
        self._watch = watch
        self._accounts = accounts
        self._clock = clock
        self._channel = channel
        self._drain_s = drain_s
        self._drives = drives
        self._takes_any = False
        self._taking = asyncio.Semaphore(_TAKEN_AT_ONCE)
        self._driving: dict[str, asyncio.Task[Job]] = {}
        self._upkeep: list[asyncio.Task[None]] = []
        self._asides: set[asyncio.Task[None]] = set()
        self._dispatching: asyncio.Task[None] | None = None
        self._dispatcher = Dispatcher(channel, ledger.owner, self._carry, self._lose, lease_s=ledger.lease_s)
        self._reconciler = Reconciler(channel, self._dispatcher, runner, accounts, clock)
        self._has_told_of_old_rows = False
        self._is_closing = False
        channel.on(tasks.JOBS_CHANNEL, self._hear)
        channel.on(tasks.WAKE_CHANNEL, watch.wake)
        channel.after_a_gap(watch.hear_all)
        channel.after_a_gap(lambda: self._do_aside(self._look_for_lost_rows()))

    async def start(self, *, take_over: bool) -> None:
        self._takes_any = take_over and self._drives
        await self._channel.start()
        if self._takes_any:
            self._reconciler.register_own()
            self._dispatching = asyncio.create_task(self._dispatcher.run())
            self._upkeep = [asyncio.create_task(self._reconciler.run())]
        elif self._drives:
            self._upkeep = [asyncio.create_task(self._catch_up()), asyncio.create_task(self._beat())]

    async def aclose(self) -> None:
        """Put back at once what another process can finish; wait for the answers to paid requests in progress."""
        self._is_closing = True
        self._dispatcher.stop()
        for task in self._upkeep:
            task.cancel()
        submitting = [record.job.id for record in self._runner.records if self._is_worth_waiting(record)]
        await end_drivers(self._driving, submitting, self._drain_s)
        await asyncio.gather(*self._upkeep, *self._driving.values(), *self._asides, return_exceptions=True)
        if self._dispatching is not None:
            await asyncio.wait({self._dispatching}, timeout=_PUT_BACK_LIMIT_S)
            self._dispatching.cancel()
            await asyncio.gather(self._dispatching, return_exceptions=True)
        await self._channel.aclose()

    def _is_worth_waiting(self, record: JobRecord) -> bool:
        """Whether its paid request is in progress, and others would not get the answer without this process."""
        return record.job.state is JobState.SUBMITTING and not record.is_orphan and record.job.id in self._driving

    def enqueue(self, job: Job) -> None:
        """The ledger queued the job when it was opened; a process that takes no tasks drives it itself."""
        if self._is_closing or job.is_settled:
            return
        if self._takes_any and self._accounts.hold(job):
            self._dispatcher.register([tasks.name_entrypoint(job.account, sandbox=job.sandbox)])
        elif self._drives and not self._takes_any:
            self._do_aside(self._drive_alone(job.id, asked=False))

    async def adopt(self, job: Job) -> None:
        """Completed even if the caller is cancelled: a job that was taken and not driven would stand still."""
        await complete(self._adopt(job))

    async def _adopt(self, job: Job) -> None:
        async for job_id in find_undriven(job, self._driving, self._runner, self._watch):
            if self._drives and not self._takes_any and (taken := await self._runner.take(job_id)) is not None:
                self._do_aside(self._finish_alone(self._drive(taken, asked=True)))
                continue
            asked = job if job_id == job.id else await self._ledger.get(job_id)
            if asked is not None and not asked.is_settled:
                await self._channel.run(tasks.ask_for(asked))

    # What PgQueuer gives

    async def _carry(self, job_id: str, asked: bool) -> float | None:
        """Drive a job that was given to this process. Returns how long its task rests then, in s; None: it is over."""
        if self._is_closing:
            # Back into the queue at once, for another process.
            return 0.0
        if (driving := self._driving.get(job_id)) is None:
            try:
                async with self._taking:
                    job = await self._runner.take(job_id)
            except LedgerError:
                return _TRY_AGAIN_S
            if job is None:
                return None
            self._tell_of_old_row(job)
            driving = self._drive(job, asked=asked)
        # ``wait``, and not ``await driving``: when PgQueuer cancels this, the job is not to be cancelled with it.
        await asyncio.wait({driving})
        return 0.0 if driving.cancelled() else self._rest_of(driving.result())

    def _drive(self, job: Job, *, asked: bool) -> asyncio.Task[Job]:
        driving = asyncio.create_task(self._runner.drive(job, asked=asked), name=f"job {job.id}")
        self._driving[job.id] = driving
        driving.add_done_callback(lambda _: self._driving.pop(job.id, None))
        if self._is_closing:
            driving.cancel()
        return driving

    def _rest_of(self, job: Job) -> float | None:
        if job.is_settled:
            return None
        if job.due_at is None:
            return REST_FOR_GOOD_S
        # Never 0: a job that parks itself in its first step would go round without a pause.
        return max(_TRY_AGAIN_S, (job.due_at - self._clock.now()).total_seconds())

    def _hear(self, said: str) -> None:
        """A job's row has changed. If it names another owner, that one has the job, whatever its task says."""
        job_id, _, owner = said.partition(" ")
        self._watch.hear(job_id)
        if owner and owner != self._ledger.owner:
            self._lose(job_id)

    def _lose(self, job_id: str) -> None:
        """The row or the task of a job driven here names another owner, or is gone."""
        record = self._runner.find(job_id)
        if job_id in self._driving and record is not None and not record.is_behind:
            self._do_aside(self._look_after(record))

    async def _look_for_lost_rows(self) -> None:
        """After a gap the database may be another one, which lacks what the old one had confirmed: what was sent from
        here must not stand there as a plan that somebody else sends."""
        sent = [record.job.id for record in self._runner.records if record.job.state is not JobState.PLANNED]
        for start in range(0, len(sent), _READ_AT_ONCE):
            some = sent[start : start + _READ_AT_ONCE]
            try:
                states = await self._ledger.states(some)
            except LedgerError as exc:
                logger.warning("the ledger does not answer: %s", exc.message)
                return
            for job_id in some:
                if states.get(job_id, JobState.PLANNED) is JobState.PLANNED:
                    self._lose(job_id)

    async def _look_after(self, record: JobRecord) -> None:
        try:
            async with self._taking:  # of thousands at once none keeps a caller from the database
                await record.write_what_is_lost()
                await self._channel.run(tasks.pick(record.job, self._ledger.owner, self._ledger.lease_s))
        except JobMoved:
            let_go(record, self._driving)
        except LedgerError as exc:
            logger.warning("the ledger does not answer: %s", exc.message)

    def _tell_of_old_row(self, job: Job) -> None:
        if not job.account.is_recorded and not self._has_told_of_old_rows:
            self._has_told_of_old_rows = True
            logger.warning("open jobs from before accounts were recorded are carried on with this server's keys")

    # What a process does that drives only its own jobs

    async def _catch_up(self) -> None:
        with contextlib.suppress(LedgerError):  # ``take`` does it as well
            await self._runner.catch_up()

    async def _drive_alone(self, job_id: str, *, asked: bool) -> None:
        while not self._is_closing:
            try:
                job = await self._runner.take(job_id)
            except LedgerError:
                await self._clock.sleep(_TRY_AGAIN_S)
                continue
            if job is not None:
                await self._finish_alone(self._drive(job, asked=asked))
            return

    async def _finish_alone(self, driving: asyncio.Task[Job]) -> None:
        """Finish a task that we took ourselves, as PgQueuer does with those that it gives out."""
        job_id = driving.get_name().removeprefix("job ")
        await asyncio.wait({driving})
        rest_s = 0.0 if driving.cancelled() else self._rest_of(driving.result())
        with contextlib.suppress(LedgerError):  # then the lease ends by itself
            await self._channel.run(tasks.finish(job_id, self._ledger.owner, rest_s))

    async def _beat(self) -> None:
        """Renew the leases of this process, and let go of jobs that others have taken."""
        while True:
            # Four in a lease: one that is late or lost must not cost this process its jobs.
            await asyncio.sleep(self._ledger.lease_s / 4)
            await self._runner.mark_waiting()
            if not self._driving:
                continue
            try:
                held = await self._channel.run(tasks.beat(self._ledger.owner)) or set()
            except LedgerError as exc:
                logger.warning("the ledger does not answer: %s", exc.message)
                continue
            for job_id in self._driving.keys() - held:
                self._lose(job_id)

    def _do_aside(self, work: Awaitable[None]) -> None:
        async def do() -> None:
            await work

        task = asyncio.create_task(do())
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)
