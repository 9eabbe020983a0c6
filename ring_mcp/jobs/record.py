"""One job in memory and in the ledger, kept together also while the ledger cannot be written.

Before the money is spent a write must succeed. Afterwards it may fail: the facts then go to a write-ahead file, the job
goes on, and the row is brought up to date as soon as the ledger is back, in this process or the next.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from ring_mcp.clock import Clock
from ring_mcp.domain import AuditRecord, Job, JobState
from ring_mcp.errors import JobMoved, LedgerError
from ring_mcp.jobs.write_ahead import WriteAhead
from ring_mcp.ledger.base import Ledger

logger = logging.getLogger(__name__)


class JobRecord:
    """The job that is being driven: ``job`` is its newest state; ``on_change`` is told of each, and whether the ledger
    lacks it.

    ``is_orphan``: it was taken over in the middle of a submit, whose answer can only come to somebody else.
    ``is_carried``: its request is made by the courier, which need not be waited for.
    """

    def __init__(
        self, job: Job, ledger: Ledger, write_ahead: WriteAhead, clock: Clock, on_change: Callable[[Job, bool], None]
    ) -> None:
        self.job = job
        self._saved = job
        self._ledger = ledger
        self._write_ahead = write_ahead
        self._clock = clock
        self._on_change = on_change
        self._owed: list[AuditRecord] = []
        self._in_doubt: list[tuple[datetime, str | None]] = []
        self.is_behind = False
        self.is_carried = False
        self.is_orphan = job.state is JobState.SUBMITTING

    @property
    def saved_progress(self) -> int:
        return self._saved.progress

    async def note(self, after: Job, *, write: bool) -> None:
        """Make ``after`` the job's state in memory; the next write carries it into the ledger."""
        if write:
            await self.write(after)
        else:
            self.job = after
            self._on_change(after, self.is_behind)

    async def write(self, after: Job, records: Sequence[AuditRecord] = (), *, must: bool = False) -> Job:
        """Make ``after`` the job's state, with the audit rows that belong to it.

        ``must``: raises LedgerError, and changes nothing, if the ledger cannot be written. Otherwise the facts are kept
        aside. Raises JobMoved if another process has taken the job. Finishes also when the caller is cancelled.
        """
        writing = asyncio.ensure_future(self._write(after, records, must))
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait({writing})
            raise

    async def _write(self, after: Job, records: Sequence[AuditRecord], must: bool) -> Job:
        after = replace(after, updated_at=self._clock.now())
        owed = [*self._owed, *records]
        try:
            after = await self._save(after, owed)
        except JobMoved:
            raise
        except LedgerError as exc:
            self._in_doubt.append((after.updated_at, after.owner))
            if must:
                raise
            logger.error("job %s: %s; facts are kept aside", after.id, exc.message)
            await self._keep_aside(after, owed)
            self._owed, self.is_behind = owed, True
        else:
            if self.is_behind:
                await asyncio.to_thread(self._write_ahead.forget, after.id)
            self._saved, self._owed, self._in_doubt, self.is_behind = after, [], [], False
        self.job = after
        self._on_change(after, self.is_behind)
        return after

    async def _keep_aside(self, after: Job, owed: Sequence[AuditRecord]) -> None:
        """What is in hand is never dropped: where the disk takes nothing either, it stays in memory and is tried again
        as long as the process lives, and its handle is in the log."""
        try:
            await asyncio.to_thread(self._write_ahead.keep, after, owed)
        except OSError as exc:
            logger.error(
                "job %s is %s, request id %s: neither the ledger nor the state folder can be written (%s)",
                after.id,
                after.state,
                after.provider_request_id or "none",
                exc.strerror,
            )

    async def _save(self, after: Job, records: Sequence[AuditRecord]) -> Job:
        try:
            return await self._ledger.save(self._saved, after, records)
        except JobMoved:
            stored = await self._ledger.get(after.id)
            if stored is None or not (self._is_our_own(stored) or _is_answered_by(stored, after)):
                raise
            if stored.is_terminal:
                return stored  # the last write of all, its audit rows included
            return await self._ledger.save(stored, replace(after, delivered_at=None), records)

    def _is_our_own(self, stored: Job) -> bool:
        """A write whose confirmation was lost did arrive after all."""
        return (stored.updated_at, stored.owner) in self._in_doubt

    async def catch_up(self) -> None:
        """Write what the ledger still lacks. Raises LedgerError if it still cannot be written."""
        if self.is_behind:
            await self.write(self.job, must=True)


def _is_answered_by(stored: Job, after: Job) -> bool:
    """Somebody took this very attempt over, or called it unknown, while its answer was on the way: the answer wins."""
    has_no_answer = stored.state in (JobState.SUBMITTING, JobState.UNKNOWN)
    return has_no_answer and stored.attempt_token is not None and stored.attempt_token == after.attempt_token
