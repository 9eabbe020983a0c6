"""All scenarios of a run, and the page that is printed of them."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.weather.faults import FAULTS
from tests.weather.launcher import SYMPTOMS
from tests.weather.scenario import SCENARIOS, Scenario, Voyage, sail
from tests.weather.storms import STATES, STORMS

SHOWN = 25


@dataclass(frozen=True, kw_only=True)
class Report:
    seed: str
    voyages: Sequence[Voyage]
    storms: Counter[tuple[str, str]]
    """How often each storm met each state."""

    @property
    def problems(self) -> list[str]:
        """What is wrong with jobs, money or files."""
        return [f"{each.outcome.name}: {problem}" for each in self.voyages for problem in each.outcome.problems]

    @property
    def missed(self) -> list[str]:
        """Faults that never met the state they aim at: the run has shown nothing of them."""
        met, storms = self._met(), self.storms
        unmet = [f"{fault.meets}: {fault.name}" for fault in FAULTS if not met[fault.meets, fault.name, fault.state]]
        unmet += [f"{storm.name} at {aim}" for storm in STORMS for aim in storm.aims if not storms[storm.name, aim]]
        return unmet

    @property
    def is_green(self) -> bool:
        return not self.problems and not self.missed

    def _met(self) -> Counter[tuple[str, str, str]]:
        return sum((each.sky.met for each in self.voyages), Counter())

    def symptoms(self, plant: str) -> list[str]:
        """The problems that tell of this bug, and of no other."""
        return [problem for problem in self.problems if re.search(SYMPTOMS[plant], problem)]

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
        met, storms = self._met(), self.storms
        lines = [f"{'on the way':8} {'fault':28} {'state':12} {'fired':>6}"]
        lines += [
            f"{fault.meets:10} {fault.name:28} {fault.state:12} {met[fault.meets, fault.name, fault.state]:>6}"
            for fault in FAULTS
        ]
        lines += ["", f"{'storm (jobs it met, at each state)':38} " + " ".join(f"{state:>11}" for state in STATES)]
        for storm in STORMS:
            figures = " ".join(f"{storms[storm.name, state]:>11}" for state in STATES)
            lines.append(f"{storm.name:38} {figures}")
        return lines


def _lines_of(voyage: Voyage) -> list[str]:
    told = voyage.outcome
    shown = ", ".join(told.unknown[:SHOWN]) + (f" and {len(told.unknown) - SHOWN} more" if told.unknown[SHOWN:] else "")
    return [
        f"{told.name}: {told.wished} results asked for, {told.rows} jobs in {told.seconds:.0f} s; "
        f"the disk was {voyage.disk}",
        f"    callers were told {dict(told.told)}",
        f"    states {dict(told.states)}; ended badly {dict(told.ended_badly)}",
        f"    billed {told.books_usd} = settled {told.settled_usd} + of unknown outcome {told.of_unknown_usd} USD; "
        f"cap {told.cap_usd}, {told.refused_by_cap} calls refused by it",
        f"    {len(told.unknown)} unknown: {shown or 'none'}",
    ]


async def run(folder: Path, jobs: int, seed: str, scenarios: Sequence[Scenario] = SCENARIOS) -> Report:
    """All scenarios side by side, each with its share of the jobs."""

    met: Counter[tuple[str, str]] = Counter()

    async def one(number: int, scenario: Scenario) -> Voyage:
        own = folder / str(number)
        own.mkdir()
        try:
            return await sail(scenario, own, round(jobs * scenario.share), seed, met)
        finally:
            await asyncio.to_thread(shutil.rmtree, own, ignore_errors=True)

    voyages = await asyncio.gather(*(one(number, scenario) for number, scenario in enumerate(scenarios)))
    return Report(seed=seed, voyages=voyages, storms=met)


async def run_planted(folder: Path, jobs: int, seed: str, plants: Sequence[str]) -> dict[str, Report]:
    """Each bug in a world of its own, with all of these jobs."""

    async def one(plant: str) -> Report:
        own = folder / plant
        own.mkdir()
        met: Counter[tuple[str, str]] = Counter()
        return Report(seed=seed, voyages=[await sail(SCENARIOS[0], own, jobs, seed, met, plant)], storms=met)

    return dict(zip(plants, await asyncio.gather(*map(one, plants)), strict=True))
