"""The numbered files of ``sql/``: applied once each, in order, never edited after a release."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass

from ring_mcp.package_data import data_path


@dataclass(frozen=True, slots=True)
class Migration:
    """``version`` is the number in the file's name."""

    version: int
    name: str
    sql: str


def migrations(backend: str) -> list[Migration]:
    """All migrations of a backend ("sqlite" or "postgres"), oldest first."""
    files = sorted((data_path("sql") / backend).glob("*.sql"))
    return [Migration(int(f.name.split("_", 1)[0]), f.name, f.read_text(encoding="utf-8")) for f in files]


def list_pending(backend: str, applied: Collection[int]) -> list[Migration]:
    return [m for m in migrations(backend) if m.version not in applied]


def split_statements(script: str) -> list[str]:
    """Split a script into statements: ``executescript`` would commit the transaction that guards the migration."""
    statements, current = [], ""
    for line in script.splitlines(keepends=True):
        current += line
        # Not at every semicolon: the body of a trigger has its own.
        if sqlite3.complete_statement(current):
            statements.append(current)
            current = ""
    return statements
