"""Worlds to kill servers in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.kill.kill_world import LedgerKind, MakeWorld, World
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
