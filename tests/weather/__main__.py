"""Jobs in bad weather, for as long as is asked: prints what every fault met, and what became of every job and cent.

uv run python -m tests.weather --jobs 2000 --seed 7
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.weather.launcher import SYMPTOMS
from tests.weather.report import Report, run, run_planted
from tests.weather.scenario import SCENARIOS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.weather", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--seed", default="20261128")
    parser.add_argument(
        "--world", choices=[each.name for each in SCENARIOS], help="this one alone, with all of the jobs"
    )
    parser.add_argument("--keep", type=Path, help="a folder that is not there yet, for the logs of the servers")
    parser.add_argument("--plant", choices=[*SYMPTOMS, "all"], help="plant a known bug, which has to turn the run red")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was mounted and started is taken down as well
    with tempfile.TemporaryDirectory(prefix="ring-weather-", ignore_cleanup_errors=True) as name:
        folder = asked.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=asked.keep is None)
        if asked.plant is not None:
            plants = tuple(SYMPTOMS) if asked.plant == "all" else (asked.plant,)
            return _planted(folder, asked.jobs, asked.seed, plants)
        scenarios = [replace(each, share=1.0) for each in SCENARIOS if each.name == asked.world] or SCENARIOS
        report = asyncio.run(run(folder, asked.jobs, asked.seed, scenarios, keep_logs=asked.keep is not None))
        print("\n".join(report.lines()))
        return 0 if report.is_green else 1


def _planted(folder: Path, jobs: int, seed: str, plants: tuple[str, ...]) -> int:
    """0 if every planted bug was found."""
    found: dict[str, Report] = asyncio.run(run_planted(folder, jobs, seed, plants))
    print("\n".join(line for plant, report in found.items() for line in report.lines_about(plant)))
    return 0 if all(report.symptoms(plant) for plant, report in found.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
