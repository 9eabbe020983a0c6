"""Three hundred jobs in bad weather, and the known bugs that have to turn such a run red."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.weather.launcher import SYMPTOMS
from tests.weather.report import run, run_planted

JOBS = 300
SEED = "20261128"
JOBS_TO_FIND_A_BUG = 40


@pytest.mark.weather
async def test_three_hundred_jobs_in_bad_weather_are_done_once_and_paid_once(tmp_path: Path) -> None:
    report = await run(tmp_path, JOBS, SEED)
    print("\n".join(["", *report.lines()]))
    assert not report.problems
    assert not report.missed, "a fault that met nothing has shown nothing"


@pytest.mark.weather
async def test_each_planted_bug_turns_the_run_red(tmp_path: Path) -> None:
    found = await run_planted(tmp_path, JOBS_TO_FIND_A_BUG, SEED, tuple(SYMPTOMS))
    for plant, report in found.items():
        print(f"\n{plant}: {report.symptoms(plant)[:2]}")
    assert [plant for plant, report in found.items() if not report.symptoms(plant)] == []
