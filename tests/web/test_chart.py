"""The chart of what was spent: heights, the cap, colours, and the figures beside it."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest

from ring_mcp.ledger.base import SpentDay
from ring_mcp.web.chart import DAYS, HEIGHT, OTHERS, RESERVED, draw_chart, first_day

TODAY = date(2026, 11, 28)


def spent(day: date, model: str, settled: str, reserved: str = "0", jobs: int = 1) -> SpentDay:
    return SpentDay(day=day, model=model, jobs=jobs, settled_usd=Decimal(settled), reserved_usd=Decimal(reserved))


def test_bars_are_as_high_as_their_sums() -> None:
    chart = draw_chart([spent(TODAY, "a", "2"), spent(TODAY - timedelta(days=1), "a", "1")], TODAY, None)
    yesterday, today = chart.segments
    assert today.height == pytest.approx(2 * yesterday.height, abs=0.2)
    assert today.y + today.height == pytest.approx(chart.base, abs=0.2)
    assert today.x > yesterday.x
    assert chart.total == "$3.00"


def test_models_stand_on_each_other_the_dearest_first() -> None:
    chart = draw_chart([spent(TODAY, "cheap", "0.1"), spent(TODAY, "dear", "0.4", "0.2")], TODAY, None)
    dear, cheap, reserved = chart.segments
    assert (dear.series, cheap.series, reserved.series) == ("1", "2", "reserved")
    assert dear.y == pytest.approx(cheap.y + cheap.height, abs=0.2)
    assert cheap.y == pytest.approx(reserved.y + reserved.height, abs=0.2)
    assert [name for _, name, _ in chart.legend] == ["dear", "cheap", RESERVED]


def test_many_models_share_the_last_colour() -> None:
    chart = draw_chart([spent(TODAY, f"model-{n}", str(10 - n)) for n in range(9)], TODAY, None)
    assert chart.legend[-1] == ("7", OTHERS, "$9.00")
    assert len(chart.segments) == 7


@pytest.mark.parametrize(("cap", "words"), [("3", "cap $3.00 a day"), ("500", "cap $500.00 a day, above this scale")])
def test_a_cap_is_drawn_or_told(cap: str, words: str) -> None:
    chart = draw_chart([spent(TODAY, "a", "1")], TODAY, Decimal(cap))
    assert chart.cap_words == words
    assert chart.cap_y is not None
    [bar] = chart.segments
    assert chart.cap_y < bar.y
    assert 0 < chart.cap_y < HEIGHT
    assert bar.height > 20, "a far cap does not flatten what was spent"


def test_a_cap_of_nothing_lies_on_the_ground() -> None:
    chart = draw_chart([spent(TODAY, "a", "1")], TODAY, Decimal(0))
    assert chart.cap_y == pytest.approx(chart.base, abs=0.2)


def test_nothing_spent_is_an_empty_chart() -> None:
    chart = draw_chart([], TODAY, None)
    assert (chart.segments, chart.legend, chart.rows, chart.total) == ((), (), (), "$0.00")


def test_only_the_last_days_are_drawn() -> None:
    before, on_it = first_day(TODAY) - timedelta(days=1), first_day(TODAY)
    chart = draw_chart([spent(before, "a", "5"), spent(on_it, "a", "1")], TODAY, None)
    assert (chart.total, [row.day for row in chart.rows]) == ("$1.00", [on_it])
    assert (TODAY - on_it).days == DAYS - 1


def test_the_table_has_every_day_the_newest_first() -> None:
    days = [spent(TODAY, "a", "1", jobs=2), spent(TODAY, "b", "0.5"), spent(TODAY - timedelta(days=3), "a", "2")]
    chart = draw_chart(days, TODAY, None)
    assert [(row.day, row.total, row.jobs) for row in chart.rows] == [
        (TODAY, "$1.50", 3),
        (TODAY - timedelta(days=3), "$2.00", 1),
    ]
    assert chart.summary.startswith("$3.50 for 4 jobs ")
