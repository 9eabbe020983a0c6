"""A pytest plugin: prints at the end of a run what it has seen, whichever process the tests ran in."""

from __future__ import annotations

from typing import Any

PAGE = "weather"
"""The property of a test that holds the lines to print."""


def pytest_terminal_summary(terminalreporter: Any) -> None:
    pages = [
        lines
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, lines in report.user_properties
        if name == PAGE
    ]
    if pages:
        terminalreporter.write_sep("=", "weather")
    for line in (line for lines in pages for line in [*lines, ""]):
        terminalreporter.write_line(line)
