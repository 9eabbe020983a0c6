"""What is usual of a model, out of rows that are made by ``tests/contracts/test_ledger_rates.py`` on both databases."""

from __future__ import annotations

from typing import Any

import pytest

from ring_mcp.ledger import durations
from ring_mcp.ledger.base import Ledger
from ring_mcp.ledger.rows import Dialect
from tests.ledger_databases import LedgerDatabase


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> LedgerDatabase:
    found: LedgerDatabase = request.getfixturevalue(request.param)
    return found


async def note(ledger: Ledger, took_s: float) -> Any:
    """The quantiles after a job that took so long."""
    usual = await ledger.note_duration("a clip", took_s, sandbox=True)
    return pytest.approx((usual.quarter_s, usual.half_s, usual.most_s))


async def test_a_job_moves_each_quantile_by_its_part_of_a_step(database: LedgerDatabase) -> None:
    async with database.started() as ledger:
        assert await note(ledger, 100.0) == (100.0, 100.0, 100.0)
        step = 0.15 / 1.1 * 100.0
        quarter, half, most = 100.0 + step / 2, 100.0 + step, 100.0 + step * 1.5
        assert await note(ledger, 200.0) == (quarter, half, most)
        step = 0.15 / 1.2 * half
        quarter, half, most = quarter - step * 1.5, half - step, most - step / 2
        assert await note(ledger, 0.0) == (quarter, half, most)
        step = 0.15 / 1.3 * half
        assert await note(ledger, half + 1.0) == (quarter + step / 2, half + 1.0, most - step / 2), "no further"


async def test_what_is_known_well_still_follows_and_is_counted_to_a_million(database: LedgerDatabase) -> None:
    async with database.started() as ledger:
        await note(ledger, 100.0)
        database.query("UPDATE model_durations SET jobs = 999999")
        for took_s, half_s in ((200.0, 103.0), (0.0, 103.0 * 0.97)):
            usual = await ledger.note_duration("a clip", took_s, sandbox=True)
            assert usual.half_s == pytest.approx(half_s)
            assert usual.jobs == 1_000_000


def test_quantiles_that_have_passed_each_other_are_put_in_order() -> None:
    reading = durations.select("a model", False, Dialect(text_times=True))
    next(reading)
    with pytest.raises(StopIteration) as ended:
        reading.send([{"quarter_s": 9.0, "half_s": 8.0, "most_s": 10.0, "jobs": 2}])
    usual = ended.value.value
    assert (usual.quarter_s, usual.half_s, usual.most_s) == (8.0, 9.0, 10.0)


def test_nothing_is_usual_of_a_model_without_a_row() -> None:
    reading = durations.select("a model", False, Dialect(text_times=True))
    next(reading)
    with pytest.raises(StopIteration) as ended:
        reading.send([])
    assert ended.value.value is None
