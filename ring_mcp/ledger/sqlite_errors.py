"""Errors of SQLite and of the disk, translated into LedgerError."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from ring_mcp.errors import LedgerError

BUSY_TIMEOUT_S = 30.0
"""How long a process waits for another one's write."""


@contextlib.contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """SQLite's and the disk's errors as LedgerError, with the file and what to do."""
    try:
        yield
    except sqlite3.DatabaseError as exc:
        raise LedgerError(_explain(path, exc)) from exc
    except OSError as exc:
        raise LedgerError(
            f"the state folder {path.parent} cannot be used: {exc.strerror}; point RING_STATE_DIR to a writable folder"
        ) from exc


def _explain(path: Path, exc: sqlite3.DatabaseError) -> str:
    text = str(exc)
    if "readonly" in text or "unable to open" in text:
        return f"the ledger {path} cannot be written; point RING_STATE_DIR to a writable folder"
    if "full" in text:
        return f"the disk that holds the ledger {path} is full; free some space"
    if "disk I/O" in text:  # as SQLite says it where its index of the WAL has no room
        return f"the ledger {path} failed: {text}; free some space if its disk is full, or see to the disk"
    if "not a database" in text or "malformed" in text:
        return f"the ledger {path} is damaged; restore it from a backup, or move the file away to start an empty one"
    if "locked" in text:
        return f"the ledger {path} was locked by another process for {BUSY_TIMEOUT_S:.0f} s; try again"
    return f"the ledger {path} failed: {text}"
