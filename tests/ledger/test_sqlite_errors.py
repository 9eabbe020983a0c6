"""SQLite's words become the ledger's: which file it is, and what to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from ring_mcp.errors import LedgerError
from ring_mcp.ledger.sqlite_errors import translate_errors

FILE = Path("/state/ledger.db")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("attempt to write a readonly database", "cannot be written; point RING_STATE_DIR"),
        ("unable to open database file", "cannot be written; point RING_STATE_DIR"),
        ("database or disk is full", "is full; free some space"),
        ("file is not a database", "is damaged; restore it from a backup"),
        ("database disk image is malformed", "is damaged; restore it from a backup"),
        ("database is locked", "was locked by another process for 30 s; try again"),
        ("disk I/O error", "failed: disk I/O error; free some space if its disk is full"),
        ("something else", "failed: something else"),
    ],
)
def test_what_sqlite_says_is_told_with_the_file_and_a_way_out(said: str, told: str) -> None:
    with pytest.raises(LedgerError) as caught, translate_errors(FILE):
        raise sqlite3.OperationalError(said)
    assert str(FILE) in caught.value.message
    assert told in caught.value.message


def test_a_folder_that_cannot_be_used_is_named() -> None:
    with (
        pytest.raises(LedgerError, match="the state folder /state cannot be used: No space left"),
        translate_errors(FILE),
    ):
        raise OSError(28, "No space left on device")
