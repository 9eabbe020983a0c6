"""Worlds to kill servers in, and the table that sums the kills up at the end of the run."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.kill.kill_world import KILLS, LedgerKind, MakeWorld, World
from tests.postgres_server import fresh_database, server_url


@pytest.fixture
async def make_world(sandbox: SandboxServer, tmp_path: Path) -> AsyncIterator[MakeWorld]:
    """New worlds, with the books and switches of the sandbox as at the start; the servers of all are ended."""
    async with AsyncExitStack() as servers:
        with ExitStack() as databases:
            made = 0

            async def make(kind: LedgerKind) -> World:
                nonlocal made
                made += 1
                sandbox.state.reset()
                folder = tmp_path / f"world-{made}"
                folder.mkdir()
                url = databases.enter_context(fresh_database(server_url())) if kind == "postgres" else None
                world = World(folder, sandbox, kind, url)
                servers.push_async_callback(world.close)
                return world

            yield make
            await servers.aclose()


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
