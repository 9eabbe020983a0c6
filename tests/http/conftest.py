"""One server for the folder; tests that need other settings start their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.http.http_reach import TOKENS, HttpRing, environment, quick_environment


@pytest.fixture(scope="session")
def shared_ring(running: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpRing]:
    folder = tmp_path_factory.mktemp("ring")
    with HttpRing(quick_environment(folder, running), folder, cold=True) as ring:
        yield ring


@pytest.fixture
def ring(shared_ring: HttpRing, sandbox: SandboxServer) -> HttpRing:
    """The folder's server, with its sandbox reset."""
    shared_ring.forget_stderr()
    return shared_ring


@pytest.fixture
def env(sandbox: SandboxServer, tmp_path: Path) -> dict[str, str]:
    """The environment of a server of this test alone, in ``tmp_path``, against the shared sandbox."""
    return environment(tmp_path, RING_SANDBOX=sandbox.url, RING_MCP_SERVICE_TOKENS=TOKENS)
