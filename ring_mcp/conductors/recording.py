"""One job in memory and in the ledger, kept together also while the ledger cannot be written.

Before the money is spent a write must succeed. Afterwards it may fail: the facts then go to a write-ahead file, the job
goes on, and the row is brought up to date as soon as the ledger is back, in this process or the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter

from ring_mcp.clock import Clock
from ring_mcp.domain import DRIVEN, AuditRecord, Job, JobState
from ring_mcp.errors import JobMoved, LedgerError
from ring_mcp.ledger.base import Ledger

logger = logging.getLogger(__name__)

_JOB = TypeAdapter(Job)
_RECORDS = TypeAdapter(list[AuditRecord])


class WriteAhead:
    """A folder of facts that the ledger does not have yet: one file per job, replaced as a whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, job: Job, records: Sequence[AuditRecord]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / f"{job.id}.json"
        content = {
            "job": _JOB.dump_python(job, mode="json"),
            "records": _RECORDS.dump_python(list(records), mode="json"),
        }
        part = path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    def forget(self, job_id: str) -> None:
        (self._folder / f"{job_id}.json").unlink(missing_ok=True)

    async def replay(self, ledger: Ledger) -> None:
        """Write what a process before us could not. A file whose job went another way is left to be looked at."""
        for path in sorted(self._folder.glob("*.json")):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                kept, records = _JOB.validate_python(content["job"]), _RECORDS.validate_python(content["records"])
            except (OSError, ValueError, KeyError, TypeError):  # another process was quicker, or it is none of ours
                self._set_aside(path)
                continue
            await self._replay_one(path, kept, records, ledger)

    async def _replay_one(self, path: Path, kept: Job, records: Sequence[AuditRecord], ledger: Ledger) -> None:
        """These facts win over whoever has only taken the attempt over. The job is then free for the next driver."""
        while True:
            stored = await ledger.get(kept.id)
            if stored is not None and stored.is_terminal and stored.state is kept.state:
                self.forget(kept.id)
                return
            if stored is None or stored.is_terminal or stored.attempt_token != kept.attempt_token:
                self._set_aside(path)
                return
            free = {"owner": None, "due_at": kept.updated_at} if kept.state in DRIVEN else {"owner": stored.owner}
            with contextlib.suppress(JobMoved):  # somebody wrote it just now: look again
                await ledger.save(stored, replace(kept, version=stored.version, **free), records)
                self.forget(kept.id)
                return

    def _set_aside(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            path.rename(path.with_suffix(".stale"))
            logger.warning("job %s: facts kept aside do not fit the ledger; see %s", path.stem, path.parent)


class JobRecord:
    """The job that is being driven: ``job`` is its newest state, ``on_change`` is told of each.

    ``is_orphan``: it was taken over in the middle of a submit, whose answer can only come to somebody else.
    """

    def __init__(
        self, job: Job, ledger: Ledger, write_ahead: WriteAhead, clock: Clock, on_change: Callable[[Job], None]
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
            self._on_change(after)

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
            await asyncio.to_thread(self._write_ahead.keep, after, owed)
            self._owed, self.is_behind = owed, True
        else:
            if self.is_behind:
                await asyncio.to_thread(self._write_ahead.forget, after.id)
            self._saved, self._owed, self._in_doubt, self.is_behind = after, [], [], False
        self.job = after
        self._on_change(after)
        return after

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
