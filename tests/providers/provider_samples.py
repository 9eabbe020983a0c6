"""What the tests of providers are made of: a plan, a reply, a clock, connections."""

from __future__ import annotations

import asyncio
import json
import resource
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx2

from ring_mcp.domain import ImagePlan, PriceLine
from ring_mcp.errors import ProviderError
from ring_mcp.providers.http import ProviderHttp
from ring_mcp.providers.replies import Reply
from ring_mcp.providers.xai.images import XaiImages
from ring_mcp.providers.xai.replies import read_paid_error
from ring_mcp.proxies import DIRECT, Proxies

KEY = "xai-0123456789abcdefghijklmnopqrstuvwxyz"
LIMIT_S = 60.0
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MEDIA_LIMIT_BYTES = 8 * 1024 * 1024


class InstantClock:
    """A clock whose sleeps take no time and are written down, in seconds."""

    def __init__(self) -> None:
        self.slept_s: list[float] = []

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return sum(self.slept_s)

    async def sleep(self, delay_s: float) -> None:
        self.slept_s.append(delay_s)


def image_plan(
    *,
    model: str = "grok-imagine-image-2.0",
    prompt: str = "a lighthouse at dusk",
    n: int = 1,
    aspect_ratio: str = "1:1",
    resolution: str = "1k",
    seed: int | None = None,
    deferred: bool = True,
) -> ImagePlan:
    price = PriceLine(what="image", unit_usd=Decimal("0.04"), count=Decimal(n), as_of="2026-09-29")
    return ImagePlan(
        provider="xai",
        requested_model=model,
        model=model,
        prompt=prompt,
        n=n,
        aspect_ratio=aspect_ratio,
        resolution=resolution,
        quality="low",
        seed=seed,
        deferred=deferred,
        purpose="og",
        ref_code="R-1",
        storage_prefix="generated",
        prices=(price,),
    )


def reply(status: int = 200, body: bytes | str | object = b"", **headers: str) -> Reply:
    """An answer; ``body`` is bytes, text, or a value for JSON. ``retry_after="3"`` is a header."""
    text = body if isinstance(body, str) else "" if isinstance(body, bytes) else json.dumps(body)
    content = body if isinstance(body, bytes) else text.encode("utf-8", "surrogatepass")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=status, headers=httpx2.Headers(named), body=content)


def judge(answer: Reply) -> None:
    """What a provider does with the answer to a paid request."""
    if not 200 <= answer.status < 300:
        raise read_paid_error(answer, NOW, what="image generation")


@asynccontextmanager
async def connected(
    base_url: str,
    clock: InstantClock | None = None,
    *,
    key: str = KEY,
    headers: dict[str, str] | None = None,
    max_media_bytes: int = MEDIA_LIMIT_BYTES,
    proxies: Proxies = DIRECT,
    trusted_hosts: Collection[str] = (),
    transport: httpx2.AsyncBaseTransport | None = None,
    limit_s: float = 2 * LIMIT_S,
) -> AsyncIterator[ProviderHttp]:
    """Connections to a server, for ``limit_s`` at most."""
    http = ProviderHttp(
        provider="xai",
        base_url=base_url,
        headers=headers or ({"Authorization": f"Bearer {key}"} if key else {}),
        clock=clock or InstantClock(),
        max_media_bytes=max_media_bytes,
        proxies=proxies,
        trusted_hosts=trusted_hosts,
        transport=transport,
    )
    try:
        async with asyncio.timeout(limit_s):
            yield http
    finally:
        await http.aclose()


def plain(base_url: str, **kwargs: Any) -> AbstractAsyncContextManager[ProviderHttp]:
    """As ``connected``, without loading certificates for a server that has none: that takes 60 ms each time."""
    return connected(base_url, transport=httpx2.AsyncHTTPTransport(verify=False), **kwargs)


def xai_images(http: ProviderHttp, clock: InstantClock | None = None) -> XaiImages:
    return XaiImages(http, has_key=True, clock=clock or InstantClock())


@contextmanager
def full_disk(room_bytes: int = 512) -> Iterator[None]:
    """As on a disk that is full: no file can grow beyond ``room_bytes``."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def no_files_left() -> Iterator[None]:
    """As in a process that has as many files open as it may."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def is_one_line(error: ProviderError) -> bool:
    """Whether the message can be shown, logged and stored: something, on one line, without control characters."""
    return bool(error.message) and error.message.isprintable()
