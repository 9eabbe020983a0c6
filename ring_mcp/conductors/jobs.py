"""Who carries jobs on: ``enqueue`` a job, ``run`` it to its end, ``wait`` for it; and take over from dead processes.

A job runs beside the calls that wait for it. A caller that goes away changes nothing for the job.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

from ring_mcp.clock import Clock
from ring_mcp.conductors.advance import Advance
from ring_mcp.conductors.recording import JobRecord, WriteAhead
from ring_mcp.domain import DRIVEN, Failure, Job, JobState
from ring_mcp.errors import JobMoved, LedgerError
from ring_mcp.ledger.base import Ledger

logger = logging.getLogger(__name__)

OnProgress = Callable[[Job], Awaitable[None]]

SWEEP_INTERVAL_S = 2.0
HEARTBEAT_INTERVAL_S = 15.0
PROGRESS_INTERVAL_S = 5.0
_REMOTE_LOOK_S = 0.5
_TAKE_OVER_AT_ONCE = 1000
_AFTER_A_FAULT_S = 60.0
_LAST_WORDS_S = 0.5


class JobRunner:
    """Drives jobs of one ledger in this process; one task per job."""

    def __init__(self, ledger: Ledger, advance: Advance, write_ahead: WriteAhead, clock: Clock) -> None:
        self._ledger = ledger
        self._advance = advance
        self._write_ahead = write_ahead
        self._clock = clock
        self._records: dict[str, JobRecord] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._changed: dict[str, asyncio.Event] = {}
        self._upkeep: list[asyncio.Task[None]] = []
        self._closing = False
        self._catching_up = asyncio.Lock()
        self._has_caught_up = False

    async def start(self, *, take_over: bool = True) -> None:
        """Begin to take over what others left. Returns at once; a ledger that is down is tried again.

        Without ``take_over`` only what this process is asked for is driven: a command that ends in a moment must not
        begin to submit for others, since a request that is cut off has an unknown outcome.
        """
        looking = self._sweep() if take_over else self._catch_up()
        self._upkeep = [asyncio.create_task(looking), asyncio.create_task(self._beat())]

    async def aclose(self) -> None:
        """Stop driving. Requests under way get a moment to be answered; jobs go on with the next process."""
        for task in self._upkeep:
            task.cancel()
        tasks = [*self._upkeep, *self._tasks.values()]
        submitting = [
            self._tasks[i] for i, r in self._records.items() if r.job.attempt_token and not _has_handle(r.job)
        ]
        if submitting:
            await asyncio.wait(submitting, timeout=_LAST_WORDS_S)
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def enqueue(self, job: Job) -> None:
        """Drive this job, which this process owns, in the background."""
        if job.id in self._tasks or job.is_settled:
            return
        self._changed.setdefault(job.id, asyncio.Event())
        self._records[job.id] = JobRecord(job, self._ledger, self._write_ahead, self._clock, self._tell)
        task = asyncio.create_task(self.run(job.id), name=f"job {job.id}")
        self._tasks[job.id] = task

    async def run(self, job_id: str) -> None:
        """Carry a job to its end, or to where only a person or another process can carry it on."""
        record = self._records[job_id]
        try:
            await self._drive(record)
            await self._settle_accounts(record)
        except JobMoved:
            logger.info("job %s: another process has it now", job_id)
        except LedgerError as exc:
            logger.error("job %s: cannot go on: %s", job_id, exc.message)
            await self._put_back(record)
        except Exception:
            logger.exception("internal error, job %s", job_id)
            await self._put_back(record)
        finally:
            del self._records[job_id], self._tasks[job_id]
            self._changed.pop(job_id).set()

    async def _drive(self, record: JobRecord) -> None:
        since, tries = self._clock.now(), 0
        while not record.job.is_settled:
            pause = await self._advance.step(record, since, tries)
            if pause is None:
                tries = 0
                continue
            tries = tries + 1 if pause.failed else 0
            if pause.delay_s is None:
                await record.write(replace(record.job, owner=None, due_at=None))
                return
            await self._clock.sleep(pause.delay_s)

    async def _settle_accounts(self, record: JobRecord) -> None:
        """Bring the ledger up to date if it was away: the caller has its answer already, the row must follow."""
        delay_s = 0.5
        while record.is_behind:
            try:
                await record.catch_up()
            except JobMoved:
                raise
            except LedgerError:
                await self._clock.sleep(delay_s)
                delay_s = min(30.0, delay_s * 2)

    async def _put_back(self, record: JobRecord) -> None:
        """After a fault of ours: the job is not lost, somebody tries again in a while."""
        failure = Failure(code="internal", message=f"internal error, job {record.job.id}", billed="unknown")
        due_at = self._clock.now() + timedelta(seconds=_AFTER_A_FAULT_S)
        with contextlib.suppress(LedgerError):
            await record.write(replace(record.job, owner=None, due_at=due_at, failure=failure))
            await self._settle_accounts(record)  # as long as the row says that we have it, nobody takes it

    def _tell(self, job: Job) -> None:
        event = self._changed.get(job.id)
        if event is not None:
            event.set()
            self._changed[job.id] = asyncio.Event()

    async def current(self, job_id: str) -> Job | None:
        """The newest state of a job: from memory if this process drives it, otherwise from the ledger."""
        record = self._records.get(job_id)
        return record.job if record is not None else await self._ledger.get(job_id)

    async def adopt(self, job: Job) -> None:
        """Carry a job on if nobody alive does: it was parked, its process has died, or we own it unawares."""
        await self._catch_up()
        if job.id in self._tasks or job.is_settled:
            return
        if job.owner == self._ledger.owner:  # the confirmation that its row was written had been lost
            self.enqueue(job)
        elif (claimed := await self._ledger.claim_one(job.id)) is not None:
            self.enqueue(claimed)

    async def wait(self, job_id: str, wait_s: float, on_progress: OnProgress | None = None) -> Job | None:
        """Wait until the job is settled or parked, at most ``wait_s``; the answer is the job as it then stands.

        ``on_progress`` is told of every change, and at least every PROGRESS_INTERVAL_S that nothing changes.
        """
        until = self._clock.monotonic() + wait_s
        while True:
            event = self._changed.get(job_id)
            job = await self.current(job_id)
            if job is None or job.is_settled or job.is_parked:
                return job
            left_s = until - self._clock.monotonic()
            if left_s <= 0 or self._closing:
                return job
            if on_progress is not None:
                await on_progress(job)
            await _happened(event, min(left_s, PROGRESS_INTERVAL_S if event else _REMOTE_LOOK_S))

    def release_waiters(self) -> None:
        """The server is about to stop: whoever waits gets the job as it stands, and nobody waits any more."""
        self._closing = True
        for event in self._changed.values():
            event.set()

    async def _catch_up(self) -> None:
        """Write what a process before us could not: before anybody carries its jobs on from what the rows say."""
        async with self._catching_up:
            if not self._has_caught_up:
                await self._write_ahead.replay(self._ledger)
                self._has_caught_up = True

    async def _sweep(self) -> None:
        """Take over jobs of dead processes: all of them at the start, also parked ones, then those that are due."""
        parked, told = True, ""
        while True:
            try:
                await self._catch_up()
                for job in await self._ledger.claim(_TAKE_OVER_AT_ONCE, parked=parked):
                    self.enqueue(job)
                if parked:
                    await self._advance.tidy_up(self._ledger)
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
            driven = [i for i, record in self._records.items() if record.job.state in DRIVEN and not record.is_behind]
            try:
                kept = await self._ledger.heartbeat(driven)
            except LedgerError as exc:
                logger.warning("the ledger does not answer: %s", exc.message)
                continue
            for job_id in set(driven) - kept:
                record = self._records.get(job_id)
                if record is None or record.job.is_settled:
                    continue
                if record.job.state is JobState.SUBMITTING and not record.is_orphan:
                    continue  # an answer that is on its way is still worth having: it wins over "unknown"
                logger.warning("job %s: another process has it now", job_id)
                self._tasks[job_id].cancel()


def _has_handle(job: Job) -> bool:
    return job.provider_request_id is not None or bool(job.outputs)


async def _happened(event: asyncio.Event | None, timeout_s: float) -> None:
    """Not ``asyncio.wait_for``: until Python 3.12 that one swallows a cancellation that comes with the event."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await (asyncio.Event() if event is None else event).wait()
