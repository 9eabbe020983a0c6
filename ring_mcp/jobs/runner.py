"""Carrying a job on, to its end or to where only a person or another process can carry it on.

A job runs beside the calls that wait for it. A caller that goes away changes nothing for the job.
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
"""So many results are on their way through this process: each has a file of its own, and the memory of its pieces."""

MOST_PARKED_PLANS = 10_000

LEARN_AGAIN_S = 0.5
"""How soon it is tried again to take up what was kept of a job; later each time."""

AFTER_A_FAULT_S = 60.0
"""How long a job rests that met a fault of ours."""


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
        """What is being driven here just now."""
        return self._records.values()

    def find(self, job_id: str) -> JobRecord | None:
        """The job, if it is being driven here."""
        return self._records.get(job_id)

    def has_let_go(self, job_id: str) -> bool:
        """Whether its driver here has parked it already, and is only ending: to wake him is too late."""
        record = self._records.get(job_id)
        return record is not None and record.job.is_parked

    async def mark_waiting(self) -> None:
        """Say in the ledger now and then which jobs wait in line here. To be called often."""
        await self._rates.marks.write()

    async def run(self, job_id: str, *, asked: bool = False) -> None:
        """Carry any job of the ledger on; nothing is done for one that somebody alive drives, that has ended, or
        whose account is not held here."""
        job = await self.take(job_id)
        if job is not None:
            await self.drive(job, asked=asked)

    async def take(self, job_id: str) -> Job | None:
        """Make this process the owner of a job that nobody alive drives and whose account it holds.

        None: there is nothing to be done here. Raises LedgerError.
        """
        await self.catch_up()
        if job_id in self._records:
            return None
        if not self._ledger.lease_s:  # where a lease can run out, a row does not say whether we still have the job
            job = await self._ledger.get(job_id)
            if job is None or job.is_settled:
                return None
            if job.owner == self._ledger.owner:  # the confirmation that its row was written had been lost
                return job
        return await self._ledger.claim_one(self._accounts.holder, job_id)

    async def drive(self, job: Job, *, asked: bool = False, is_new: bool = False) -> Job:
        """Carry on a job that this process owns. ``asked``: somebody waits for it, however old it is; ``is_new``: this
        process has opened it just now, whatever its clock says of when that was.

        The answer is the job as it was left.
        """
        if job.id in self._records or job.is_settled:
            return job
        held = Held(job.created_at, self._clock.monotonic()) if is_new else self._parked_plans.pop(job.id, None)
        record = JobRecord(job, self._ledger, self._write_ahead, self._clock, self._watch.tell, held)
        # Before anything is awaited: whoever comes now finds it here, and one job has one driver.
        self._records[job.id] = record
        self._watch.hold(job)
        try:
            # Before any step: the row alone may say less than was known when its last process died.
            await self._learn(record)
            # Who asks for an old job has the whole time anew: otherwise it would be parked again after one look.
            with self._rates.place_for(job) as place:
                took_s = await self._step_on(record, record.now if asked else job.created_at, place)
            if record.is_behind:
                await self._settle_accounts(record)
                await self._steps.leave(record)  # what could not be left while the ledger lacked its end
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
        """Until all that is kept of the job here is taken up: it may have been sent, or have ended, for all of that."""
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
        """How old a plan is that this process lets go of: it may have it again when the clock has been set."""
        if record.job.state is JobState.PLANNED:
            self._parked_plans[record.job.id] = record.held
            if len(self._parked_plans) > MOST_PARKED_PLANS:  # others have ended them
                del self._parked_plans[next(iter(self._parked_plans))]

    async def catch_up(self) -> None:
        """Write what a process before us could not: before anybody carries its jobs on from what the rows say."""
        async with self._catching_up:
            if not self._has_caught_up:
                await self._write_ahead.replay(self._ledger)
                await self._steps.apply_late_answers(self._ledger)
                self._has_caught_up = True

    async def _step_on(self, record: JobRecord, since: datetime, place: Place) -> float | None:
        """Until the job is settled or parked. How long its provider took, if it was followed from its request on."""
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
        """``sent_at``: by the clock's monotonic time; None: before this process had the job."""
        job = record.job
        age_s = (record.now - job.created_at).total_seconds()
        if sent_at is not None:
            age_s = self._clock.monotonic() - sent_at
        return await self._pacing.stretch_s(job, pause_s, age_s, len(self._records), urgent=self._is_urgent(job))

    async def _rest(self, record: JobRecord, pause: Pause) -> None:
        """Let the pause pass. What the ledger lacks is not left in memory for so long: it may be all that is known."""
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
        """One step, when its turn has come. Who waits for the provider's rate has no turn meanwhile: he is in nobody's
        way but that of his own line."""
        job = record.job
        if job.state is JobState.PLANNED:
            async with place.stand(self._turns):
                return await self._steps.advance(record, since, tries, place)
        if job.state is JobState.RENDERING and record.first_look is None:
            await self._wait_for_look(job)
            await self._rates.wait_to_look(job, urgent=self._is_urgent(job))
        # First the place to store and then the common turn: who waits for the one must not hold the other.
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
        if record.job.is_settled:
            return
        failure = Failure(code="internal", message=f"internal error, job {record.job.id}", billed="unknown")
        due_at = self._clock.now() + timedelta(seconds=AFTER_A_FAULT_S)
        with contextlib.suppress(LedgerError):
            await record.write(replace(record.job, owner=None, due_at=due_at, failure=failure))
            await self._settle_accounts(record)  # as long as the row says that we have it, nobody takes it


def _explain_unlearnt(exc: LedgerError | OSError) -> LedgerError:
    why = exc.message if isinstance(exc, LedgerError) else f"it cannot be read now: {exc.strerror}"
    return LedgerError(
        f"what was kept aside of this job is not in the ledger yet: {why}",
        billed="unknown",
        next_action="Make the ledger reachable, and unwritten/ in the state folder readable: the job then goes on.",
    )
