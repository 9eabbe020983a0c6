"""One job in memory and in the ledger, kept together also while the ledger cannot be written, or has lost the row.

Before the money is spent a write must succeed. Afterwards it may fail: the facts then go to a write-ahead file, the job
goes on, and the row is brought up to date as soon as the ledger is back, in this process or the next. A row that is
missing or older than what is known here (a crash of a database that was not durable, a replica that lagged) is written
again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from ring_mcp.clock import Clock
from ring_mcp.domain import AuditRecord, Job, JobState
from ring_mcp.errors import JobMoved, LedgerError
from ring_mcp.jobs.completion import complete
from ring_mcp.jobs.endings import Ending
from ring_mcp.jobs.events import log_change, note_cost, step_of
from ring_mcp.jobs.outcomes import come_late, end_badly
from ring_mcp.jobs.write_ahead import WriteAhead
from ring_mcp.ledger.base import Ledger
from ring_mcp.providers.base import Finished, Running
from ring_mcp.providers.inline import beside
from ring_mcp.telemetry import NOTHING

logger = logging.getLogger(__name__)

_LOST = LedgerError("the ledger has lost the row of this job, whose request was not sent", next_action="Call again.")

_TRIES = 5
"""Beside those who drive a job, those who are told of it write its row: an answer is not dropped for that."""

KEEP_AFTER_S = 0.5
"""After so long without an answer of the ledger, facts are kept aside while it is waited for."""

_MOST_DOUBTS = 100
"""So many tries of which no word came are remembered: a ledger that is away for days must not fill the memory."""


class Held(NamedTuple):
    """When this process got a job: ``at`` by its clock, ``at_s`` by the monotonic time of that."""

    at: datetime
    at_s: float


class JobRecord:
    """The job that is being driven: ``job`` is its newest state; ``on_change`` is told of each, and whether the ledger
    lacks it. ``held``: when this process got it; None: now. ``planned_at``: from when on its plan ages: it was made
    then, or last seen in line by a process that had it before.

    ``is_orphan``: it was taken over in the middle of a submit, whose answer can only come to somebody else.
    ``is_carried``: its request is made by a courier that outlives us, which need not be waited for.
    ``first_look``: the one that was begun while the handle is being written.
    ``is_new``: this process has just made up its id, so that nobody can know anything of it; until its first step.
    """

    def __init__(
        self,
        job: Job,
        ledger: Ledger,
        write_ahead: WriteAhead,
        clock: Clock,
        on_change: Callable[[Job, bool], None],
        held: Held | None = None,
    ) -> None:
        self.job = job
        self.held = held or Held(clock.now(), clock.monotonic())
        self._saved = job
        self._ledger = ledger
        self._write_ahead = write_ahead
        self._clock = clock
        self._on_change = on_change
        self._owed: list[AuditRecord] = []
        self._in_doubt: deque[tuple[datetime, str | None]] = deque(maxlen=_MOST_DOUBTS)
        # Its driver and who looks after a lost row may write at once: each would take the other's write for a
        # stranger's.
        self._writing = asyncio.Lock()
        self.is_behind = False
        self.is_carried = False
        self.first_look: asyncio.Task[Running | Finished] | None = None
        self.is_new = False
        self.is_orphan = job.state is JobState.SUBMITTING
        # A mark of a clock that was ahead is no later than when the job came here.
        self.planned_at = max(job.created_at, min(job.in_line_at or job.created_at, self.now))

    @property
    def now(self) -> datetime:
        """What the time is for all that is judged by its age: since this process has the job, nobody sets that clock.

        What is written for others to read is of the clock that they read, too.
        """
        return self.held.at + timedelta(seconds=self._clock.monotonic() - self.held.at_s)

    @property
    def saved_progress(self) -> int:
        return self._saved.progress

    @property
    def has_saved_handle(self) -> bool:
        """Whether the ledger has what the provider's answer can be asked for again with."""
        handle = self.job.provider_request_id
        return handle is not None and handle == self._saved.provider_request_id and not self.is_behind

    async def note(self, after: Job, *, write: bool) -> None:
        """Make ``after`` the job's state in memory; the next write carries it into the ledger."""
        if write:
            await self.write(after)
        else:
            self.job = after
            self._on_change(after, self.is_behind)

    async def write(self, after: Job, records: Sequence[AuditRecord] = (), *, must: bool = False) -> Job:
        """Make ``after`` the job's state, with the audit rows that belong to it.

        ``must``: raises LedgerError, and changes nothing, if the ledger cannot be written; so does the end of a job
        whose row is still a plan, as whoever reads that would start it. Otherwise the facts are kept aside. Raises
        JobMoved if another process has taken the job. Finishes also when the caller is cancelled.
        """
        return await complete(self._write(after, records, must))

    async def catch_up(self) -> None:
        """Write what the ledger still lacks. Raises LedgerError if it still cannot be written."""
        if self.is_behind:
            await complete(self._write_again())

    async def learn(self) -> None:
        """Take up what a process that drove this job before could not write any more: the row does not tell all.

        Raises JobMoved if another process has taken the job; LedgerError or OSError while it cannot be taken up, and
        nothing may be done by the row alone.
        """
        if not self._write_ahead.has(self.job.id):
            return
        found = await asyncio.to_thread(self._write_ahead.read, self.job.id)
        if found is not None and self._write_ahead.is_news(found[0], self.job):
            kept, records = found
            await self.write(come_late(self.job, replace(kept, owner=self.job.owner)), records)
            if not self.is_behind:
                await asyncio.to_thread(self._write_ahead.forget, kept.id)

    async def write_what_is_lost(self) -> None:
        """Look whether the ledger has lost the row or its newest writes, and write them again.

        Raises JobMoved if it has not: then somebody else has the job.
        """
        await complete(self._write_what_is_lost())

    async def _write_what_is_lost(self) -> None:
        async with self._writing:
            stored = await self._ledger.get(self.job.id)
            if stored is not None and self._is_as_saved(stored):
                return  # its driver was quicker
            if stored is not None and not self._is_older(stored):
                raise JobMoved(f"job {self.job.id} was changed by another process first")
            await self._put(self.job, (), must=False)

    async def _write(self, after: Job, records: Sequence[AuditRecord], must: bool) -> Job:
        putting = asyncio.ensure_future(self._put_in_turn(after, records, must))
        if not must and after.attempt_token is not None:
            # A process that is killed while it waits for a ledger that is stuck must not take a handle with it.
            await self._keep_meanwhile(putting, after, records)
        return await putting

    async def _keep_meanwhile(self, putting: asyncio.Future[Job], after: Job, records: Sequence[AuditRecord]) -> None:
        if (await asyncio.wait({putting}, timeout=KEEP_AFTER_S))[0]:
            return
        slow = LedgerError(f"the ledger has not answered in {KEEP_AFTER_S:g} s")
        await self._keep_aside(after, [*self._owed, *records], slow)
        await asyncio.wait({putting})
        if putting.exception() is None and not self.is_behind:  # else whoever reads it decides what it is worth
            await asyncio.to_thread(self._write_ahead.forget, after.id)

    async def _put_in_turn(self, after: Job, records: Sequence[AuditRecord], must: bool) -> Job:
        async with self._writing:
            return await self._put(after, records, must)

    async def _write_again(self) -> None:
        async with self._writing:
            if self.is_behind:  # its driver may have been quicker
                # As of the time when it was written first: it is one write, however often it is tried.
                await self._put(self.job, (), must=True, at=self.job.updated_at)

    async def _put(self, after: Job, records: Sequence[AuditRecord], must: bool, at: datetime | None = None) -> Job:
        after = replace(after, updated_at=at or self._clock.now())
        owed = [*self._owed, *records]
        ends = after.is_settled and not self.job.is_settled
        with step_of("settle", after) if ends else NOTHING as span:
            after = await self._put_down(after, owed, must=must)
            if ends:
                note_cost(span, after)
        log_change(self.job, after)
        self.job = after
        self._on_change(after, self.is_behind)
        return after

    async def _put_down(self, after: Job, owed: list[AuditRecord], *, must: bool) -> Job:
        """Into the ledger, or aside where it cannot be written."""
        try:
            after = await self._save(after, owed)
        except JobMoved:
            raise
        except LedgerError as exc:
            # It may have arrived all the same, and only its confirmation was lost: see ``_is_our_own``.
            if (doubt := (after.updated_at, after.owner)) not in self._in_doubt:
                self._in_doubt.append(doubt)
            is_unsent = self._saved.state is JobState.PLANNED and after.attempt_token is None
            if must or (after.is_settled and is_unsent):
                raise
            await self._keep_aside(after, owed, exc)
            self._owed, self.is_behind = owed, True
        else:
            if self.is_behind:
                # Not before the ledger has it: until then the file is all that the next process would know.
                await asyncio.to_thread(self._write_ahead.forget, after.id)
            self._in_doubt.clear()
            self._saved, self._owed, self.is_behind = after, [], False
        return after

    async def _keep_aside(self, after: Job, owed: Sequence[AuditRecord], why: LedgerError) -> None:
        """What is in hand is never dropped: where the disk takes nothing either, it stays in memory and is tried again
        as long as the process lives, and its handle is in the log."""
        try:
            await beside(self._write_ahead.keep, after, owed)
        except OSError as exc:
            logger.error(
                "job %s: %s, and facts cannot be kept aside (%s): %s, request %s, is held in memory alone",
                after.id,
                why.message,
                exc.strerror,
                after.state,
                after.provider_request_id,
            )
        else:
            logger.error("job %s: %s; facts are kept aside", after.id, why.message)

    async def _save(self, after: Job, records: Sequence[AuditRecord]) -> Job:
        before, to_be = self._saved, after
        for _ in range(_TRIES):
            with contextlib.suppress(JobMoved):
                return await self._ledger.save(before, to_be, records)
            stored = await self._ledger.get(after.id)
            if stored is None:
                with contextlib.suppress(JobMoved):  # somebody else has written it anew
                    return await self._restore(after, records)
                continue
            if stored.is_terminal and self._is_our_own(stored):
                return stored  # the last write of all, its audit rows included
            if not (self._is_our_own(stored) or self._is_older(stored) or stored.is_answered_by(after)):
                await self._keep_what_nobody_else_has(stored, after, records)
                raise JobMoved(f"job {after.id} was changed by another process first")
            # What a caller may have been told of the row as it stood does not hold any more.
            before, to_be = stored, come_late(stored, replace(after, delivered_at=None))
        raise LedgerError(f"the row of job {after.id} changes all the time")

    async def _restore(self, after: Job, records: Sequence[AuditRecord]) -> Job:
        if self._saved.state is JobState.PLANNED and after.state in (JobState.PLANNED, JobState.SUBMITTING):
            # Without its row nothing held the money, and the same request may have been made again: it is not sent.
            after = end_badly(self.job, Ending.ROW_LOST, _LOST, after.updated_at)
        restored = await self._ledger.restore(after, records)
        logger.warning("job %s: the ledger had lost its row, which is written again", after.id)
        return restored

    def _is_our_own(self, stored: Job) -> bool:
        """A write whose confirmation was lost did arrive after all."""
        return (stored.updated_at, stored.owner) in self._in_doubt

    def _is_as_saved(self, stored: Job) -> bool:
        return (stored.version, stored.updated_at) == (self._saved.version, self._saved.updated_at)

    def _is_older(self, stored: Job) -> bool:
        """The ledger has lost writes that it had confirmed, and nobody has begun another attempt since."""
        known = self._saved
        # Nothing has left yet that must not be lost: an intent is written on the very row that is known, or not at all.
        if known.state is JobState.PLANNED or stored.is_terminal:
            return False
        is_same_attempt = stored.attempt_token in (None, known.attempt_token)
        return is_same_attempt and (stored.version < known.version or known.is_ahead_of(stored))

    async def _keep_what_nobody_else_has(self, stored: Job, after: Job, records: Sequence[AuditRecord]) -> None:
        """The answer to an attempt of which the row no longer knows: somebody has to look at both."""
        if after.attempt_token in (None, stored.attempt_token) or after.state is JobState.SUBMITTING:
            return
        if stored.has_ended_unsent and after.has_cost_nothing:
            return
        await self._keep_aside(after, records, LedgerError("the row is of another attempt by now"))
        await asyncio.to_thread(self._write_ahead.set_aside, after.id)
