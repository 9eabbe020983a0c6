"""All scenarios of a run, and the page that is printed of them."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.weather.faults import FAULTS, unmet_faults
from tests.weather.launcher import SYMPTOMS
from tests.weather.logbook import AWAY, NO_JOB, Logbook
from tests.weather.scenario import SCENARIOS, Scenario, Voyage, sail
from tests.weather.storms import STATES, STORMS, unmet_storms

SHOWN = 25


@dataclass(frozen=True, kw_only=True)
class Report:
    seed: str
    voyages: Sequence[Voyage]
    logbook: Logbook
    with_database: bool
    """Whether there was a database that can be taken away."""

    @property
    def problems(self) -> list[str]:
        """What is wrong with jobs, money or files."""
        return [f"{each.outcome.name}: {problem}" for each in self.voyages for problem in each.outcome.problems]

    @property
    def missed(self) -> list[str]:
        """Faults that never met the state they aim at: the run has shown nothing of them."""
        return [*unmet_faults(self.logbook), *unmet_storms(self.logbook, with_database=self.with_database)]

    @property
    def is_green(self) -> bool:
        return not self.problems and not self.missed

    def symptoms(self, plant: str) -> list[str]:
        """The problems that tell of this bug, and of no other."""
        return [problem for problem in self.problems if re.search(SYMPTOMS[plant], problem)]

    def lines_about(self, plant: str) -> list[str]:
        """Whether this bug was found, and the first of its symptoms."""
        symptoms = self.symptoms(plant)
        verdict = "red" if symptoms else "NOT FOUND"
        return [
            f"{plant}: {verdict}; {len(symptoms)} of {len(self.problems)} problems tell of it",
            *(f"    {problem[:300]}" for problem in symptoms[:3]),
        ]

    def lines(self) -> list[str]:
        return [
            *self._faults_as_lines(),
            "",
            *(line for each in self.voyages for line in _lines_of(each)),
            *(f"PROBLEM {problem}" for problem in self.problems),
            *(f"NEVER MET {missed}" for missed in self.missed),
            f"weather, seed {self.seed}: {'green' if self.is_green else 'RED'}",
        ]

    def _faults_as_lines(self) -> list[str]:
        met, storms = self.logbook.faults, self.logbook.storms
        head = " ".join(f"{state:>10}" for state in STATES)
        lines = [f"{'fault, and the job whose request it met':40} {head} {'ended':>10} {'unread':>10}"]
        for fault in FAULTS:
            figures = " ".join(f"{met[fault.meets, fault.name, state]:>10}" for state in (*STATES, NO_JOB, AWAY))
            lines.append(f"{fault.meets:9} {fault.name:30} {figures}")
        lines += ["", f"{'storm, and the jobs that it met':40} {head}"]
        for storm in STORMS:
            lines.append(f"{storm.name:40} " + " ".join(f"{storms[storm.name, state]:>10}" for state in STATES))
        return lines


def _lines_of(voyage: Voyage) -> list[str]:
    told = voyage.outcome
    shown = ", ".join(told.unknown[:SHOWN]) + (f" and {len(told.unknown) - SHOWN} more" if told.unknown[SHOWN:] else "")
    return [
        f"{told.name}: {told.wished} results asked for, {told.rows} jobs in {told.seconds:.0f} s; "
        f"the disk was {voyage.disk}",
        f"    bad weather for {told.weather_s:.0f} s, and {told.settle_s:.0f} s more until no job was under way; "
        f"the last: {[_place_of(row) for row in told.last_home[:3]]}",
        f"    callers were told {dict(told.told)}",
        f"    states {dict(told.states)}; ended badly {dict(told.ended_badly)}",
        f"    billed {told.books_usd} = settled {told.settled_usd} + of unknown outcome {told.of_unknown_usd} "
        f"+ of answers cut off, at list prices, {told.of_cut_off_usd} USD; "
        f"cap {told.cap_usd}, {told.refused_by_cap} calls refused by it",
        f"    {len(told.unknown)} unknown: {shown or 'none'}",
    ]


def _place_of(row: Mapping[str, Any]) -> str:
    return f"{row['state']}, {str(row['failure'])[:120]}"


async def run(
    folder: Path, jobs: int, seed: str, scenarios: Sequence[Scenario] = SCENARIOS, *, keep_logs: bool = False
) -> Report:
    """All scenarios side by side, each with its share of the jobs and a folder of its own, which may stay."""

    logbook = Logbook()

    async def one(number: int, scenario: Scenario) -> Voyage:
        own = folder / str(number)
        own.mkdir()
        try:
            return await sail(scenario, own, round(jobs * scenario.share), seed, logbook)
        finally:
            if not keep_logs:
                await asyncio.to_thread(shutil.rmtree, own, ignore_errors=True)

    voyages = await asyncio.gather(*(one(number, scenario) for number, scenario in enumerate(scenarios)))
    with_database = any(scenario.ledger == "postgres" for scenario in scenarios)
    return Report(seed=seed, voyages=voyages, logbook=logbook, with_database=with_database)


async def run_planted(folder: Path, jobs: int, seed: str, plants: Sequence[str]) -> dict[str, Report]:
    """Each bug in a world of its own, with all of these jobs."""

    async def one(plant: str) -> Report:
        own = folder / plant
        own.mkdir()
        logbook = Logbook()
        voyage = await sail(SCENARIOS[0], own, jobs, seed, logbook, plant)
        return Report(seed=seed, voyages=[voyage], logbook=logbook, with_database=False)

    return dict(zip(plants, await asyncio.gather(*map(one, plants)), strict=True))
