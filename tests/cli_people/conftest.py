"""One running server, and a person with an own, empty home for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.cli_people.people import ALICE, BOB, Person, environment, serving

STRANGERS = [f"person-{number}" for number in range(500)]
"""Names and tokens: a clip that one of them has paid for stands for everybody who asks in the same words."""


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
        RING_MCP_SERVICE_TOKENS=",".join([f"alice={ALICE}", f"bob={BOB}", *(f"{n}={n}" for n in STRANGERS)]),
        RING_MAX_USD_PER_DAY="50",
        VIDEO_GEN_POLL_INTERVAL_MS="100",
    )
    with serving(env, folder) as url:
        yield url


@pytest.fixture(scope="session")
def strangers() -> Iterator[str]:
    return iter(STRANGERS)


@pytest.fixture
def remote(server: str, sandbox: SandboxServer, tmp_path: Path, strangers: Iterator[str]) -> Person:
    """Types the same commands with nothing but an address and a token: one that nobody has used before."""
    env = environment(tmp_path, RING_API_BASE_URL=f"{server}/", RING_SERVICE_TOKEN=next(strangers))
    return Person(env, tmp_path)
