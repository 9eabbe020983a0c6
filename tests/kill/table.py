"""A pytest plugin: the table that sums the kills up at the end of a run, whichever process they were made in."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import Any

KILLS = "kills"
"""The property of a test that holds its lines of the table."""


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line for each point, kind and ledger: what the sandbox's books say of it."""
    lines: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                for name, kills in report.user_properties:
                    if name == KILLS:
                        for kill in kills:
                            lines[kill["point"], kill["kind"], kill["ledger"]].append(kill)
    if not lines:
        return
    write = terminalreporter.write_line
    terminalreporter.write_sep("=", "kills, by the books of the sandbox")
    head = ("point", "kind", "ledger", "kills", "submitted", "twice", "lost", "unknown", "recovered s (median)")
    form = "{:36} {:14} {:9} {:>5} {:>9} {:>5} {:>4} {:>7} {:>20}"
    write(form.format(*head))
    totals: dict[str, int] = defaultdict(int)
    for (point, kind, ledger), kills in lines.items():
        sums = {name: sum(kill[name] for kill in kills) for name in ("kills", "submitted", "twice", "lost", "unknown")}
        for name, value in sums.items():
            totals[name] += value
        seconds = [s for kill in kills for s in kill["recovered_s"]]
        median = f"{statistics.median(seconds):.2f}" if seconds else "-"
        write(form.format(point, kind, ledger, *sums.values(), median))
    write(form.format("all", "", "", *totals.values(), ""))
