"""Driving a job until it ends, or until only a person or another process can carry it on.

A job runs beside the calls that wait for it. When a caller detaches, nothing changes for the job.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta

from ring_mcp.clock import Clock
from ring_mcp.domain import Failure, Job, JobState
from ring_mcp.errors import JobMoved, LedgerError
from ring_mcp.jobs.accounts import Accounts
from ring_mcp.jobs.outcomes import Park, Pause, back_off_s, note_trouble, park
from ring_mcp.jobs.pacing import LATE_S, TURNS_GIVEN_BACK, Pacing
from ring_mcp.jobs.rates import Place, ProviderRates
from ring_mcp.jobs.record import Held, JobRecord
from ring_mcp.jobs.steps import Steps
from ring_mcp.jobs.turns import Turns
from ring_mcp.jobs.watch import JobWatch
from ring_mcp.jobs.write_ahead import WriteAhead
from ring_mcp.ledger.base import Ledger

logger = logging.getLogger(__name__)

STORING_AT_ONCE = 16
"""How many results pass through this process at once: each has a file in the spool and buffers in memory."""

MOST_PARKED_PLANS = 10_000

LEARN_AGAIN_S = 0.5
"""The first pause before what was kept of a job is read again; longer each time."""

AFTER_A_FAULT_S = 60.0
"""How long a job rests after an internal error."""


class JobRunner:
    """Drives jobs of one ledger in this process: ``run`` any, ``drive`` one that this process owns already.

    ``turns``: how many steps may run at once, and whose; ``rates``: how often providers may be asked.
    """

    def __init__(
        self,
        ledger: Ledger,
        steps: Steps,
        write_ahead: WriteAhead,
        watch: JobWatch,
        accounts: Accounts,
        clock: Clock,
        turns: Turns | None = None,
        rates: ProviderRates | None = None,
    ) -> None:
        self._ledger = ledger
        self._rates = rates or ProviderRates(ledger, accounts, clock, None)
        self._turns, self._storing_turns = turns or Turns(), Turns(STORING_AT_ONCE)
        self._accounts = accounts
        self._steps = steps
        self._write_ahead = write_ahead
        self._watch = watch
        self._clock = clock
        self._records: dict[str, JobRecord] = {}
        self._parked_plans: dict[str, Held] = {}
        self._pacing = Pacing(ledger, clock)
        self._catching_up = asyncio.Lock()
        self._has_caught_up = False

    @property
    def records(self) -> Collection[JobRecord]:
        """The records of the jobs that are driven here now."""
        return self._records.values()

    def find(self, job_id: str) -> JobRecord | None:
        """The record of a job, if it is driven here."""
        return self._records.get(job_id)

    def has_let_go(self, job_id: str) -> bool:
        """Whether its driver here has parked it already and is ending: too late to wake it."""
        record = self._records.get(job_id)
        return record is not None and record.job.is_parked

    async def mark_waiting(self) -> None:
        """Mark in the ledger which jobs wait in line here, when that is due. To be called every few seconds."""
        await self._rates.marks.write()

    async def run(self, job_id: str, *, asked: bool = False) -> None:
        """Carry on any job of the ledger. Does nothing for a job that a live process drives, that has ended, or whose
        account is not held here. Raises LedgerError."""
        job = await self.take(job_id)
        if job is not None:
            await self.drive(job, asked=asked)

    async def take(self, job_id: str) -> Job | None:
        """Make this process the owner of a job that no live process drives and whose account it holds.

        Returns None if there is nothing to be done here. Raises LedgerError.
        """
        await self.catch_up()
        if job_id in self._records:
            return None
        if not self._ledger.lease_s:  # with leases, the row alone does not say whether we still have the job
            job = await self._ledger.get(job_id)
            if job is None or job.is_settled:
                return None
            if job.owner == self._ledger.owner:  # claimed before, and the ledger's reply was lost
                return job
        return await self._ledger.claim_one(self._accounts.holder, job_id)

    async def drive(self, job: Job, *, asked: bool = False, is_new: bool = False) -> Job:
        """Carry on a job that this process owns; returns the job as it was left.

        ``asked``: a caller asks for it, so that it gets the whole poll timeout again. ``is_new``: this process has just
        opened it, which holds even if the clock is set in between.
        """
        if job.id in self._records or job.is_settled:
            return job
        held = Held(job.created_at, self._clock.monotonic()) if is_new else self._parked_plans.pop(job.id, None)
        record = JobRecord(job, self._ledger, self._write_ahead, self._clock, self._watch.tell, held)
        record.is_new = is_new
        # Before anything is awaited: one job has one driver.
        self._records[job.id] = record
        self._watch.hold(job)
        try:
            # Before any step: the last process may have known more than it could write to the row.
            await self._learn(record)
            # An old job that a caller asks for gets its whole time again: otherwise it would be parked after one look.
            with self._rates.place_for(job) as place:
                took_s = await self._step_on(record, record.now if asked else job.created_at, place)
            if record.is_behind:
                await self._settle_accounts(record)
                await self._steps.leave(record)  # its files were needed while the ledger lacked its end
            if took_s is not None:
                await self._pacing.note_duration(record.job, took_s)
        except JobMoved:
            logger.info("job %s: another process has it now", job.id)
        except Exception:  # the one error boundary of a job: its row must not stay with a driver that has gone
            logger.exception("internal error, job %s", job.id)
            await self._put_back(record)
        finally:
            del self._records[job.id]
            self._remember_plan(record)
            if record.first_look is not None:
                record.first_look.cancel()
            self._watch.release(job.id)
        return record.job

    async def _learn(self, record: JobRecord) -> None:
        """Take up what is kept aside of the job here, retrying until done: it may have been sent, or have ended."""
        tries = 0
        while True:
            try:
                await record.learn()
            except JobMoved:
                raise
            except (LedgerError, OSError) as exc:
                trouble = note_trouble(record.job, _explain_unlearnt(exc), record.now)
                await record.note(replace(record.job, failure=trouble), write=False)
                await self._clock.sleep(back_off_s(tries, LEARN_AGAIN_S))
                tries += 1
            else:
                return

    def _remember_plan(self, record: JobRecord) -> None:
        """Keep since when a plan was held that is let go of here, so that its age does not depend on the wall clock if
        this process gets it again."""
        if record.job.state is JobState.PLANNED:
            self._parked_plans[record.job.id] = record.held
            if len(self._parked_plans) > MOST_PARKED_PLANS:  # the oldest have been ended by other processes
                del self._parked_plans[next(iter(self._parked_plans))]

    async def catch_up(self) -> None:
        """Write, once, what an earlier process could not, before its jobs are carried on from their rows; and again
        what a courier of it is answered later. Raises LedgerError.
        """
        async with self._catching_up:
            if not self._has_caught_up:
                await self._write_ahead.replay(self._ledger)
                self._has_caught_up = True
            await self._steps.apply_late_answers(self._ledger)

    async def _step_on(self, record: JobRecord, since: datetime, place: Place) -> float | None:
        """Take steps until the job is settled or parked. Returns how long its provider took, in s, if the job was
        driven here from its request on; else None."""
        tries = 0
        sent_at: float | None = None
        took_s: float | None = None
        rested_s = 0.0
        while not record.job.is_settled:
            before = record.job.state
            pause = await self._advance(record, since, tries, place)
            now, state = self._clock.monotonic(), record.job.state
            if before is JobState.PLANNED:
                sent_at = now
            elif (before, state) == (JobState.RENDERING, JobState.STORING) and sent_at is not None:
                took_s = now - sent_at - rested_s / 2  # it was done at some time since the last look
            if pause is None:
                tries = 0
                continue
            if isinstance(pause, Park):
                await record.write(park(record.job, pause, self._clock.now()))
                return took_s
            tries = tries + 1 if pause.failed else 0
            if state is JobState.RENDERING:
                rested_s = await self._stretch_s(record, pause.delay_s, sent_at)
                pause = replace(pause, delay_s=rested_s)
            with place.wait() if pause.until is not None else contextlib.nullcontext():
                await self._rest(record, pause)
        return took_s

    async def _stretch_s(self, record: JobRecord, pause_s: float, sent_at: float | None) -> float:
        """The pause until the next look. ``sent_at``: monotonic time; None if another process sent the request."""
        job = record.job
        age_s = self._steps.count_age_s(record) if sent_at is None else self._clock.monotonic() - sent_at
        return await self._pacing.stretch_s(job, pause_s, age_s, len(self._records), urgent=self._is_urgent(job))

    async def _rest(self, record: JobRecord, pause: Pause) -> None:
        """Let the pause pass. Meanwhile, what the ledger lacks is written as soon as it is back."""
        if not record.is_behind:
            await self._watch.pause(record.job.id, pause.delay_s, pause.until)
            return
        catching_up = asyncio.ensure_future(self._settle_accounts(record))
        try:
            await self._watch.pause(record.job.id, pause.delay_s, pause.until)
        finally:
            catching_up.cancel()
            (trouble,) = await asyncio.gather(catching_up, return_exceptions=True)
        if isinstance(trouble, Exception):  # a cancellation is none
            raise trouble

    async def _advance(self, record: JobRecord, since: datetime, tries: int, place: Place) -> Pause | Park | None:
        """Take one step when its turn comes. A job that waits for the provider's rate holds no turn: it holds up only
        its own line."""
        job = record.job
        if job.state is JobState.PLANNED:
            async with place.stand(self._turns):
                return await self._steps.advance(record, since, tries, place)
        if job.state is JobState.RENDERING and record.first_look is None:
            await self._wait_for_look(job)
            await self._rates.wait_to_look(job, urgent=self._is_urgent(job))
        # The turn to store first, then the common turn: a job that waits for the first must not hold the second.
        storing = self._storing_turns.take(job) if job.state is JobState.STORING else contextlib.nullcontext()
        async with storing, self._turns.take(job):
            return await self._steps.advance(record, since, tries)

    async def _wait_for_look(self, job: Job) -> None:
        for _ in range(TURNS_GIVEN_BACK + 1):
            turn_s = self._pacing.wait_for_look_s(urgent=self._is_urgent(job))
            if turn_s <= 0:
                return
            turn_at = self._clock.monotonic() + turn_s
            await self._watch.pause(job.id, turn_s, None)
            if self._clock.monotonic() < turn_at + LATE_S:
                return

    def _is_urgent(self, job: Job) -> bool:
        return self._pacing.is_urgent(job, awaited=self._watch.is_awaited(job.id))

    async def _settle_accounts(self, record: JobRecord) -> None:
        """Retry until the ledger has all that is known of the job: the caller may have its answer already."""
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
        """After an internal error: release the job, to be tried again in a while."""
        if record.job.is_settled:
            return
        failure = Failure(code="internal", message=f"internal error, job {record.job.id}", billed="unknown")
        due_at = self._clock.now() + timedelta(seconds=AFTER_A_FAULT_S)
        with contextlib.suppress(LedgerError):
            await record.write(replace(record.job, owner=None, due_at=due_at, failure=failure))
            await self._settle_accounts(record)  # nobody takes the job while its row names us


def _explain_unlearnt(exc: LedgerError | OSError) -> LedgerError:
    why = exc.message if isinstance(exc, LedgerError) else f"it cannot be read now: {exc.strerror}"
    return LedgerError(
        f"what was kept aside of this job is not in the ledger yet: {why}",
        billed="unknown",
        next_action="Make the ledger reachable, and unwritten/ in the state folder readable: the job then goes on.",
    )
