"""Files that dead processes left behind: removed when their jobs have ended, or when nobody can want them any more."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

from ring_mcp.clock import Clock
from ring_mcp.errors import LedgerError
from ring_mcp.ledger.base import Ledger

_ID_CHARS = 36
"""A job's id; the names of its files in the spool begin with it."""

_KEEP_FILES_S = 30 * 24 * 3600.0
_TRY_AGAIN_S = 60.0


async def tidy_spool(spool: Path, ledger: Ledger, clock: Clock) -> None:
    """Remove from the spool what belongs to jobs that have ended. A ledger that is down is tried again."""
    for path in await asyncio.to_thread(lambda: list(spool.glob("*-*-*-*-*-*.*"))):
        while True:
            try:
                job = await ledger.get(path.name[:_ID_CHARS])
                break
            except LedgerError:
                await clock.sleep(_TRY_AGAIN_S)
        if job is not None and job.is_terminal:
            with contextlib.suppress(OSError):
                path.unlink()


def remove_old_files(folders: Sequence[Path]) -> None:
    """Forget what crashes have left behind, long after any provider would still serve it."""
    oldest = time.time() - _KEEP_FILES_S
    for folder in folders:
        for path in folder.glob("*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()
