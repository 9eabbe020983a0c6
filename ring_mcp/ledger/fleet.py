"""The state of the whole fleet: jobs by state and age of the queue, from sums that the tables keep; its processes."""

from __future__ import annotations

import os
import platform
from datetime import datetime
from decimal import Decimal

from ring_mcp.domain import JobState
from ring_mcp.ledger.base import Process, Queued, WrongSum
from ring_mcp.ledger.rows import Dialect, encode
from ring_mcp.ledger.statements import Statement, Transaction

PROGRAM = "ring-mcp"


def count_jobs(sandbox: bool, dialect: Dialect) -> Transaction[Queued]:
    rows = yield Statement(
        "SELECT state, SUM(jobs) AS jobs FROM media_job_states WHERE sandbox = :sandbox GROUP BY state",
        {"sandbox": encode("sandbox", sandbox, dialect)},
    )
    jobs = {JobState(row["state"]): int(row["jobs"]) for row in rows}
    rows = yield Statement(
        "SELECT created_at FROM media_jobs WHERE sandbox = :sandbox AND state = 'planned' ORDER BY created_at LIMIT 1",
        {"sandbox": encode("sandbox", sandbox, dialect)},
    )
    waiting_since = dialect.read_time(rows[0]["created_at"]) if rows else None
    return Queued(jobs={state: jobs.get(state, 0) for state in JobState}, waiting_since=waiting_since)


def find_wrong_states(dialect: Dialect) -> Transaction[list[WrongSum]]:
    differences = yield Statement(
        # Each row takes one away from its sum: what is left over is wrong, even if there is no sum at all.
        "SELECT sandbox, state, SUM(jobs) AS jobs FROM (SELECT sandbox, state, jobs FROM media_job_states UNION ALL"
        " SELECT sandbox, state, -1 FROM media_jobs) AS each_one"
        " GROUP BY sandbox, state HAVING SUM(jobs) <> 0 ORDER BY state, sandbox"
    )
    return [
        WrongSum(
            what=f"{row['state']} jobs",
            of="everybody, sandbox" if row["sandbox"] else "everybody",
            too_much=Decimal(row["jobs"]),
        )
        for row in differences
    ]


def recount_states(dialect: Dialect) -> Transaction[None]:
    yield Statement("DELETE FROM media_job_states")
    # PostgreSQL keeps a sum in parts (007_states); computed anew, it may be in one part.
    part = "" if dialect.text_times else ", 0"
    names = "sandbox, state" if dialect.text_times else "sandbox, state, part"
    yield Statement(
        f"INSERT INTO media_job_states ({names}, jobs)"  # noqa: S608
        f" SELECT sandbox, state{part}, COUNT(*) FROM media_jobs GROUP BY sandbox, state"
    )


def name_this_process(role: str) -> str:
    return name_session(role, platform.node(), os.getpid())


def name_session(role: str, host: str, pid: int) -> str:
    """The name of a process's listening session (``application_name``: at most 63 bytes of ASCII)."""
    sound = "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in host)
    return f"{PROGRAM} {role} {sound[:32]}:{pid}"


def select_sessions() -> Transaction[list[Process]]:
    """The processes that listen to this database. A session ends with its process, so there is nothing to clean up."""
    rows = yield Statement(
        "SELECT application_name, backend_start FROM pg_stat_activity WHERE datname = current_database()"
        " AND starts_with(application_name, :program) ORDER BY backend_start",
        {"program": f"{PROGRAM} "},
    )
    return [read_process(row["application_name"], row["backend_start"]) for row in rows]


def read_process(label: str, since: datetime) -> Process:
    """``label``: as ``name_session`` makes it."""
    role, _, place = label.removeprefix(f"{PROGRAM} ").partition(" ")
    return Process(role=role or "unknown", place=place, since=since)
