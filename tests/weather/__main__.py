"""Jobs in bad weather, for as long as is asked: prints what every fault met, and what became of every job and cent.

uv run python -m tests.weather --jobs 2000 --seed 7
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path

from tests.weather.launcher import SYMPTOMS
from tests.weather.report import Report, run, run_planted


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.weather", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--seed", default="20261128")
    parser.add_argument("--plant", choices=[*SYMPTOMS, "all"], help="plant a known bug, which has to turn the run red")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was mounted and started is taken down as well
    with tempfile.TemporaryDirectory(prefix="ring-weather-", ignore_cleanup_errors=True) as name:
        if asked.plant is None:
            report = asyncio.run(run(Path(name), asked.jobs, asked.seed))
            print("\n".join(report.lines()))
            return 0 if report.is_green else 1
        return _planted(Path(name), asked.jobs, asked.seed, tuple(SYMPTOMS) if asked.plant == "all" else (asked.plant,))


def _planted(folder: Path, jobs: int, seed: str, plants: tuple[str, ...]) -> int:
    """0 if every planted bug was found."""
    found: dict[str, Report] = asyncio.run(run_planted(folder, jobs, seed, plants))
    for plant, report in found.items():
        symptoms = report.symptoms(plant)
        verdict = "red" if symptoms else "NOT FOUND"
        print(f"{plant}: {verdict}; {len(symptoms)} of {len(report.problems)} problems tell of it")
        print("\n".join(f"    {problem[:300]}" for problem in symptoms[:3]))
    return 0 if all(report.symptoms(plant) for plant, report in found.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
