"""Writes that the ledger could not take yet, kept in a folder: one file per job, replaced as a whole and synced."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from ring_mcp.domain import DRIVEN, AuditRecord, Job, JobState
from ring_mcp.errors import JobMoved
from ring_mcp.files import replace_file
from ring_mcp.jobs.outcomes import come_late
from ring_mcp.ledger.base import Ledger

logger = logging.getLogger(__name__)


@cache  # of a job, it takes longer to make than any other, and most servers never keep one here
def _adapters() -> tuple[TypeAdapter[Job], TypeAdapter[list[AuditRecord]]]:
    return TypeAdapter(Job), TypeAdapter(list[AuditRecord])


class WriteAhead:
    """The folder of jobs and audit rows that the ledger does not have yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, job: Job, records: Sequence[AuditRecord]) -> None:
        """Keep a job and the audit rows that it owes. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._path(job.id)
        jobs, rows = _adapters()
        content = {
            "job": jobs.dump_python(job, mode="json"),
            "records": rows.dump_python(list(records)),  # their facts are JSON's own
        }
        replace_file(path, json.dumps(content).encode())

    def forget(self, job_id: str) -> None:
        """Remove what the ledger has by now. If that fails, the file is recognised as old when it is read."""
        with contextlib.suppress(OSError):
            self._path(job_id).unlink()

    def set_aside(self, job_id: str) -> None:
        """Rename what does not fit the ledger, for a person to look at."""
        path = self._path(job_id)
        with contextlib.suppress(OSError):
            path.rename(path.with_suffix(".stale"))
            logger.warning("job %s: facts kept aside do not fit the ledger; see %s", job_id, self.folder)

    def list_left(self) -> tuple[list[str], list[str]]:
        """Ids of jobs whose facts wait to be written, and of those whose facts were set aside; each sorted."""
        waiting, aside = (sorted(path.stem for path in self.folder.glob(f"*.{kind}")) for kind in ("json", "stale"))
        return waiting, aside

    def has(self, job_id: str) -> bool:
        """Whether anything of this job is kept here."""
        return self._path(job_id).exists()

    def read(self, job_id: str) -> tuple[Job, list[AuditRecord]] | None:
        """The job as it was kept, and the audit rows that it owes; None if nothing can be read.

        Raises OSError if it cannot be read now.
        """
        try:
            content = json.loads(self._path(job_id).read_bytes())
            jobs, rows = _adapters()
            return jobs.validate_python(content["job"]), rows.validate_python(content["records"])
        except FileNotFoundError:  # another process was quicker
            pass
        except (ValueError, KeyError, TypeError):  # not a file that we wrote
            self.set_aside(job_id)
        return None

    def is_news(self, kept: Job, stored: Job) -> bool:
        """Whether the row lacks what was kept. If not, the file is removed; or set aside if it does not fit the row."""
        if _is_known(kept, stored):
            self.forget(kept.id)
            return False
        # A row that is still a plan, or ended as one, has lost the attempt; no other one was begun, and none must be.
        is_plan = stored.state is JobState.PLANNED or stored.has_ended_unsent
        is_of_another = not is_plan and stored.attempt_token != kept.attempt_token
        if is_of_another or (stored.is_terminal and not stored.is_answered_by(kept)):
            self.set_aside(kept.id)
            return False
        return True

    async def replay(self, ledger: Ledger) -> None:
        """Write to the ledger what an earlier process could not; what does not fit is set aside. Raises LedgerError."""
        # One after another, ended by the ledger's error: the rest stays for the next try.
        for path in sorted(self.folder.glob("*.json")):
            try:
                found = self.read(path.stem)
            except OSError as exc:  # its driver waits until it can be read
                logger.warning("job %s: facts kept aside cannot be read now: %s", path.stem, exc.strerror)
                continue
            if found is not None:
                await self._replay_one(*found, ledger)

    async def _replay_one(self, kept: Job, records: Sequence[AuditRecord], ledger: Ledger) -> None:
        """These facts win over a process that has only taken the attempt over. The job is then free for a driver."""
        while True:
            stored = await ledger.get(kept.id)
            if stored is None and kept.state is not JobState.PLANNED:
                await self._restore(kept, records, ledger)
                return
            # Nothing was sent for it, so without its row there is no such job.
            if stored is None:
                self.forget(kept.id)
                return
            if not self.is_news(kept, stored):
                return
            with contextlib.suppress(JobMoved):  # another process has just written it: read it again
                await ledger.save(stored, come_late(stored, _free(kept, stored.owner)), records)
                self.forget(kept.id)
                return

    async def _restore(self, kept: Job, records: Sequence[AuditRecord], ledger: Ledger) -> None:
        await ledger.restore(_free(kept, kept.owner), records)
        self.forget(kept.id)
        logger.warning("job %s: the ledger had lost its row, which is written again", kept.id)

    def _path(self, job_id: str) -> Path:
        return self.folder / f"{job_id}.json"


def _free(kept: Job, owner: str | None) -> Job:
    """The job without an owner, due now, if there is anything left to drive; else with ``owner``."""
    return replace(kept, owner=None, due_at=kept.updated_at) if kept.state in DRIVEN else replace(kept, owner=owner)


def _is_known(kept: Job, stored: Job) -> bool:
    """Whether the row is of the same attempt and at least as far as what was kept."""
    if kept.state is JobState.PLANNED:
        # Nothing had been sent: whoever has carried the job on since knows at least as much.
        return stored.state is not JobState.PLANNED
    if stored.has_ended_unsent and kept.has_cost_nothing:
        return True
    if stored.attempt_token != kept.attempt_token or stored.is_answered_by(kept):
        return False
    if stored.is_terminal:
        is_done = stored.state is JobState.DONE and kept.billed_usd in (None, stored.billed_usd)
        return stored.state is kept.state or (is_done and kept.state in DRIVEN)
    return stored.is_ahead_of(kept)
