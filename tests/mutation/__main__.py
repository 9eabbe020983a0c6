"""Whether the tests see small faults: some are planted, one at a time, and the tests nearest to each are run.

    uv run python -m tests.mutation                                  # a sample of each folder of the money path
    uv run python -m tests.mutation --paths ring_mcp/jobs/record.py --count 1000

A fault is seen if a test fails, or does not end: which says something as long as the same tests pass with nothing
planted, and so some are run first. A fault on a line that no test runs counts as unseen. Faults that make
no difference are listed in ``equivalent.toml``, each with its reason, and do not count. The same seed draws the same
faults as long as they are there, whatever else is changed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

from tests.mutation.equivalent import Equivalents
from tests.mutation.faults import Fault, faults_of, without
from tests.mutation.figures import Share, interval, together
from tests.mutation.lines import record
from tests.mutation.recording import PACKAGE
from tests.mutation.trials import Trial, try_all
from tests.postgres_server import URL_VARIABLE, server_url

ROOT = Path(__file__).parents[2]
PATHS = (
    "ring_mcp/jobs",
    "ring_mcp/ledger",
    "ring_mcp/plans",
    "ring_mcp/conductors",
    "ring_mcp/providers",
    "ring_mcp/storage",
)
TESTS = (
    "tests/jobs",
    "tests/contracts",
    "tests/conductors",
    "tests/ledger",
    "tests/plans",
    "tests/providers",
    "tests/storage",
)


CONTROL_EVERY = 20
"""So often the same tests are run with nothing planted: if they fail then, what they see is no fault."""


def modules(path: str) -> list[Path]:
    """The modules under this path, relative to the project."""
    found = [ROOT / path] if path.endswith(".py") else (ROOT / path).rglob("*.py")
    return sorted(module.relative_to(ROOT) for module in found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """``equivalent``: how many were drawn and put back. ``of_all``: how many there are under this path."""

    path: str
    faults: list[Fault]
    equivalent: int
    of_all: int


def sample(path: str, seed: int, count: int, equivalents: Equivalents) -> Sample:
    """Up to ``count`` faults under a path that are Python and make a difference, module by module."""
    faults = [fault for module in modules(path) for fault in faults_of(ROOT, module)]
    met: Counter[str] = Counter()
    order: list[tuple[bytes, int]] = []
    for index, fault in enumerate(faults):
        words = f"{seed} {fault.path.as_posix()} {fault.scope} {fault.before} -> {fault.after}"
        met[words] += 1
        order.append((hashlib.sha256(f"{words} {met[words]}".encode()).digest(), index))
    chosen: list[int] = []
    equivalent = 0
    for _, index in sorted(order):
        if len(chosen) == count:
            break
        if faults[index] in equivalents:
            equivalent += 1
        elif faults[index].source:
            chosen.append(index)
    kept = [faults[index] for index in sorted(chosen)]
    return Sample(path=path, faults=kept, equivalent=equivalent, of_all=len(faults))


def report(samples: list[Sample], trials: list[Trial]) -> None:
    """A line for each path, and the whole."""
    verdicts = {id(trial.fault): trial.verdict for trial in trials}
    print(
        f"\n{'path':24} {'equivalent':>11} {'planted':>8} {'seen':>6} {'unseen':>7} {'not run':>8}  seen, 95 % interval"
    )
    shares = []
    for each in samples:
        counts = Counter(verdicts[id(fault)] for fault in each.faults)
        shares.append(Share(seen=counts["seen"], drawn=counts.total(), of_all=each.of_all))
        low, high = interval(counts["seen"], counts.total())
        print(
            f"{each.path:24} {each.equivalent:11} {counts.total():8} {counts['seen']:6} {counts['unseen']:7} "
            f"{counts['not run']:8}  {counts['seen'] / max(1, counts.total()):.1%}, {low:.1%} to {high:.1%}"
        )
    share, low, high = together(shares)
    of_all = sum(each.of_all for each in samples)
    print(f"\nseen of all {of_all} faults, by this sample: {share:.1%}, {low:.1%} to {high:.1%}")
    print(f"{sum(trial.hangs for trial in trials)} were seen because the tests did not end")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=60, help="faults of each path")
    parser.add_argument("--paths", nargs="+", default=list(PATHS), help="modules, or folders of modules")
    parser.add_argument("--tests", nargs="+", default=list(TESTS), help="the tests that may see a fault")
    parser.add_argument("--jobs", type=int, default=2, help="trials at the same time")
    parser.add_argument("--budget-s", type=float, default=15.0, help="seconds of tests a fault, as recorded")
    given = parser.parse_args()
    equivalents = Equivalents.read()
    os.environ.setdefault(URL_VARIABLE, server_url())  # one for all trials
    began_at = time.monotonic()
    recording = record(ROOT, given.tests, PACKAGE, jobs=given.jobs)
    samples = [sample(path, given.seed, given.count, equivalents) for path in given.paths]
    faults = [fault for each in samples for fault in each.faults]
    print(
        f"{len(faults)} faults, {len(recording.seconds)} tests, recorded in {time.monotonic() - began_at:.0f} s",
        flush=True,
    )
    began_at = time.monotonic()
    controls = [without(ROOT, fault) for fault in faults[::CONTROL_EVERY]]
    wrong, trials = [], []
    tried = try_all(ROOT, [*controls, *faults], recording, jobs=given.jobs, budget_s=given.budget_s)
    for number, trial in enumerate(tried):
        if number < len(controls):
            if trial.verdict == "seen":
                wrong.append(trial.fault)
                print(f"wrong    {trial.fault}\n{indent(trial.last, ' ' * 9)}", flush=True)
            continue
        trials.append(trial)
        if trial.verdict != "seen":
            print(f"{trial.verdict:8} {trial.fault}  [{trial.tests} tests]", flush=True)
    report(samples, trials)
    print(f"{len(wrong)} of {len(controls)} trials failed with nothing planted")
    print(f"in {time.monotonic() - began_at:.0f} s, seed {given.seed}")


if __name__ == "__main__":
    main()
