from __future__ import annotations

from collections.abc import Iterator

import pytest

from ring_mcp.sandbox.server import SandboxServer


@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(settings={"show_prompt": False}) as server:
        yield server
