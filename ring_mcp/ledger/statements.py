"""What a transaction is made of: statements, and the pieces of SQL that several of them share.

A transaction is a generator: it yields statements and is sent their rows, and never touches a database. A backend runs
it: SQLite in its worker thread, PostgreSQL on the event loop. Parameters are written ``:name``.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from ring_mcp.domain import DRIVEN

T = TypeVar("T")


class Statement(NamedTuple):
    sql: str
    parameters: Mapping[str, Any] = {}


Row = Mapping[str, Any]
Condition = tuple[str, Mapping[str, Any]]
"""A piece of a WHERE clause, with its parameters."""

# A generator and no coroutine: SQLite's thread has no event loop, and what is written once knows neither driver.
Transaction = Generator[Statement, Sequence[Row], T]

DRIVEN_SQL = "('" + "', '".join(sorted(DRIVEN)) + "')"
IS_DRIVEN = "(finished_at IS NULL AND state <> 'unknown')"
"""The same as to be in DRIVEN_SQL, in the words of the index of open jobs: SQLite compares texts."""

COST_NOTHING = "(state IN ('failed', 'refused', 'expired') AND settled_usd_ticks = 0)"


def in_list(name: str, values: Collection[str]) -> tuple[str, dict[str, str]]:
    """An IN list as text and parameters; an empty one is false."""
    if not values:
        return "(NULL)", {}
    parameters = {f"{name}{i}": str(value) for i, value in enumerate(sorted(values))}
    return f"({', '.join(f':{key}' for key in parameters)})", parameters
