"""Whether the tests see small faults: some are planted, one at a time, and the tests nearest to each are run.

    uv run python -m tests.mutation                                  # a sample of the money path
    uv run python -m tests.mutation --paths ring_mcp/jobs/record.py --count 1000

A fault is seen if a test fails, or does not end. A fault on a line that no test runs counts as unseen. Faults that make
no difference are listed in ``equivalent.toml``, each with its reason, and do not count. The same seed plants the same
faults in the same tree.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections import Counter
from pathlib import Path

from tests.mutation.equivalent import Equivalents
from tests.mutation.faults import Fault, faults_of
from tests.mutation.recording import PACKAGE
from tests.mutation.trials import Trial, record, try_all
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


def modules(paths: list[str]) -> list[Path]:
    """The modules under these paths, relative to the project."""
    found = [
        file for path in paths for file in ([ROOT / path] if path.endswith(".py") else (ROOT / path).rglob("*.py"))
    ]
    return sorted(path.relative_to(ROOT) for path in found)


def sample(path: Path, seed: int, count: int, equivalents: Equivalents) -> list[Fault]:
    """Up to ``count`` faults of a module that are Python and make a difference, in the order of its text."""
    faults = faults_of(ROOT, path)
    order = list(range(len(faults)))
    random.Random(f"{seed} {path.as_posix()}").shuffle(order)
    chosen: list[int] = []
    for index in order:
        if len(chosen) == count:
            break
        if faults[index] not in equivalents and faults[index].source:
            chosen.append(index)
    return [faults[index] for index in sorted(chosen)]


def report(trials: list[Trial]) -> None:
    """A line for each module, and the whole."""
    print(f"\n{'module':44} {'faults':>7} {'seen':>6} {'unseen':>7} {'not run':>8}")
    by_module: dict[str, Counter[str]] = {}
    for trial in trials:
        by_module.setdefault(trial.fault.path.as_posix(), Counter())[trial.verdict] += 1
    for name, counts in [*by_module.items(), ("all", sum(by_module.values(), Counter()))]:
        print(f"{name:44} {counts.total():7} {counts['seen']:6} {counts['unseen']:7} {counts['not run']:8}")
    seen = sum(trial.verdict == "seen" for trial in trials)
    run = sum(trial.verdict != "not run" for trial in trials)
    hanging = sum(trial.hangs for trial in trials)
    print(
        f"\nseen: {seen / max(1, len(trials)):.1%} of all, {seen / max(1, run):.1%} of those on lines that a test runs"
    )
    print(f"{hanging} of them because the tests did not end")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=15, help="faults a module")
    parser.add_argument("--paths", nargs="+", default=list(PATHS), help="modules, or folders of modules")
    parser.add_argument("--tests", nargs="+", default=list(TESTS), help="the tests that may see a fault")
    parser.add_argument("--jobs", type=int, default=2, help="trials at the same time")
    parser.add_argument("--budget-s", type=float, default=15.0, help="seconds of tests a fault, as recorded")
    given = parser.parse_args()
    equivalents = Equivalents.read()
    os.environ.setdefault(URL_VARIABLE, server_url())  # one for all trials
    recording = record(ROOT, given.tests, PACKAGE)
    faults = [fault for path in modules(given.paths) for fault in sample(path, given.seed, given.count, equivalents)]
    print(f"{len(faults)} faults, {len(recording.seconds)} tests")
    trials, began_at = [], time.monotonic()
    for trial in try_all(ROOT, faults, recording, jobs=given.jobs, budget_s=given.budget_s):
        trials.append(trial)
        if trial.verdict != "seen":
            print(f"{trial.verdict:8} {trial.fault}  [{trial.tests} tests]", flush=True)
    report(trials)
    print(f"in {time.monotonic() - began_at:.0f} s, seed {given.seed}")


if __name__ == "__main__":
    main()
