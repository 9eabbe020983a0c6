"""A pytest plugin: run the tests that a file names, in its order, and no others.

    pytest -p tests.mutation.choosing --chosen FILE tests/…

Names among the arguments would do the same, were it not that a module that cannot be imported then looks like a typing
error, and their number has a limit.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chosen", type=Path, default=None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if (file := config.getoption("chosen")) is None:
        return
    order = {nodeid: index for index, nodeid in enumerate(json.loads(file.read_text()))}
    items[:] = sorted((item for item in items if item.nodeid in order), key=lambda item: order[item.nodeid])
