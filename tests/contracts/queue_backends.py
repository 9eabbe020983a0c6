"""Every queue backend, as the one contract suite opens it: a process of its own on a ledger that others share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ring_mcp.clock import Clock
from ring_mcp.domain import Holder, Job, MediaKind
from ring_mcp.jobs.outcomes import Pace
from ring_mcp.jobs.queue.base import JobQueue
from ring_mcp.jobs.queue.in_process import InProcessQueue
from ring_mcp.jobs.queue.pgqueuer import PgqueuerQueue
from ring_mcp.ledger.base import Ledger
from ring_mcp.ledger.postgres_channel import PostgresChannel
from tests.fake_clock import LIMIT_S, HurryingClock
from tests.jobs.engine import Engine, engine_on
from tests.jobs.failing_ledger import FailingLedger
from tests.jobs.scripted_provider import ScriptedProvider
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import HOLDER

MakeQueue = Callable[[LedgerDatabase], Callable[..., JobQueue]]

QUEUES: Mapping[str, MakeQueue] = {
    "in_process": lambda _: InProcessQueue,
    "pgqueuer": lambda database: partial(_open_pgqueuer, database),
}
"""By the name of the module in ``ring_mcp/jobs/queue``; a test says so if one is missing here."""

LEDGERS_OF: Mapping[str, tuple[str, ...]] = {"in_process": ("sqlite",), "pgqueuer": ("postgres",)}
"""On which ledgers a queue can be used."""

PACE: Mapping[MediaKind, Pace] = {
    "image": Pace(submit_timeout_s=600.0, poll_interval_s=1.0, poll_timeout_s=600.0),
    "video": Pace(submit_timeout_s=600.0, poll_interval_s=1.0, poll_timeout_s=600.0),
}


def _open_pgqueuer(database: LedgerDatabase, *parts: Any, **options: Any) -> JobQueue:
    make: Callable[..., JobQueue] = PgqueuerQueue
    return make(*parts, PostgresChannel(database.address), **options)


class Process:
    """One server process: its ledger, its engine, its queue. Its providers are the same as everybody's."""

    def __init__(self, engine: Engine, queue: JobQueue, ledger: Ledger) -> None:
        self.engine, self.queue, self._ledger = engine, queue, ledger
        self._is_over = False

    async def end(self) -> None:
        """As at the end of a server: the queue stops, the ledger is closed."""
        if not self._is_over:
            self._is_over = True
            await self.queue.aclose()
            await self._ledger.aclose()


class Processes:
    """Opens any number of processes on one database, with one provider of pictures and one of clips for all."""

    def __init__(self, backend: str, database: LedgerDatabase, state: Path, clock: Clock) -> None:
        self._backend, self._database, self._state, self._clock = backend, database, state, clock
        self._opened: list[Process] = []
        self.pictures, self.clips = ScriptedProvider(), ScriptedProvider("mp4")
        self.has_leases = database.kind != "sqlite"

    async def open(self, holder: Holder = HOLDER, **options: Any) -> Process:
        """One more, which holds these accounts; its queue is not started. ``options`` are those of its ledger."""
        ledger = self._database.ledger(self._clock, **options)
        await ledger.start()
        engine = engine_on(
            FailingLedger(ledger),
            self._clock,
            self._state / f"process-{len(self._opened)}",
            pictures=self.pictures,
            clips=self.clips,
            pace=PACE,
            holder=holder,
            make_queue=QUEUES[self._backend](self._database),
        )
        process = Process(engine, engine.queue, ledger)
        self._opened.append(process)
        return process

    async def end(self) -> None:
        for process in self._opened:
            await process.end()


@contextlib.asynccontextmanager
async def processes_of(backend: str, database: LedgerDatabase, state: Path) -> AsyncIterator[Processes]:
    processes = Processes(backend, database, state, HurryingClock())
    try:
        yield processes
    finally:
        await processes.end()


async def until(holds: Callable[[], Any]) -> None:
    """Let others work until this is so. Real time, bounded."""
    async with asyncio.timeout(LIMIT_S):
        while not holds():
            await asyncio.sleep(0.005)


async def settled(process: Process, job: Job) -> Job:
    """The job once it has ended, however that came about."""
    async with asyncio.timeout(LIMIT_S):
        while not (row := await process.engine.row(job)).is_settled:
            await asyncio.sleep(0.02)
        return row
