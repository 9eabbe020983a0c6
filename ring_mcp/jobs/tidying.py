"""Files that dead processes left behind: removed when their jobs have ended, or when nobody can want them any more."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Sequence
from pathlib import Path

from ring_mcp.clock import Clock
from ring_mcp.domain import Job
from ring_mcp.errors import LedgerError
from ring_mcp.ledger.base import Ledger

_OF_A_JOB = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""The names of a job's files in the spool begin with its id."""

_KEEP_FILES_S = 30 * 24 * 3600.0
_TRY_AGAIN_S = 60.0


async def tidy_spool(spool: Path, ledger: Ledger, clock: Clock) -> None:
    """Remove from the spool what belongs to jobs that have ended, and what is old and belongs to none.

    What an open job may need stays, however old it is. A ledger that is down is asked again.
    """
    for path in await asyncio.to_thread(lambda: sorted(spool.glob("*"))):
        of_a_job = _OF_A_JOB.match(path.name)
        job = await _find(of_a_job[0], ledger, clock) if of_a_job else None
        if job.is_terminal if job is not None else await asyncio.to_thread(_is_old, path):
            with contextlib.suppress(OSError):
                path.unlink()


async def _find(job_id: str, ledger: Ledger, clock: Clock) -> Job | None:
    while True:
        try:
            return await ledger.get(job_id)
        except LedgerError:
            await clock.sleep(_TRY_AGAIN_S)


def remove_old_files(folders: Sequence[Path]) -> None:
    """Forget courtesies, such as previews, long after anybody has asked for them."""
    for folder in folders:
        for path in folder.glob("*"):
            if _is_old(path):
                with contextlib.suppress(OSError):
                    path.unlink()


def _is_old(path: Path) -> bool:
    try:
        return path.stat().st_mtime < time.time() - _KEEP_FILES_S
    except OSError:
        return False
