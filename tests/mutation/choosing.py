"""A pytest plugin: run the tests that a file names, in its order, and no others; and note which of them was the last.

    pytest -p tests.mutation.choosing --chosen FILE tests/…

Names among the arguments would do the same, were it not that a module that cannot be imported then looks like a typing
error, and their number has a limit.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

LAST = "last-test.txt"
"""In the folder of the project: the test that began last, and what it said if it failed."""


class LastNoted:
    """As its tests stop with the first that fails, the last is the one that failed, or that did not end."""

    def __init__(self, root: Path) -> None:
        self._file = root / LAST

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._file.write_text(f"{nodeid}\n", encoding="utf-8")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(report.longreprtext)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(LastNoted(config.rootpath))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chosen", type=Path, default=None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if (file := config.getoption("chosen")) is None:
        return
    order = {nodeid: index for index, nodeid in enumerate(json.loads(file.read_text()))}
    items[:] = sorted((item for item in items if item.nodeid in order), key=lambda item: order[item.nodeid])
