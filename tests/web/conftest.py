"""One server for the folder, with tokens; the pages are looked at as a browser does, with a cookie."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import httpx2
import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.http.http_reach import ALICE, HttpRing, quick_environment


@pytest.fixture(scope="session")
def shared_pages(running: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpRing]:
    folder = tmp_path_factory.mktemp("pages")
    with HttpRing(quick_environment(folder, running, RING_MAX_USD_PER_DAY="20"), folder) as ring:
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
