"""Which tests run which lines: recorded once for each file of tests, and kept as long as nothing changes it.

What is kept of a file of tests holds while the product, and what tests share, stay as they are: a new test costs the
recording of its own file, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mutation.faults import Fault

PYTEST_OPTIONS = ("-o", "addopts=", "--import-mode=importlib", "-q", "-p", "no:cacheprovider")

_FILES_AT_ONCE = 6
"""In one process. More would start it less often; what is recorded is kept when it ends."""
_RAN_TO_THE_END = (0, 1)
"""What pytest ends with when all tests have passed, and when some have not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """``seconds`` of each test, which tests run which line of which file, and what they import of other people's.

    A line without tests is run by an import. ``shared``: by test, the fixtures that it has in common with others, and
    the seconds that the first of them needs for each.
    """

    modules: Sequence[str]
    seconds: Mapping[str, float]
    shared: Mapping[str, Mapping[str, float]]
    lines: Mapping[str, Mapping[int, Sequence[str]]]

    @classmethod
    def read(cls, texts: Iterable[str]) -> Recording:
        """All that was recorded of several files of tests, as one."""
        modules: set[str] = set()
        seconds: dict[str, float] = {}
        shared: dict[str, dict[str, float]] = {}
        lines: dict[str, dict[int, list[str]]] = {}
        for text in texts:
            content = json.loads(text)
            names = list(content["tests"])
            modules.update(content["modules"])
            seconds |= content["tests"]
            shared |= content["shared"]
            for path, each in content["lines"].items():
                for line, tests in each.items():
                    lines.setdefault(path, {}).setdefault(int(line), []).extend(names[index] for index in tests)
        return cls(modules=sorted(modules), seconds=seconds, shared=shared, lines=lines)

    def near(self, fault: Fault, mirror: Sequence[str], budget_s: float) -> list[str]:
        """The tests that run the fault's lines: those of ``mirror`` first, then the fastest, for ``budget_s`` in all.

        Of what an import runs, every test of the module and of ``mirror`` is near: tables are read elsewhere, and who
        happened to import them first says nothing. Where there is none (dataclasses, protocols), every test is. Of a
        line that none is known to run, those of its function up to there: what a coroutine does with an exception that
        it is woken with is lost to Python 3.11's tracing.
        """
        lines = self.lines.get(fault.path.as_posix(), {})
        here = [line for line in range(fault.lines[0], fault.lines[1] + 1) if line in lines]
        tests = {test for line in here for test in lines[line]}
        if here and (not tests or fault.function is None):
            beside = {test for test in self.seconds if file_of(test) in mirror}
            tests = {test for line in lines for test in lines[line]} | beside or set(self.seconds)
        if not here and fault.function is not None:
            tests = {test for line in range(fault.function, fault.lines[0]) for test in lines.get(line, ())}
        chosen: list[str] = []
        made: set[str] = set()
        left_s = budget_s
        for test in sorted(tests, key=lambda test: (file_of(test) not in mirror, self.seconds_of([test]), test)):
            needs_s = self.seconds_of([test], made)
            # Later ones may be had for less: the fixtures that they share are made by then.
            if not chosen or needs_s <= left_s:
                chosen.append(test)
                made |= self.shared[test].keys()
                left_s -= needs_s
        return chosen

    def seconds_of(self, tests: Iterable[str], made: Collection[str] = ()) -> float:
        """What these tests take one after the other, where the fixtures ``made`` are there already."""
        tests = list(tests)
        shared = {name: seconds for test in tests for name, seconds in self.shared[test].items() if name not in made}
        return sum(self.seconds[test] for test in tests) + sum(shared.values())

    def is_run(self, fault: Fault) -> bool:
        """Whether any of the fault's lines is known to be run."""
        return bool(self._runs(fault))

    def is_of_import(self, fault: Fault) -> bool:
        """Whether only an import runs it: what stands outside functions, and in those that no test calls."""
        runs = self._runs(fault)
        return fault.function is None or bool(runs and not any(runs))

    def _runs(self, fault: Fault) -> list[Sequence[str]]:
        """The tests of each of the fault's lines that is known to be run."""
        lines = self.lines.get(fault.path.as_posix(), {})
        return [lines[line] for line in range(fault.lines[0], fault.lines[1] + 1) if line in lines]


def record(
    root: Path,
    tests: Sequence[str],
    package: str,
    *,
    jobs: int = 1,
    shown: bool = True,
    kept_in: Path | None = None,
) -> Recording:
    """Run those files of tests that are not recorded yet, in ``jobs`` processes.

    ``kept_in``: a folder for what is recorded, instead of the one for temporary files.

    Raises RuntimeError if one of their tests fails; what passed is kept, and not run again.
    """
    kept = _kept(root, tests, package, kept_in or Path(tempfile.gettempdir()))
    missing = [file for file, piece in kept.items() if not piece.exists()]
    shares = [missing[first : first + _FILES_AT_ONCE] for first in range(0, len(missing), _FILES_AT_ONCE)]
    with ThreadPoolExecutor(jobs) as threads:
        failed = [
            test for each in threads.map(lambda share: _run(root, share, package, kept, shown), shares) for test in each
        ]
    if failed:
        raise RuntimeError(f"faults can only be planted where all tests pass: {', '.join(failed)}")
    return Recording.read(piece.read_text() for piece in kept.values())


def file_of(test: str) -> str:
    return test.partition("::")[0]


def environment(root: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(root)}


def _run(root: Path, share: Sequence[str], package: str, kept: Mapping[str, Path], shown: bool) -> list[str]:
    """Record these files, and answer what failed."""
    with tempfile.TemporaryDirectory(prefix="ring-mutation-") as folder:
        whole = Path(folder) / "lines.json"
        options = ["-p", "tests.mutation.recording", "--record-lines", str(whole), "--record-package", package]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *PYTEST_OPTIONS, "--continue-on-collection-errors", *options, *share],
            cwd=root,
            env=environment(root),
            check=False,
            capture_output=not shown,
        )
        if done.returncode not in _RAN_TO_THE_END:
            return list(share)
        content = json.loads(whole.read_text())
    failed = list(content["failed"])
    for file in set(share) - {file_of(test) for test in failed}:
        kept[file].parent.mkdir(parents=True, exist_ok=True)
        part = kept[file].with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(_piece(content, file)))
        part.replace(kept[file])
    return failed


def _piece(content: Mapping[str, Any], file: str) -> dict[str, Any]:
    """What one file's tests run, and what no test runs but an import."""
    names = list(content["tests"])
    own = {index: number for number, index in enumerate(i for i, test in enumerate(names) if file_of(test) == file)}
    lines = {
        path: {line: [own[index] for index in tests if index in own] for line, tests in each.items()
               if not tests or not own.keys().isdisjoint(tests)}
        for path, each in content["lines"].items()
    }  # fmt: skip
    return {
        "tests": {names[index]: content["tests"][names[index]] for index in own},
        "shared": {names[index]: content["shared"][names[index]] for index in own},
        "lines": lines,
        "modules": content["modules"],
    }


def _kept(root: Path, tests: Sequence[str], package: str, place: Path) -> dict[str, Path]:
    """Where the recording of each file of tests is, or will be."""
    files = list(dict.fromkeys(path for name in tests for path in sorted(_files_of(root / name))))
    shared = hashlib.sha256(repr((sys.version, package)).encode())
    shared.update(Path(__file__).with_name("recording.py").read_bytes())
    for path in sorted(path for top in (package, "tests") for path in (root / top).rglob("*.py")):
        if not (path.name.startswith("test_") or path.parent.name == "mutation"):
            _add(shared, root, path)
    folder = place / f"ring-mutation-lines-{shared.hexdigest()[:16]}"
    kept = {}
    for path in files:
        own = hashlib.sha256()
        _add(own, root, path)
        kept[path.relative_to(root).as_posix()] = folder / f"{own.hexdigest()[:16]}.json"
    return kept


def _files_of(path: Path) -> list[Path]:
    return [path] if path.is_file() else list(path.rglob("test_*.py"))


def _add(digest: hashlib._Hash, root: Path, path: Path) -> None:
    digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
