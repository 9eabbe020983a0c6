"""What a transaction is made of: statements, and the pieces of SQL that several of them share.

A transaction is a generator: it yields statements and is sent their rows, and never touches a database. A backend runs
it: SQLite in its worker thread, PostgreSQL on the event loop. Parameters are written ``:name``.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from ring_mcp.domain import DRIVEN

T = TypeVar("T")


class Statement(NamedTuple):
    sql: str
    parameters: Mapping[str, Any] = {}


Row = Mapping[str, Any]
Condition = tuple[str, Mapping[str, Any]]
"""A piece of a WHERE clause, with its parameters."""

# A generator and no coroutine: SQLite's thread has no event loop, and a transaction knows neither driver.
Transaction = Generator[Statement, Sequence[Row], T]

DRIVEN_SQL = "('" + "', '".join(sorted(DRIVEN)) + "')"
IS_DRIVEN = "(finished_at IS NULL AND state <> 'unknown')"
"""Being in DRIVEN_SQL, in the words of the index of open jobs: SQLite finds an index by the text of its condition."""

COST_NOTHING = "(state IN ('failed', 'refused', 'expired') AND settled_usd_ticks = 0)"
