"""What was spent and billed: sums kept by triggers (``003_flat``), and compared with the rows on demand."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal

from ring_mcp.domain import Spend, day_start, month_start
from ring_mcp.ledger.base import BilledDay, SpentDay, WrongSum
from ring_mcp.ledger.fleet import find_wrong_states, recount_states
from ring_mcp.ledger.rows import TICKS_PER_USD, Dialect, encode, ticks_to_usd
from ring_mcp.ledger.statements import DRIVEN_SQL, Row, Statement, Transaction

_OPEN = f"(CASE WHEN state IN {DRIVEN_SQL} THEN 1 ELSE 0 END)"
_UNKNOWN = "(CASE WHEN state = 'unknown' THEN 1 ELSE 0 END)"


def spend_at(now: datetime, sandbox: bool, dialect: Dialect, actor_id: str | None = None) -> Transaction[Spend]:
    """What counts against the caps and how many jobs are open, of one actor or of all."""
    spend = yield from sum_costs(now, sandbox, dialect, actor_id)
    of, parameters = _of(actor_id)
    rows = yield Statement(
        "SELECT COALESCE(SUM(open_jobs), 0) AS open_jobs, COALESCE(SUM(unknown_jobs), 0) AS unknown_jobs"  # noqa: S608
        f" FROM media_job_counts WHERE sandbox = :sandbox{of}",
        {"sandbox": encode("sandbox", sandbox, dialect), **parameters},
    )
    return replace(spend, unknown_jobs=int(rows[0]["unknown_jobs"]), open_jobs=int(rows[0]["open_jobs"]))


def sum_costs(now: datetime, sandbox: bool, dialect: Dialect, actor_id: str | None = None) -> Transaction[Spend]:
    """What counts against the caps, of one actor or of all; jobs are not counted."""
    of, parameters = _of(actor_id)
    # Both windows in one read: the day is part of its month.
    rows = yield Statement(
        "SELECT COALESCE(SUM(settled_usd_ticks + reserved_usd_ticks), 0) AS month,"  # noqa: S608
        " COALESCE(SUM(reserved_usd_ticks), 0) AS month_reserved,"
        " COALESCE(SUM(CASE WHEN day >= :day THEN settled_usd_ticks + reserved_usd_ticks ELSE 0 END), 0) AS day,"
        " COALESCE(SUM(CASE WHEN day >= :day THEN reserved_usd_ticks ELSE 0 END), 0) AS day_reserved"
        f" FROM media_job_costs WHERE sandbox = :sandbox AND day >= :month{of}",
        {
            "day": dialect.day(day_start(now)),
            "month": dialect.day(month_start(now)),
            "sandbox": encode("sandbox", sandbox, dialect),
            **parameters,
        },
    )
    row = rows[0]
    return Spend(
        day_usd=ticks_to_usd(row["day"]) or Decimal(0),
        month_usd=ticks_to_usd(row["month"]) or Decimal(0),
        day_reserved_usd=ticks_to_usd(row["day_reserved"]) or Decimal(0),
        month_reserved_usd=ticks_to_usd(row["month_reserved"]) or Decimal(0),
    )


def _of(actor_id: str | None) -> tuple[str, dict[str, str]]:
    return ("", {}) if actor_id is None else (" AND actor_id = :actor_id", {"actor_id": actor_id})


def select_bills(since: datetime, sandbox: bool, dialect: Dialect) -> Transaction[list[BilledDay]]:
    rows = yield Statement(
        "SELECT day, model, prices_of, jobs, billed_usd_ticks, listed_usd_ticks FROM media_job_bills"
        " WHERE sandbox = :sandbox AND day >= :since ORDER BY day DESC",
        {"sandbox": encode("sandbox", sandbox, dialect), "since": dialect.day(since)},
    )
    return [
        BilledDay(
            day=_read_day(row["day"]),
            model=row["model"],
            prices_of=row["prices_of"],
            jobs=int(row["jobs"]),
            billed_usd=ticks_to_usd(row["billed_usd_ticks"]) or Decimal(0),
            listed_usd=ticks_to_usd(row["listed_usd_ticks"]) or Decimal(0),
        )
        for row in rows
    ]


def select_days(actor_id: str, since: datetime, sandbox: bool, dialect: Dialect) -> Transaction[list[SpentDay]]:
    rows = yield Statement(
        "SELECT day, model, jobs, settled_usd_ticks, reserved_usd_ticks FROM media_job_days"
        " WHERE sandbox = :sandbox AND actor_id = :actor AND day >= :since AND jobs > 0 ORDER BY day DESC, model",
        {
            "sandbox": encode("sandbox", sandbox, dialect),
            "actor": encode("actor_id", actor_id, dialect),
            "since": dialect.day(since),
        },
    )
    return [
        SpentDay(
            day=_read_day(row["day"]),
            model=row["model"],
            jobs=int(row["jobs"]),
            settled_usd=ticks_to_usd(row["settled_usd_ticks"]) or Decimal(0),
            reserved_usd=ticks_to_usd(row["reserved_usd_ticks"]) or Decimal(0),
        )
        for row in rows
    ]


def _read_day(value: str | date) -> date:
    return date.fromisoformat(value) if isinstance(value, str) else value


def find_wrong_sums(dialect: Dialect) -> Transaction[list[WrongSum]]:
    """Every sum that is not the sum of its rows. Each table is compared in one statement, so at one moment."""
    differences = yield Statement(
        "SELECT sandbox, day, actor_id, SUM(settled) AS settled, SUM(reserved) AS reserved FROM ("  # noqa: S608
        "SELECT sandbox, day, actor_id, settled_usd_ticks AS settled, reserved_usd_ticks AS reserved"
        " FROM media_job_costs UNION ALL"
        f" SELECT sandbox, {dialect.day_of('created_at')}, actor_id, -COALESCE(settled_usd_ticks, 0),"
        " CASE WHEN settled_usd_ticks IS NULL THEN -reserved_usd_ticks ELSE 0 END FROM media_jobs"
        ") AS each_one GROUP BY sandbox, day, actor_id HAVING SUM(settled) <> 0 OR SUM(reserved) <> 0"
        " ORDER BY day, actor_id, sandbox"
    )
    wrong = [
        WrongSum(what=f"{what} of {row['day']}", of=_whose(row), too_much=Decimal(row[name]) / TICKS_PER_USD)
        for row in differences
        for name, what in (("settled", "US dollars settled"), ("reserved", "US dollars reserved"))
        if row[name]
    ]
    differences = yield Statement(
        "SELECT sandbox, actor_id, SUM(open_jobs) AS open_jobs, SUM(unknown_jobs) AS unknown_jobs FROM ("  # noqa: S608
        "SELECT sandbox, actor_id, open_jobs, unknown_jobs FROM media_job_counts UNION ALL"
        # Only rows that have not ended, by their index: the others count nothing here.
        f" SELECT sandbox, actor_id, -{_OPEN}, -{_UNKNOWN} FROM media_jobs WHERE finished_at IS NULL"
        ") AS each_one GROUP BY sandbox, actor_id HAVING SUM(open_jobs) <> 0 OR SUM(unknown_jobs) <> 0"
        " ORDER BY actor_id, sandbox"
    )
    wrong += yield from find_wrong_states(dialect)
    wrong += [
        WrongSum(what=what, of=_whose(row), too_much=Decimal(row[name]))
        for row in differences
        for name, what in (("open_jobs", "open jobs"), ("unknown_jobs", "jobs of unknown outcome"))
        if row[name]
    ]
    differences = yield Statement(
        "SELECT sandbox, actor_id, day, model, SUM(settled + reserved) AS usd, SUM(jobs) AS jobs FROM ("  # noqa: S608
        "SELECT sandbox, actor_id, day, model, settled_usd_ticks AS settled, reserved_usd_ticks AS reserved, jobs"
        " FROM media_job_days UNION ALL"
        f" SELECT sandbox, actor_id, {dialect.day_of('created_at')}, {dialect.model()},"
        " -COALESCE(settled_usd_ticks, 0), CASE WHEN settled_usd_ticks IS NULL THEN -reserved_usd_ticks ELSE 0 END, -1"
        " FROM media_jobs) AS each_one GROUP BY sandbox, actor_id, day, model"
        " HAVING SUM(settled) <> 0 OR SUM(reserved) <> 0 OR SUM(jobs) <> 0 ORDER BY day, actor_id, model, sandbox"
    )
    return wrong + [
        WrongSum(
            what=f"US dollars of {int(row['jobs']):+d} jobs of {row['model']} of {row['day']}",
            of=_whose(row),
            too_much=Decimal(row["usd"]) / TICKS_PER_USD,
        )
        for row in differences
    ]


def recount(dialect: Dialect) -> Transaction[None]:
    """Compute every sum anew from the rows. No job is written meanwhile."""
    if not dialect.text_times:
        # Writers wait, readers do not; in SQLite a writer is alone anyway.
        yield Statement("LOCK TABLE media_jobs IN SHARE ROW EXCLUSIVE MODE")
    yield Statement("DELETE FROM media_job_costs")
    yield Statement(
        "INSERT INTO media_job_costs (sandbox, day, actor_id, settled_usd_ticks, reserved_usd_ticks)"  # noqa: S608
        f" SELECT sandbox, {dialect.day_of('created_at')} AS day, actor_id, COALESCE(SUM(settled_usd_ticks), 0),"
        " SUM(CASE WHEN settled_usd_ticks IS NULL THEN reserved_usd_ticks ELSE 0 END)"
        " FROM media_jobs GROUP BY 1, 2, 3"
    )
    yield Statement("DELETE FROM media_job_counts")
    yield Statement(
        "INSERT INTO media_job_counts (sandbox, actor_id, open_jobs, unknown_jobs)"  # noqa: S608
        f" SELECT sandbox, actor_id, SUM({_OPEN}), SUM({_UNKNOWN})"
        " FROM media_jobs GROUP BY 1, 2"
    )
    yield from recount_states(dialect)
    yield Statement("DELETE FROM media_job_days")
    yield Statement(
        "INSERT INTO media_job_days (sandbox, actor_id, day, model, jobs, settled_usd_ticks, reserved_usd_ticks)"  # noqa: S608
        f" SELECT sandbox, actor_id, {dialect.day_of('created_at')} AS day, {dialect.model()} AS model, COUNT(*),"
        " COALESCE(SUM(settled_usd_ticks), 0),"
        " SUM(CASE WHEN settled_usd_ticks IS NULL THEN reserved_usd_ticks ELSE 0 END)"
        " FROM media_jobs GROUP BY 1, 2, 3, 4"
    )


def _whose(row: Row) -> str:
    return f"{row['actor_id']}, sandbox" if row["sandbox"] else str(row["actor_id"])
