"""A ledger in another operating-system process: it is told what to do, and it can be stopped, resumed and killed.

Run as a program it reads one JSON command a line and answers each with one line.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from ring_mcp.domain import Caps, JobState
from ring_mcp.errors import RingError
from ring_mcp.ledger.base import Ledger
from ring_mcp.ledger.sqlite import SqliteLedger
from tests.ledger_databases import LedgerDatabase
from tests.ledger_samples import HOLDER, carried, planned

ANSWER_TIMEOUT_S = 120.0
ROOT = Path(__file__).parents[1]


class OtherProcess:
    """The near end: ``tell`` and ``heard`` apart, so that several processes can be made to do something at once."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def tell(self, do: str, **arguments: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")

    async def heard(self) -> Any:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), ANSWER_TIMEOUT_S)
        assert line, "the other process has ended"
        return json.loads(line)

    async def ask(self, do: str, **arguments: Any) -> Any:
        self.tell(do, **arguments)
        return await self.heard()

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """As ``kill -9`` does: nothing is said, nothing is closed."""
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def other_process(database: LedgerDatabase, **options: Any) -> AsyncIterator[OtherProcess]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.ledger_process",
        json.dumps([database.kind, database.address, options]),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    other = OtherProcess(process)
    try:
        assert await other.heard() == "here"
        yield other
    finally:
        await other.kill()


class _Servant:
    """The far end: one method per command."""

    def __init__(self, database: LedgerDatabase, ledger: Ledger) -> None:
        self._database = database
        self._ledger = ledger
        self._held: sqlite3.Connection | None = None

    async def start(self) -> str:
        await self._ledger.start()
        return "started"

    async def start_at(self, address: str) -> str:
        """Start, and end, another ledger elsewhere."""
        async with LedgerDatabase(self._database.kind, address).started():
            return "started"

    async def open(self, jobs: Sequence[Mapping[str, Any]], per_day_usd: str | None = None) -> list[Any]:
        """All at once. Answers [job id, joined] or an error's code for each."""
        caps = Caps(per_day_usd=None if per_day_usd is None else Decimal(per_day_usd))
        return await asyncio.gather(*(self._open(facts, caps) for facts in jobs))

    async def _open(self, facts: Mapping[str, Any], caps: Caps) -> Any:
        try:
            answer = await self._ledger.open(planned(**facts), caps)
        except RingError as exc:
            return exc.code
        return [answer.job.id, answer.joined]

    async def claim(self, parked: bool = False) -> list[str]:
        assert isinstance(self._ledger, SqliteLedger)
        return [job.id for job in await self._ledger.claim(HOLDER, 1000, parked=parked)]

    async def claim_one(self, job_id: str) -> str | None:
        job = await self._ledger.claim_one(HOLDER, job_id)
        return None if job is None else job.id

    async def save(self, job_id: str, seen_version: int) -> str:
        """Carry a planned job on, as one who has seen this version of it."""
        job = await self._ledger.get(job_id)
        assert job is not None
        before = planned(id=job_id, version=seen_version)
        try:
            await self._ledger.save(before, carried(before, JobState.SUBMITTING))
        except RingError as exc:
            return exc.code
        return "saved"

    async def hold_the_write_lock(self) -> str:
        self._held = sqlite3.connect(self._database.address, isolation_level=None)
        self._held.execute("BEGIN IMMEDIATE")
        return "held"

    async def let_go(self) -> str:
        assert self._held is not None
        self._held.execute("ROLLBACK")
        self._held.close()
        return "free"


async def _serve(database: LedgerDatabase, options: Mapping[str, Any]) -> None:
    ledger = database.ledger(**options)
    servant = _Servant(database, ledger)
    print('"here"', flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        method: Callable[..., Awaitable[Any]] = getattr(servant, command.pop("do"))
        try:
            answer = await method(**command)
        except RingError as exc:
            answer = {"error": exc.code, "message": exc.message}
        print(json.dumps(answer), flush=True)
    await ledger.aclose()


if __name__ == "__main__":
    kind, address, ledger_options = json.loads(sys.argv[1])
    asyncio.run(_serve(LedgerDatabase(kind, address), ledger_options))
