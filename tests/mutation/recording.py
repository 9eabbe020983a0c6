"""A pytest plugin: which test runs which lines of the product, and how long it takes.

pytest -p tests.mutation.recording --record-lines FILE
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path

import coverage
import pytest

PACKAGE = "ring_mcp"


class Recorder:
    """``tests``: every test that ran, with its seconds; ``failed``: those that did not pass, files that could not be
    imported among them. Lines that run while no test does (imports) belong to nobody."""

    def __init__(self, root: Path, file: Path, package: str) -> None:
        self._root, self._file, self._package = root, file, package
        self._seconds: dict[str, float] = {}
        self._failed: dict[str, None] = {}
        self._coverage = coverage.Coverage(data_file=None, config_file=False, source=[str(root / package)])
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._coverage.switch_context(item.nodeid)
        began_at = time.perf_counter()
        try:
            return (yield)
        finally:
            self._seconds[item.nodeid] = time.perf_counter() - began_at
            self._coverage.switch_context("")

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
        content = {"tests": self._seconds, "failed": list(self._failed), "lines": lines, "modules": modules}
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
