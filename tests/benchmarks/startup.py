"""From spawn to the answer to ``initialize``: ring-mcp on stdio with its ledger, and a bare server of the same SDK."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.measuring import BARE, RING, Pipe, Series, folder, show, title
from tests.server.wire import environment


def run(rounds: int) -> None:
    title(f"startup: spawn to the answer to initialize, {rounds} times each, interleaved")
    ring, bare = Series("ring-mcp (stdio, SQLite), wall"), Series("bare lowlevel server, wall")
    ring_cpu, bare_cpu = Series("ring-mcp, cpu"), Series("bare lowlevel server, cpu")
    with folder() as home:
        for command in (RING, BARE):
            start_once(command, home)  # warms the disk and makes the ledger
        for _ in range(rounds):
            for command, wall, cpu in ((RING, ring, ring_cpu), (BARE, bare, bare_cpu)):
                wall_ms, cpu_ms = start_once(command, home)
                wall.values_ms.append(wall_ms)
                cpu.values_ms.append(cpu_ms)
    show([ring, bare, ring_cpu, bare_cpu])
    print(f"  ratio, wall: {ring.median_ms / bare.median_ms:.2f} (goal: at most 1.15)")
    if bare_cpu.median_ms:
        print(f"  ratio, cpu:  {ring_cpu.median_ms / bare_cpu.median_ms:.2f}")


def start_once(command: Sequence[str], home: Path) -> tuple[float, float]:
    """Wall and processor time of one start, in milliseconds."""
    started = time.perf_counter()
    with Pipe(command, environment(home, XAI_API_KEY="no key is used"), home) as server:
        server.initialize()
        return (time.perf_counter() - started) * 1000, server.cpu_ms()
