"""The real stdio server under a clock that somebody else moves, on request with one known bug planted in it.

Run as a program with one JSON object (see ``Order``) as its argument. What is wired is what ``open_app`` wires.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

from ring_mcp.app import open_app
from ring_mcp.backends import open_ledger, open_storage
from ring_mcp.clock import Clock, SystemClock
from ring_mcp.config import Config, load_config
from ring_mcp.domain import AuditRecord, Job, JobState, MediaFile
from ring_mcp.ledger.base import Ledger
from ring_mcp.ledger.postgres import PostgresLedger
from ring_mcp.server.mcp import serve_app
from ring_mcp.server.stdio import serve_stdio
from ring_mcp.storage.base import Storage, StoredFile


@dataclass(frozen=True, kw_only=True)
class Order:
    """``clock``: a file with the seconds that this process's clock is ahead. ``card``: a file that gets the name under
    which it owns jobs. ``lease_s``: of PostgreSQL, renewed every quarter of it."""

    clock: str
    card: str
    lease_s: float = 3.0
    plant: str | None = None

    def as_argument(self) -> str:
        return json.dumps(asdict(self))


TELL_THREADS, TELL_TASKS = signal.SIGUSR1, signal.SIGUSR2
"""Have a server say on stderr where it is, one that does not end for example."""


def _tell_tasks() -> None:
    for task in asyncio.all_tasks():
        task.print_stack(file=sys.stderr)
    sys.stderr.flush()


class MovedClock(SystemClock):
    """The machine's clock, as far ahead as a file says at this moment."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=float(self._path.read_text() or 0))


class PlantedLedger:
    """A ledger that passes everything on, and breaks the one rule that its subclass is about."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.name = ledger.name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def save(self, before: Job, after: Job, records: Sequence[AuditRecord] = ()) -> Job:
        return await self._ledger.save(before, self.spoilt(after), records)

    def spoilt(self, after: Job) -> Job:
        return after


class BelievesTheFirstDenial(PlantedLedger):
    """A provider that says once that it has no such job is believed for ever."""

    def spoilt(self, after: Job) -> Job:
        failure = after.failure
        if after.state is not JobState.RENDERING or failure is None or failure.code != "expired":
            return after
        settled = after.reserved_usd
        return replace(after, state=JobState.EXPIRED, finished_at=after.updated_at, settled_usd=settled, due_at=None)


class SendsUnknownsAgain(PlantedLedger):
    """A request whose outcome is unknown is planned anew, and sent again."""

    def spoilt(self, after: Job) -> Job:
        if after.state is not JobState.UNKNOWN:
            return after
        return replace(
            after,
            state=JobState.PLANNED,
            failure=None,
            attempt_token=None,
            submit_deadline_at=None,
            due_at=after.updated_at,
        )


class ForgetsToSettle(PlantedLedger):
    """A job that is done has cost nothing."""

    def spoilt(self, after: Job) -> Job:
        return after if after.state is not JobState.DONE else replace(after, settled_usd=after.reserved_usd * 0)


class KeepsHalf:
    """A storage that loses the second half of every file and says nothing of it."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.name = storage.name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    async def put(self, key: str, media: MediaFile, metadata: Mapping[str, str]) -> StoredFile:
        stored = await self._storage.put(key, media, metadata)
        assert stored.local_path is not None, "it is planted where files lie on this machine"
        await asyncio.to_thread(os.truncate, stored.local_path, media.size_bytes // 2)
        return stored


LEDGER_PLANTS: Mapping[str, type[PlantedLedger]] = {
    "believes-the-first-denial": BelievesTheFirstDenial,
    "sends-unknowns-again": SendsUnknownsAgain,
    "forgets-to-settle": ForgetsToSettle,
}
STORAGE_PLANTS = {"keeps-half": KeepsHalf}
SYMPTOMS: Mapping[str, str] = {
    "believes-the-first-denial": r"accepted 1 times, jobs \{'expired': 1\}",
    "sends-unknowns-again": r"accepted [2-9] times, jobs \{'\w+': 1\}",
    "forgets-to-settle": r"settled 0, billed [1-9]",
    "keeps-half": r"is not what was made",
}
"""How a run has to complain of each bug: a pattern of one of its problems."""

OCCASIONS: Mapping[str, tuple[tuple[str, str, str], int]] = {
    "believes-the-first-denial": (("look", "denied in its own words", "rendering"), 2),
    "sends-unknowns-again": (("paid", "accepted, reset", "submitting"), 1),
}
"""The fault, as a logbook counts it, without which a bug does nothing, and how often it is to come; the others need
none."""


def _ledger(config: Config, clock: Clock, order: Order) -> Ledger:
    if config.database_url is None:
        return open_ledger(config, clock)
    return PostgresLedger(config.database_url.get_secret_value(), clock, lease_s=order.lease_s)


async def _serve(config: Config, wire: int, order: Order) -> None:
    faulthandler.register(TELL_THREADS)
    asyncio.get_running_loop().add_signal_handler(TELL_TASKS, _tell_tasks)
    clock = MovedClock(Path(order.clock))
    ledger, storage = _ledger(config, clock, order), open_storage(config, clock, None)
    Path(order.card).write_text(ledger.owner)
    plant = order.plant or ""
    if plant in LEDGER_PLANTS:
        ledger = cast("Ledger", LEDGER_PLANTS[plant](ledger))
    if plant in STORAGE_PLANTS:
        storage = cast("Storage", STORAGE_PLANTS[plant](storage))
    async with contextlib.AsyncExitStack() as stack:
        app = await stack.enter_async_context(open_app(config, clock=clock, ledger=ledger, storage=storage))

        async def identify(ctx: object) -> str:
            return config.actor_id

        server = serve_app(app, identify=identify)
        await serve_stdio(server, wire, closing=stack.aclose, drain_s=config.drain_s)


def main() -> None:
    wire = os.dup(1)
    os.dup2(2, 1)
    config = load_config()
    level = (config.log_level or "warning").upper()
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(_serve(config, wire, Order(**json.loads(sys.argv[1]))))


if __name__ == "__main__":
    main()
