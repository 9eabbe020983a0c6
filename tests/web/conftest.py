"""One server for the folder, with tokens; the pages are looked at as a browser does, with a cookie."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import httpx2
import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.http.http_reach import ALICE, TOKENS, HttpRing, environment


@pytest.fixture(scope="session")
def shared_pages(running: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpRing]:
    folder = tmp_path_factory.mktemp("pages")
    env = environment(
        folder,
        RING_SANDBOX=running.url,
        RING_MCP_SERVICE_TOKENS=TOKENS,
        RING_MAX_CALLS_PER_MINUTE="100000",
        RING_MAX_USD_PER_DAY="20",
        VIDEO_GEN_POLL_INTERVAL_MS="100",
    )
    with HttpRing(env, folder) as ring:
        yield ring


@pytest.fixture
def ring(shared_pages: HttpRing, sandbox: SandboxServer) -> HttpRing:
    return shared_pages


@contextlib.contextmanager
def log_in(ring: HttpRing, token: str = ALICE, **fields: str) -> Iterator[httpx2.Client]:
    """A browser that has logged in."""
    with ring.client(token=None) as client:
        answer = client.post("/gallery/login", data={"token": token, **fields}, headers={"origin": ring.url})
        assert answer.status_code == 303, answer.text
        yield client
