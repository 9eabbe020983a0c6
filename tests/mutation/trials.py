"""Trials of faults: each is planted in a copy of the tree, and the nearest tests are run until one of them fails."""

from __future__ import annotations

import contextlib
import json
import queue
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.mutation.choosing import LAST
from tests.mutation.faults import Fault
from tests.mutation.lines import PYTEST_OPTIONS, Recording, environment, file_of

Verdict = Literal["seen", "unseen", "not run"]

_READERS = ("tests/providers/test_errors_name_their_provider.py",)
"""Tests that read what modules say, and run no line of them: near to every fault of their wing."""

_NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "dist")
_PASSED, _NOTHING_TO_RUN = 0, 5
"""What pytest ends with; whatever else it says is that a test has failed, or that something could not be imported."""
_SLOWER = 5.0
"""A test may take so many times as long as when it was recorded, and half a minute more: there is other work."""
_MORE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """``tests``: how many were chosen. ``hangs``: the fault was seen because they did not end. ``last``: the test that
    began last, which is the one that saw it, and what it said."""

    fault: Fault
    verdict: Verdict
    tests: int = 0
    hangs: bool = False
    last: str = ""


class Nursery:
    """A copy of the tree, and two processes that run tests in it: one has collected them, the other has imported what
    they need of other people's. A fault that tests run is tried in children of the first, which are ready at once.
    """

    def __init__(self, root: Path, copy: Path, recording: Recording) -> None:
        self.copy = copy
        shutil.copytree(root, copy, ignore=_NOT_COPIED)
        (copy / "modules.json").write_text(json.dumps(recording.modules))
        self._fresh = self._start("tests.mutation.nursery", "modules.json")
        files = dict.fromkeys(file_of(test) for test in recording.seconds)
        self._collected = self._start("tests.mutation.collected", *PYTEST_OPTIONS, "--assert=plain", *files)

    def _start(self, module: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=self.copy,
            env=environment(self.copy),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, fault: Fault, chosen: Sequence[str], limit_s: float, *, of_import: bool) -> int | None:
        """pytest's exit code; None if it did not end in time. ``of_import``: only an import runs it."""
        (self.copy / LAST).unlink(missing_ok=True)
        if not of_import:
            order = {
                "path": str(self.copy / fault.path),
                "scope": fault.scope,
                "chosen": chosen,
                "limitS": limit_s,
            }
            code: int | str | None = _ask(self._collected, order)
            if not isinstance(code, str):
                return code
        return self._run_afresh(chosen, limit_s)

    def _run_afresh(self, chosen: Sequence[str], limit_s: float) -> int | None:
        (self.copy / "chosen.json").write_text(json.dumps(chosen))
        files = dict.fromkeys(file_of(test) for test in chosen)
        arguments = [
            *PYTEST_OPTIONS,
            "--assert=plain",
            "-x",
            "-p",
            "tests.mutation.choosing",
            "--chosen",
            "chosen.json",
            *files,
        ]
        code: int | None = _ask(self._fresh, {"arguments": arguments, "limitS": limit_s})
        return code

    def read_last(self) -> str:
        """The test that began last, and what it said; empty if there was none."""
        try:
            return (self.copy / LAST).read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def close(self) -> None:
        for process in (self._fresh, self._collected):
            process.communicate()


def _ask(process: subprocess.Popen[str], order: Mapping[str, Any]) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


class Nurseries:
    """As many as there are trials at the same time."""

    def __init__(self, root: Path, count: int, recording: Recording) -> None:
        self.root = root
        self._folder = Path(tempfile.mkdtemp(prefix="ring-mutation-"))
        self._all = [Nursery(root, self._folder / f"copy-{number}", recording) for number in range(count)]
        self._free: queue.Queue[Nursery] = queue.Queue()
        for each in self._all:
            self._free.put(each)

    @contextlib.contextmanager
    def one(self) -> Iterator[Nursery]:
        nursery = self._free.get()
        try:
            yield nursery
        finally:
            self._free.put(nursery)

    def close(self) -> None:
        for each in self._all:
            each.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def try_all(
    root: Path, faults: Iterable[Fault], recording: Recording, *, jobs: int, budget_s: float
) -> Iterator[Trial]:
    """Every fault in its turn, ``jobs`` of them at the same time."""
    nurseries = Nurseries(root, jobs, recording)
    try:
        with ThreadPoolExecutor(jobs) as threads:
            yield from threads.map(lambda fault: _try(nurseries, fault, recording, budget_s), faults)
    finally:
        nurseries.close()


def _try(nurseries: Nurseries, fault: Fault, recording: Recording, budget_s: float) -> Trial:
    chosen = recording.near(fault, mirror_of(nurseries.root, fault.path), budget_s)
    if not chosen:
        return Trial(fault=fault, verdict="not run")
    readers = [file for file in _READERS if Path(file).parts[1] == fault.path.parts[1]]
    chosen += [test for test in recording.seconds if file_of(test) in readers and test not in chosen]
    with nurseries.one() as nursery:
        target = nursery.copy / fault.path
        right = target.read_text(encoding="utf-8")
        try:
            _write(target, fault.source)
            limit_s = recording.seconds_of(chosen) * _SLOWER + _MORE_S
            outcome = nursery.run(fault, chosen, limit_s, of_import=recording.is_of_import(fault))
            last = nursery.read_last()
        finally:
            _write(target, right)
    if outcome == _NOTHING_TO_RUN:
        raise RuntimeError(f"{fault}: none of {len(chosen)} tests is there any more")
    unseen: Verdict = "unseen" if recording.is_run(fault) else "not run"
    verdict: Verdict = unseen if outcome == _PASSED else "seen"
    return Trial(fault=fault, verdict=verdict, tests=len(chosen), hangs=outcome is None, last=last)


def mirror_of(root: Path, path: Path) -> list[str]:
    """The files of tests that stand beside a module: ``test_NAME*.py`` in the folder of its wing."""
    folder = Path("tests", *path.parts[1:2])
    return sorted((folder / found.name).as_posix() for found in (root / folder).glob(f"test_{path.stem}*.py"))


def _write(target: Path, source: str) -> None:
    """Replace a module, and forget what was compiled of it: two writes in a second may leave files of one size."""
    target.write_text(source, encoding="utf-8")
    for compiled in (target.parent / "__pycache__").glob(f"{target.stem}.*.pyc"):
        compiled.unlink(missing_ok=True)
