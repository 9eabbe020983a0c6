"""The real stdio server, made to die of SIGKILL at one exact point of a job's life.

Run as a program with one JSON object (see ``Fate``) as its argument. Everything is wired by ``open_app`` as always,
only the ledger and the storage stand behind a wrapper that kills this process before or after a call. Where the fate
says nothing of that it is the plain server, with the lease and the clock that a test wants.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

from ring_mcp.app import open_app
from ring_mcp.backends import open_ledger, open_storage
from ring_mcp.clock import SystemClock
from ring_mcp.config import Config, load_config
from ring_mcp.domain import AuditRecord, Caps, Job, MediaFile
from ring_mcp.domain.consent import Terms
from ring_mcp.errors import LedgerError
from ring_mcp.ledger.base import Ledger, Opened
from ring_mcp.server.mcp import serve_app
from ring_mcp.server.stdio import serve_stdio
from ring_mcp.storage.base import SharedFiles, Storage, StoredFile
from ring_mcp.storage.local import LocalStorage
from ring_mcp.storage.ringbase import RingbaseStorage


@dataclass(frozen=True, kw_only=True)
class Fate:
    """Where this process dies, and how it differs from a plain server.

    ``at`` is open, save, put or mark_delivered; ``when`` before or after that call, the ``count``-th one that fits.
    ``prompt`` narrows it to jobs that this process opens and whose prompt has this in it, ``kind`` to images or videos,
    ``state`` (of a save) to the arrow that leads into this state, or, where it is "partly", to the write of an asset
    that is not the last one. With ``hold``, the path of a file, the process does not die there: it makes the file, and
    goes on when somebody has removed it. With ``lose`` it does not die either: the call fails although it was done.
    """

    at: str | None = None
    when: str = "before"
    prompt: str | None = None
    kind: str | None = None
    state: str | None = None
    count: int = 1
    hold: str | None = None
    lose: bool = False
    lease_s: float | None = None
    clock_ahead_s: float = 0.0
    clock_speed: float = 1.0

    def as_argument(self) -> str:
        return json.dumps(self.__dict__)


class OtherClock(SystemClock):
    """The machine's clock, but some seconds fast, so that deadlines of others have passed, or running faster."""

    def __init__(self, ahead_s: float, speed: float) -> None:
        self._started_at = super().now()
        self._ahead = timedelta(seconds=ahead_s)
        self._speed = speed

    def now(self) -> datetime:
        return self._started_at + self._ahead + (super().now() - self._started_at) * self._speed


@dataclass
class Reaper:
    """Counts the calls that fit, and kills at the right one."""

    fate: Fate
    seen: int = 0
    doomed: set[str] = field(default_factory=set)
    """Ids of the jobs that have the prompt."""

    def look_at(self, job: Job) -> None:
        if self.fate.prompt is not None and self.fate.prompt in job.plan.prompt:
            self.doomed.add(job.id)

    async def passes(self, at: str, when: str, job_id: str, kind: str | None, state: str | None = None) -> None:
        fate = self.fate
        if (at, when) != (fate.at, fate.when) or kind != (fate.kind or kind) or state != (fate.state or state):
            return
        if fate.prompt is not None and job_id not in self.doomed:
            return
        self.seen += 1
        if self.seen != fate.count:
            return
        if fate.lose:
            raise LedgerError("the confirmation was lost")
        if fate.hold is None:
            _die()
        held = Path(fate.hold)
        held.touch()
        while held.exists():
            await asyncio.sleep(0.02)


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    while True:  # the signal is on its way; nothing may happen any more
        signal.pause()


class DoomedLedger:
    """A ledger that passes everything on, and the reaper on its way."""

    def __init__(self, ledger: Ledger, reaper: Reaper) -> None:
        self._ledger = ledger
        self._reaper = reaper
        self.name = ledger.name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def open(self, job: Job, caps: Caps, still: Job | None = None, terms: Terms | None = None) -> Opened:
        for opened_here in (job, still) if still is not None else (job,):
            self._reaper.look_at(opened_here)
        await self._reaper.passes("open", "before", job.id, job.kind)
        opened = await self._ledger.open(job, caps, still, terms)
        await self._reaper.passes("open", "after", job.id, job.kind)
        return opened

    async def save(self, before: Job, after: Job, records: Sequence[AuditRecord] = ()) -> Job:
        arrow = after.state.value if before.state is not after.state else None
        if not after.is_terminal and len(after.assets) > len(before.assets):  # the arrow to storing comes with it
            arrow = "partly"
        await self._reaper.passes("save", "before", after.id, after.kind, arrow)
        saved = await self._ledger.save(before, after, records)
        await self._reaper.passes("save", "after", after.id, after.kind, arrow)
        return saved

    async def mark_delivered(self, job_id: str, at: datetime) -> None:
        await self._reaper.passes("mark_delivered", "before", job_id, None)
        await self._ledger.mark_delivered(job_id, at)
        await self._reaper.passes("mark_delivered", "after", job_id, None)


class DoomedStorage:
    """A storage that passes everything on, and the reaper on its way."""

    def __init__(self, storage: Storage, reaper: Reaper) -> None:
        self._storage = storage
        self._reaper = reaper
        self.name = storage.name
        self.shared: SharedFiles | None = storage.shared

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    async def put(self, key: str, media: MediaFile, metadata: Mapping[str, str]) -> StoredFile:
        kind = media.content_type.partition("/")[0]
        await self._reaper.passes("put", "before", metadata["jobId"], kind)
        stored = await self._storage.put(key, media, metadata)
        await self._reaper.passes("put", "after", metadata["jobId"], kind)
        return stored


def _storage(config: Config, clock: SystemClock) -> Storage:
    if config.file_backend == "ringbase":
        assert config.ringbase_api_url is not None
        assert config.ringbase_api_token is not None
        return RingbaseStorage(config.ringbase_api_url, config.ringbase_api_token.get_secret_value(), clock=clock)
    if config.file_backend == "s3":
        return open_storage(config, clock, None)
    return LocalStorage(config.state_path / "files")


async def _serve(config: Config, wire: int, fate: Fate) -> None:
    clock, reaper = OtherClock(fate.clock_ahead_s, fate.clock_speed), Reaper(fate)
    ledger = open_ledger(config, clock)
    if fate.lease_s is not None and config.database_url is not None:
        from ring_mcp.ledger.postgres import PostgresLedger

        ledger = PostgresLedger(config.database_url.get_secret_value(), clock, lease_s=fate.lease_s)
    async with contextlib.AsyncExitStack() as stack:
        app = await stack.enter_async_context(
            open_app(
                config,
                clock=clock,
                ledger=DoomedLedger(ledger, reaper),
                storage=DoomedStorage(_storage(config, clock), reaper),
            )
        )

        async def identify(ctx: object) -> str:
            return config.actor_id

        server = serve_app(app, identify=identify)
        await serve_stdio(server, wire, closing=stack.aclose, drain_s=config.drain_s)


def main() -> None:
    wire = os.dup(1)
    os.dup2(2, 1)
    config = load_config()
    logging.basicConfig(
        level=(config.log_level or "warning").upper(), stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
    )
    asyncio.run(_serve(config, wire, Fate(**json.loads(sys.argv[1]))))


if __name__ == "__main__":
    main()
