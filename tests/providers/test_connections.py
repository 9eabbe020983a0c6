"""How many connections there are to a provider at once: as many as are paid for, and a hundred for all else. Whom they
trust is read once a process."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from ring_mcp.errors import ProviderUnavailable
from ring_mcp.providers.connections import load_authorities
from ring_mcp.providers.http import ProviderHttp
from tests.own_certificate import server_certificate
from tests.providers.provider_samples import connected, judge
from tests.providers.raw_server import LIMIT_S, Connection, RawServer, answering, http

MOST = 100


async def pay(provider_http: ProviderHttp, url: str, path: Path) -> object:
    return await provider_http.post_paid(
        "images/generations", {}, model="a model", deadline_s=LIMIT_S, judge=judge, timed_out="too late"
    )


async def look(provider_http: ProviderHttp, url: str, path: Path) -> object:
    return await provider_http.get("models")


async def fetch(provider_http: ProviderHttp, url: str, path: Path) -> object:
    return await provider_http.download(f"{url}/a.jpg", path)


@pytest.mark.parametrize(("ask", "most"), [(pay, MOST + 1), (look, MOST), (fetch, MOST)], ids=["pay", "look", "fetch"])
async def test_a_hundred_are_open_at_once_and_paid_requests_never_wait(
    ask: Callable[[ProviderHttp, str, Path], Awaitable[object]], most: int, tmp_path: Path
) -> None:
    go, are_many = asyncio.Event(), asyncio.Event()
    waiting: set[Connection] = set()
    seen: list[int] = []

    async def hold(connection: Connection) -> None:
        while await connection.request() is not None:
            waiting.add(connection)
            seen.append(len(waiting))
            if len(waiting) == most:
                are_many.set()
            await go.wait()
            waiting.discard(connection)
            await connection.send(http(200, {"request_id": "r-1"}))

    async with RawServer(hold) as server, connected(server.url) as provider_http:
        paths = [tmp_path / str(number) for number in range(MOST + 1)]
        asking = [asyncio.ensure_future(ask(provider_http, server.url, path)) for path in paths]
        await asyncio.wait_for(are_many.wait(), LIMIT_S)
        for _ in range(MOST):  # one more would come by now
            await asyncio.sleep(0)
        go.set()
        await asyncio.wait_for(asyncio.gather(*asking), LIMIT_S)
    assert (max(seen), len(seen)) == (most, MOST + 1)


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ssl.SSLContext]:
    """For a server of this machine, which a process trusts that begins now."""
    context, trusted = server_certificate(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    load_authorities.cache_clear()
    yield context
    load_authorities.cache_clear()


async def test_whom_a_process_trusts_is_read_once(tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(url: str) -> int:
        async with connected(url) as provider_http:
            return (await provider_http.get("models")).status

    async with RawServer(answering(http(200, {})), tls=tls) as server:
        url = f"https://localhost:{server.port}"
        assert await ask(url) == 200
        monkeypatch.delenv("SSL_CERT_FILE")
        assert await ask(url) == 200
        load_authorities.cache_clear()  # as another process has it
        with pytest.raises(ProviderUnavailable):
            await ask(url)
