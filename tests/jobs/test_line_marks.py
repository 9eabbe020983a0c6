"""How often it is said which jobs wait in line, and of which."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from ring_mcp.errors import LedgerError
from ring_mcp.jobs.line_marks import MARK_EVERY_S, LineMarks
from ring_mcp.jobs.submitting import STALE_PLAN_S
from tests.fake_clock import FakeClock


class Marked:
    """A ledger that keeps what it was told, and refuses while ``is_away``."""

    def __init__(self) -> None:
        self.marks: list[Collection[str]] = []
        self.is_away = False

    async def mark_in_line(self, job_ids: Collection[str]) -> None:
        if self.is_away:
            raise LedgerError("away")
        self.marks.append(job_ids)


@pytest.fixture
def ledger() -> Any:
    return Marked()


def test_two_marks_may_fail_before_a_plan_is_too_old() -> None:
    assert MARK_EVERY_S * 3 < STALE_PLAN_S


async def test_what_waits_is_marked_every_two_minutes(ledger: Any, clock: FakeClock) -> None:
    marks = LineMarks(ledger, clock)
    for job_id in ("b", "a", "gone"):
        marks.add(job_id)
    marks.discard("gone")
    for _ in range(24):
        await marks.write()
        clock.advance(10.0)
    assert MARK_EVERY_S == 120.0
    assert ledger.marks == [["a", "b"], ["a", "b"]]


async def test_a_process_that_dies_young_has_marked_what_it_had(ledger: Any, clock: FakeClock) -> None:
    """Whoever kills every process within seconds must not make a line too old."""
    marks = LineMarks(ledger, clock)
    await marks.write()  # nothing has come yet
    clock.advance(5.0)
    marks.add("a")
    await marks.write()
    clock.advance(5.0)
    marks.add("a")  # it takes the next step in line
    marks.add("b")
    await marks.write()
    await marks.write()
    assert ledger.marks == [["a"], ["b"]]


async def test_where_nothing_waits_nothing_is_written(ledger: Any, clock: FakeClock) -> None:
    marks = LineMarks(ledger, clock)
    marks.add("a")
    marks.discard("a")
    marks.discard("never there")
    await marks.write()
    assert ledger.marks == []


async def test_a_ledger_that_is_away_is_told_the_next_time(ledger: Any, clock: FakeClock) -> None:
    marks = LineMarks(ledger, clock)
    marks.add("a")
    ledger.is_away = True
    await marks.write()
    marks.add("gone")
    marks.discard("gone")
    ledger.is_away = False
    await marks.write()
    assert ledger.marks == [["a"]]
