"""Trials of faults: each is planted in a copy of the tree, and the nearest tests are run until one of them fails."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.mutation.faults import Fault

Verdict = Literal["seen", "unseen", "not run"]

_NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "dist")
_OPTIONS = ("-o", "addopts=", "--import-mode=importlib", "-q", "-p", "no:cacheprovider")
_PASSED, _NOTHING_TO_RUN = 0, 5
"""What pytest ends with; whatever else it says is that a test has failed, or that something could not be imported."""
_SLOWER = 5.0
"""A test may take so many times as long as when it was recorded, and half a minute more: there is other work."""
_MORE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """``tests``: how many were chosen. ``hangs``: the fault was seen because they did not end."""

    fault: Fault
    verdict: Verdict
    tests: int = 0
    hangs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """``seconds`` of each test, which tests run which line of which file, and what they import of other people's.

    A line without tests is run by an import.
    """

    modules: Sequence[str]
    seconds: Mapping[str, float]
    lines: Mapping[str, Mapping[int, Sequence[str]]]

    @classmethod
    def read(cls, text: str) -> Recording:
        content = json.loads(text)
        names = list(content["tests"])
        lines = {
            path: {int(line): [names[index] for index in tests] for line, tests in each.items()}
            for path, each in content["lines"].items()
        }
        return cls(modules=content["modules"], seconds=content["tests"], lines=lines)

    def near(self, fault: Fault, mirror: Sequence[str], budget_s: float) -> list[str]:
        """The tests that run the fault's lines: those of ``mirror`` first, then the fastest, for ``budget_s`` in all.

        Of a line that is run by an import alone, every test of the module is near; of a module of which nothing else
        is run (dataclasses, protocols), every test.
        """
        lines = self.lines.get(fault.path.as_posix(), {})
        here = [line for line in range(fault.lines[0], fault.lines[1] + 1) if line in lines]
        tests = {test for line in here for test in lines[line]}
        if here and not tests:
            tests = {test for line in lines for test in lines[line]} or set(self.seconds)
        chosen: list[str] = []
        left_s = budget_s
        for test in sorted(tests, key=lambda test: (_file_of(test) not in mirror, self.seconds[test], test)):
            if chosen and self.seconds[test] > left_s:
                break
            chosen.append(test)
            left_s -= self.seconds[test]
        return chosen


class Nursery:
    """A copy of the tree, and the process that runs tests in it."""

    def __init__(self, root: Path, copy: Path, modules: Sequence[str]) -> None:
        self.copy = copy
        shutil.copytree(root, copy, ignore=_NOT_COPIED)
        (copy / "modules.json").write_text(json.dumps(modules))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.mutation.nursery", "modules.json"],
            cwd=copy,
            env=_environment(copy),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, chosen: Sequence[str], limit_s: float) -> int | None:
        """pytest's exit code; None if it did not end in time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        (self.copy / "chosen.json").write_text(json.dumps(chosen))
        files = dict.fromkeys(_file_of(test) for test in chosen)
        arguments = [
            *_OPTIONS,
            "--assert=plain",
            "-x",
            "-p",
            "tests.mutation.choosing",
            "--chosen",
            "chosen.json",
            *files,
        ]
        self._process.stdin.write(json.dumps({"arguments": arguments, "limitS": limit_s}) + "\n")
        self._process.stdin.flush()
        code: int | None = json.loads(self._process.stdout.readline())
        return code

    def close(self) -> None:
        self._process.communicate()


class Nurseries:
    """As many as there are trials at the same time."""

    def __init__(self, root: Path, count: int, modules: Sequence[str]) -> None:
        self.root = root
        self._folder = Path(tempfile.mkdtemp(prefix="ring-mutation-"))
        self._all = [Nursery(root, self._folder / f"copy-{number}", modules) for number in range(count)]
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


def record(root: Path, tests: Sequence[str], package: str, *, shown: bool = True) -> Recording:
    """Run these tests once, and keep what was recorded as long as the tree stays as it is.

    Raises RuntimeError if one of them fails.
    """
    kept = Path(tempfile.gettempdir()) / f"ring-mutation-lines-{_fingerprint(root, tests, package)}.json"
    if not kept.exists():
        part = kept.with_suffix(".part")
        options = ["-p", "tests.mutation.recording", "--record-lines", str(part), "--record-package", package]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *_OPTIONS, *options, *tests],
            cwd=root,
            env=_environment(root),
            check=False,
            capture_output=not shown,
        )
        if done.returncode != _PASSED:
            raise RuntimeError("faults can only be planted where all tests pass")
        part.replace(kept)
    return Recording.read(kept.read_text())


def try_all(
    root: Path, faults: Iterable[Fault], recording: Recording, *, jobs: int, budget_s: float
) -> Iterator[Trial]:
    """Every fault in its turn, ``jobs`` of them at the same time."""
    nurseries = Nurseries(root, jobs, recording.modules)
    try:
        with ThreadPoolExecutor(jobs) as threads:
            yield from threads.map(lambda fault: _try(nurseries, fault, recording, budget_s), faults)
    finally:
        nurseries.close()


def _try(nurseries: Nurseries, fault: Fault, recording: Recording, budget_s: float) -> Trial:
    chosen = recording.near(fault, mirror_of(nurseries.root, fault.path), budget_s)
    if not chosen:
        return Trial(fault=fault, verdict="not run")
    with nurseries.one() as nursery:
        target = nursery.copy / fault.path
        right = target.read_text(encoding="utf-8")
        try:
            _write(target, fault.source)
            limit_s = sum(recording.seconds[test] for test in chosen) * _SLOWER + _MORE_S
            outcome = nursery.run(chosen, limit_s)
        finally:
            _write(target, right)
    if outcome == _NOTHING_TO_RUN:
        raise RuntimeError(f"{fault}: none of {len(chosen)} tests is there any more")
    verdict: Verdict = "unseen" if outcome == _PASSED else "seen"
    return Trial(fault=fault, verdict=verdict, tests=len(chosen), hangs=outcome is None)


def mirror_of(root: Path, path: Path) -> list[str]:
    """The files of tests that stand beside a module: ``test_NAME*.py`` in the folder of its wing."""
    folder = Path("tests", *path.parts[1:2])
    return sorted((folder / found.name).as_posix() for found in (root / folder).glob(f"test_{path.stem}*.py"))


def _environment(root: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(root)}


def _write(target: Path, source: str) -> None:
    """Replace a module, and forget what was compiled of it: two writes in a second may leave files of one size."""
    target.write_text(source, encoding="utf-8")
    for compiled in (target.parent / "__pycache__").glob(f"{target.stem}.*.pyc"):
        compiled.unlink(missing_ok=True)


def _file_of(test: str) -> str:
    return test.partition("::")[0]


def _fingerprint(root: Path, tests: Sequence[str], package: str) -> str:
    digest = hashlib.sha256(repr((sys.version, list(tests), package)).encode())
    for path in sorted(path for top in (package, "tests") for path in (root / top).rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
