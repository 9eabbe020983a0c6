"""The whole product below the tools, against a sandbox on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from ring_mcp.app import App, open_app
from ring_mcp.backends import LEDGER_FILE
from ring_mcp.clock import Clock
from ring_mcp.config import load_config
from ring_mcp.domain import Job, JobState
from ring_mcp.sandbox.server import SandboxServer
from tests.migrated_file import put_migrated_file

ACTOR = "tester"
LIMIT_S = 120.0


@contextlib.asynccontextmanager
async def running(
    sandbox: SandboxServer, state: Path, clock: Clock | None = None, /, **variables: str
) -> AsyncIterator[App]:
    """An open app. Keyword arguments in capitals are settings."""
    settings = {"RING_SANDBOX": sandbox.url, "RING_STATE_DIR": str(state), "VIDEO_GEN_POLL_INTERVAL_MS": "20"}
    config = load_config({**settings, **variables}, folder=state)
    put_migrated_file(config.state_path / LEDGER_FILE)
    async with open_app(config, clock=clock) as app:
        yield app


async def job_of(app: App, job_id: str | None) -> Job:
    job = await app.ledger.get(job_id or "")
    assert job is not None
    return job


async def rendering(app: App, job_id: str | None) -> Job:
    """The job once the provider has it."""
    async with asyncio.timeout(LIMIT_S):
        while (job := await job_of(app, job_id)).state is not JobState.RENDERING:
            await asyncio.sleep(0.01)
        return job


async def settled(app: App, job_id: str | None) -> Job:
    """The job once it has come to an end."""
    async with asyncio.timeout(LIMIT_S):
        while not (job := await job_of(app, job_id)).is_settled:
            await app.watch.wait(job.id, 1.0)
        return job


def charges(sandbox: SandboxServer) -> int:
    return len(sandbox.state.books.charges())


async def spool_is_empty(tmp_path: Path, limit_s: float = LIMIT_S) -> bool:
    """A job's files go once its result is on record, which its caller may hear first."""
    spool = tmp_path / "sandbox" / "spool"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            while any(spool.iterdir()):
                await asyncio.sleep(0.01)
    return not any(spool.iterdir())
