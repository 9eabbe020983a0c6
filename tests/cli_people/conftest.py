"""One running server, and a person with an own, empty home for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.cli_people.people import ALICE, BOB, Person, environment, serving


@pytest.fixture
def person(sandbox: SandboxServer, tmp_path: Path) -> Person:
    """Types commands that do everything in their own process."""
    return Person(environment(tmp_path, RING_SANDBOX=sandbox.url, VIDEO_GEN_POLL_INTERVAL_MS="100"), tmp_path)


@pytest.fixture(scope="session")
def server(running: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    env = environment(
        folder,
        RING_SANDBOX=running.url,
        RING_MCP_SERVICE_TOKENS=f"alice={ALICE},bob={BOB}",
        RING_MAX_USD_PER_DAY="50",
        VIDEO_GEN_POLL_INTERVAL_MS="100",
    )
    with serving(env, folder) as url:
        yield url


@pytest.fixture
def remote(server: str, sandbox: SandboxServer, tmp_path: Path) -> Person:
    """Types the same commands with nothing but an address and a token."""
    return Person(environment(tmp_path, RING_API_BASE_URL=f"{server}/", RING_SERVICE_TOKEN=ALICE), tmp_path)
