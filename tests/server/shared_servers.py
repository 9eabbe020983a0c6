"""One server for each folder of tests; tests that end a server start their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.server.wire import RingProcess, environment


@pytest.fixture(scope="session")
def shared_ring(running: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RingProcess]:
    folder = tmp_path_factory.mktemp("ring")
    with RingProcess(environment(folder, RING_SANDBOX=running.url), folder, cold=True) as ring:
        yield ring


@pytest.fixture
def ring(shared_ring: RingProcess, sandbox: SandboxServer) -> RingProcess:
    """The folder's server, with its sandbox reset."""
    return shared_ring


@pytest.fixture
def env(sandbox: SandboxServer, tmp_path: Path) -> dict[str, str]:
    """The environment of a server of this test alone, in ``tmp_path``, against the shared sandbox."""
    return environment(tmp_path, RING_SANDBOX=sandbox.url)
