"""Three hundred jobs in bad weather, and the known bugs that have to turn such a run red."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.weather.launcher import SYMPTOMS
from tests.weather.page import PAGE
from tests.weather.report import run, run_planted

JOBS = 300
SEED = "20261128"
JOBS_TO_FIND_A_BUG = 40

Record = Callable[[str, object], None]


@pytest.mark.weather
async def test_three_hundred_jobs_in_bad_weather_are_done_once_and_paid_once(
    tmp_path: Path, record_property: Record
) -> None:
    report = await run(tmp_path, JOBS, SEED)
    record_property(PAGE, report.lines())
    assert not report.problems
    assert not report.missed, "a fault that met nothing has shown nothing"


@pytest.mark.weather
async def test_each_planted_bug_turns_the_run_red(tmp_path: Path, record_property: Record) -> None:
    found = await run_planted(tmp_path, JOBS_TO_FIND_A_BUG, SEED, tuple(SYMPTOMS))
    record_property(PAGE, [line for plant, report in found.items() for line in report.lines_about(plant)])
    assert [plant for plant, report in found.items() if not report.symptoms(plant)] == []
