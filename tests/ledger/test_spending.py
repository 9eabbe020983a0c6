"""What the sums are asked; that they are right stands in ``tests/contracts/test_ledger_sums.py``."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from ring_mcp.domain import JobState, Spend
from ring_mcp.ledger.rows import Dialect
from ring_mcp.ledger.spending import recount, spend_at, sum_costs
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import opened

SQLITE, POSTGRES = Dialect(text_times=True), Dialect(text_times=False)
LATE = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
SUMS = {"month": 40_000_000_000, "month_reserved": 30_000_000_000, "day": 20_000_000_000, "day_reserved": None}


@pytest.mark.parametrize(
    ("dialect", "day", "month"),
    [(SQLITE, "2026-12-31", "2026-12-01"), (POSTGRES, date(2026, 12, 31), date(2026, 12, 1))],
)
def test_day_and_month_begin_in_utc(dialect: Dialect, day: Any, month: Any) -> None:
    statement = next(sum_costs(LATE, True, dialect))
    assert statement.parameters == {"day": day, "month": month, "sandbox": True}


def test_caps_ask_for_sums_of_money_alone() -> None:
    asking = sum_costs(LATE, False, SQLITE)
    next(asking)
    with pytest.raises(StopIteration) as stop:
        asking.send([SUMS])
    assert stop.value.value == Spend(
        month_usd=Decimal(4), month_reserved_usd=Decimal(3), day_usd=Decimal(2), day_reserved_usd=Decimal(0)
    )


def test_who_asks_what_was_spent_hears_of_open_jobs_too() -> None:
    asking = spend_at(LATE, False, SQLITE)
    next(asking)
    assert "media_job_counts" in asking.send([SUMS]).sql
    with pytest.raises(StopIteration) as stop:
        asking.send([{"open_jobs": 5, "unknown_jobs": 1}])
    spend = stop.value.value
    assert (spend.open_jobs, spend.unknown_jobs, spend.day_usd) == (5, 1, Decimal(2))


def test_nobody_writes_a_job_while_sums_are_made_anew() -> None:
    assert next(recount(POSTGRES)).sql.startswith("LOCK TABLE media_jobs IN SHARE ROW EXCLUSIVE")
    assert next(recount(SQLITE)).sql == "DELETE FROM media_job_costs", "a writer is alone in SQLite anyway"


async def test_sums_made_anew_are_those_that_were_kept(sqlite: LedgerDatabase) -> None:
    """Of two jobs and more of each kind, so that a sum is more than one of them."""
    tables = ("media_job_costs", "media_job_counts", "media_job_days", "media_job_states")

    def sums() -> list[list[str]]:
        found = [sqlite.query(f"SELECT * FROM {name}") for name in tables]
        return [sorted(str(row) for row in rows if row.get("jobs") != 0) for rows in found]

    several: list[dict[str, Any]] = [*[{}] * 3, *[{"actor_id": "ann"}] * 2, *[{"sandbox": True}] * 2]
    async with sqlite.started() as ledger:
        for state in (JobState.RENDERING, JobState.UNKNOWN, JobState.DONE):
            for facts in several:
                await opened(ledger, state, **facts)
        kept = sums()
        for name in tables:
            sqlite.query(f"DELETE FROM {name}")
        assert sums() == [[], [], [], []]
        for _ in range(2):  # of what is not there, and of what is
            await ledger.recount()
            assert sums() == kept
