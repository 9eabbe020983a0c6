"""What the suites of all providers stand on: a clock that does not wait, and connections to each emulated service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2

from ring_mcp.domain import MediaKind
from ring_mcp.presets import load_presets
from ring_mcp.providers.base import Connection, MediaProvider
from ring_mcp.providers.http import ProviderHttp
from ring_mcp.providers.vendors import BY_NAME, VENDORS
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.sandbox.services import SERVICES

TODAY = datetime(2026, 11, 21, 12, tzinfo=UTC)
PRESETS = load_presets()
MAKERS: dict[MediaKind, list[str]] = {
    kind: [vendor.name for vendor in VENDORS if kind in vendor.makers] for kind in ("image", "video")
}
KEYS = {name: service.key for name, service in SERVICES.items()}
WRONG_KEY = "a-key-that-is-not-known-to-anybody"
OLD_SPELLING: dict[str, dict[str, Any]] = {"xai": {"code_style": "old"}, "google": {"google_error_array": True}}
"""How each service spells its errors when it does not spell them as usual."""


class InstantClock:
    """A clock whose sleeps take no time and are written down, in seconds."""

    def __init__(self) -> None:
        self.slept_s: list[float] = []

    def now(self) -> datetime:
        return TODAY + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return sum(self.slept_s)

    async def sleep(self, delay_s: float) -> None:
        self.slept_s.append(delay_s)


@asynccontextmanager
async def opened_maker(
    kind: MediaKind, name: str, sandbox: SandboxServer, clock: InstantClock, key: str
) -> AsyncIterator[MediaProvider]:
    """The vendor's own maker of this kind, on its emulated service, with this key or with none."""
    vendor = BY_NAME[name]
    http = ProviderHttp(
        provider=name,
        base_url=sandbox.url + SERVICES[name].path,
        headers=vendor.headers(key) if key else {},
        clock=clock,
        max_media_bytes=4 * 1024 * 1024,
        # Loading certificates takes 60 ms each time, and there are none here.
        transport=httpx2.AsyncHTTPTransport(verify=False, limits=httpx2.Limits(max_keepalive_connections=0)),
    )
    connection = Connection(http=http, has_key=bool(key), token_prices=PRESETS.token_prices(), clock=clock)
    yield vendor.makers[kind](connection)
    await http.aclose()
