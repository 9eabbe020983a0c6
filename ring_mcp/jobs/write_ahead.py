"""Facts that the ledger does not have yet, in a folder: one file per job, replaced as a whole, synced to the disk."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter

from ring_mcp.domain import DRIVEN, AuditRecord, Job
from ring_mcp.errors import JobMoved
from ring_mcp.files import replace_file
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
        replace_file(path, json.dumps(content).encode())

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
