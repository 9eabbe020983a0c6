"""A pytest plugin: which test runs which lines of the product, and how long it takes.

pytest -p tests.mutation.recording --record-lines FILE
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import coverage
import pytest

PACKAGE = "ring_mcp"


class Recorder:
    """``tests``: every test that ran, with its seconds; ``failed``: those that did not pass, files that could not be
    imported among them. Lines that run while no test does (imports) belong to nobody.

    ``shared``: the fixtures of several tests that each has, with the seconds to make them. These are not among the
    test's own: whichever runs first makes them.
    """

    def __init__(self, root: Path, file: Path, package: str) -> None:
        self._root, self._file, self._package = root, file, package
        self._seconds: dict[str, float] = {}
        self._failed: dict[str, None] = {}
        self._shared: dict[str, dict[str, float]] = {}
        self._made: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._making_s: list[float] = []
        self._coverage = coverage.Coverage(data_file=None, config_file=False, source=[str(root / package)])
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._coverage.switch_context(item.nodeid)
        began_at = time.perf_counter()
        self._making_s.clear()
        try:
            return (yield)
        finally:
            self._seconds[item.nodeid] = max(0.0, time.perf_counter() - began_at - sum(self._making_s))
            self._shared[item.nodeid] = dict(self._list_shared(item))
            self._coverage.switch_context("")

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        began_at = time.perf_counter()
        made_before = len(self._making_s)
        try:
            return (yield)
        finally:
            if fixturedef.scope != "function":
                seconds = time.perf_counter() - began_at
                del self._making_s[made_before:]  # what it has asked for meanwhile is a part of it
                self._making_s.append(seconds)
                self._made[fixturedef.baseid, fixturedef.argname].append(seconds)

    def _list_shared(self, item: pytest.Item) -> Iterator[tuple[str, float]]:
        """Of a fixture with parameters it is the one that was made last."""
        for fixturedefs in item._fixtureinfo.name2fixturedefs.values():  # type: ignore[attr-defined]
            for each in fixturedefs:
                if made := self._made.get((each.baseid, each.argname)):
                    yield f"{each.baseid}::{each.argname} {len(made)}", made[-1]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed[report.nodeid] = None

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._failed[report.nodeid] = None

    def pytest_unconfigure(self) -> None:
        self._coverage.stop()
        data = self._coverage.get_data()
        number = {nodeid: index for index, nodeid in enumerate(self._seconds)}
        lines: dict[str, dict[int, list[int]]] = defaultdict(dict)
        for name in data.measured_files():
            path = Path(name).relative_to(self._root).as_posix()
            for line, contexts in data.contexts_by_lineno(name).items():
                lines[path][line] = sorted(number[context] for context in contexts if context in number)
        ours = (self._package, "tests", "conftest", "__main__", "__mp_main__")
        modules = sorted(name for name in sys.modules if name.partition(".")[0] not in ours)
        content = {
            "tests": self._seconds,
            "shared": self._shared,
            "failed": list(self._failed),
            "lines": lines,
            "modules": modules,
        }
        self._file.write_text(json.dumps(content))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record-lines", type=Path, default=None)
    parser.addoption("--record-package", default=PACKAGE)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Before anything of ours is imported."""
    given = early_config.known_args_namespace
    if given.record_lines is not None:
        early_config.pluginmanager.register(Recorder(early_config.rootpath, given.record_lines, given.record_package))
