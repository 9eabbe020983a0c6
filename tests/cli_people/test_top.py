"""``ring-mcp top``: the fleet in a terminal of any width, and for scripts."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from rich.console import Console

from ring_mcp.cli.top import draw
from ring_mcp.conductors.fleet import Fleet
from ring_mcp.domain import Caps, JobState, Spend
from ring_mcp.domain.rates import RateReading
from ring_mcp.ledger.base import Process, Queued
from tests.cli_people.people import Person
from tests.fake_clock import START

JOBS = {
    JobState.PLANNED: 12,
    JobState.RENDERING: 1_987,
    JobState.STORING: 3,
    JobState.UNKNOWN: 2,
    JobState.DONE: 88_123,
}
LONG = "a-machine-whose-name-is-longer-than-what-a-narrow-terminal-has-room-for.example:123456"


def busy_fleet(processes: int = 3) -> Fleet:
    return Fleet(
        at=START,
        queued=Queued(
            jobs={state: JOBS.get(state, 0) for state in JobState}, waiting_since=START - timedelta(seconds=83)
        ),
        processes=tuple(
            Process(role="worker", place=LONG if i == 0 else f"host-{i}:{i}", since=START - timedelta(hours=i * 11))
            for i in range(processes)
        ),
        spend=Spend(
            day_usd=Decimal("48.20"),
            month_usd=Decimal("1203.44"),
            day_reserved_usd=Decimal("9.10"),
            month_reserved_usd=Decimal("9.10"),
        ),
        caps=Caps(per_day_usd=Decimal(50)),
        sandbox=False,
        rates=(
            reading("grok-imagine-video", 0.4),
            reading("a-model-with-a-name-that-is-longer-than-a-narrow-terminal-is-wide", 1.0, slowed=3.5),
            reading("of-last-year", 0.0),
        ),
    )


def reading(model: str, full: float, slowed: float = 1.0) -> RateReading:
    return RateReading(provider="xai", model=model, asking="submit", full=full, slowed=slowed, paused_s=0.0, waiting=0)


def lines(fleet: Fleet, width: int) -> list[str]:
    console = Console(width=width, highlight=False, color_system=None)
    with console.capture() as captured:
        console.print(draw(fleet, width))
    return captured.get().splitlines()


@pytest.mark.parametrize("width", [60, 100, 200])
def test_every_line_fits_the_terminal(width: int) -> None:
    drawn = lines(busy_fleet(), width)
    assert max(map(len, drawn)) <= width
    assert len(drawn) == len(lines(busy_fleet(), 300)), "no line is broken"


def test_what_is_under_way_is_there_in_figures() -> None:
    text = "\n".join(lines(busy_fleet(), 60))
    for told in (
        "2,002 jobs under way",
        "1,987",
        "88,123",
        "1m 23s  the oldest that is planned",
        "$48.20",
        "cap $50",
        "22h 0m",
    ):
        assert told in text, text


def test_rates_that_are_held_back_stand_first() -> None:
    drawn = [line.strip() for line in lines(busy_fleet(), 80)]
    first = drawn.index("RATES")
    assert drawn[first + 1].split()[:2] == ["submit", "100%"]
    assert drawn[first + 1].endswith("3.5 x slower")
    assert drawn[first + 2].split() == ["submit", "40%", "grok-imagine-video"]
    assert drawn[first + 3] == "and 1 more", "what is idle is counted alone"


def test_of_very_many_processes_some_are_counted_alone() -> None:
    assert lines(busy_fleet(25), 60)[-1].strip() == "and 5 more"


def test_top_shows_a_ledger_without_a_server(person: Person) -> None:
    shown = person.types("top", "--once")
    assert shown.returncode == 0, shown.stderr
    assert "0 jobs under way" in shown.stdout
    assert "PROCESSES 0" in shown.stdout, "whoever looks is not counted"


def test_top_answers_programs_with_json(person: Person) -> None:
    shown = person.types("top", "--json")
    facts = json.loads(shown.stdout)
    assert facts["jobs"]["planned"] == 0
    assert facts["rates"] == []
    assert facts["day"] == {"usd": 0.0, "reservedUsd": 0.0}
