"""A sandbox as it is without settings, as new before every test; real sockets throughout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.sandbox.foreign_storage import Bucket

XAI_KEY = "sandbox-xai-key"
GOOGLE_KEY = "sandbox-google-key"
RINGBASE_TOKEN = "sandbox-ringbase-token"

# Everything is plain HTTP on the loopback interface; loading certificates takes 25 ms for each client.
PLAIN: dict[str, Any] = {"verify": False, "trust_env": False, "timeout": 60.0}


@pytest.fixture(scope="session")
def running() -> Iterator[SandboxServer]:
    """One that paints prompts, too."""
    with SandboxServer() as server:
        yield server


@pytest.fixture
def anyone(sandbox: SandboxServer) -> Iterator[httpx2.Client]:
    """A client without any credentials."""
    with httpx2.Client(base_url=sandbox.url, **PLAIN) as client:
        yield client


@pytest.fixture
def xai(sandbox: SandboxServer) -> Iterator[httpx2.Client]:
    """A client of the emulated xAI, with the key it accepts."""
    headers = {"authorization": f"Bearer {XAI_KEY}"}
    with httpx2.Client(base_url=sandbox.xai_base_url, headers=headers, **PLAIN) as client:
        yield client


@pytest.fixture(params=["v1", "v1beta"])
def google(sandbox: SandboxServer, request: pytest.FixtureRequest) -> Iterator[httpx2.Client]:
    """A client of the emulated Google, with the key it accepts, for each version of its API."""
    base_url = f"{sandbox.url}/google/{request.param}"
    with httpx2.Client(base_url=base_url, headers={"x-goog-api-key": GOOGLE_KEY}, **PLAIN) as client:
        yield client


@pytest.fixture
def ringbase(sandbox: SandboxServer) -> Iterator[httpx2.Client]:
    """A client of the emulated ring-filebase, with the token it accepts."""
    headers = {"authorization": f"Bearer {RINGBASE_TOKEN}"}
    with httpx2.Client(base_url=sandbox.ringbase_url, headers=headers, **PLAIN) as client:
        yield client


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    storage = Bucket()
    yield storage
    storage.close()
