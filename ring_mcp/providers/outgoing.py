"""Sends requests directly or through a proxy, by the address that they go to."""

from __future__ import annotations

from collections.abc import Callable

import httpx2

from ring_mcp.proxies import Proxies, trouble_with


class Outgoing(httpx2.AsyncBaseTransport):
    """Sends each request directly, or through the proxy set for its address. ``make(proxy)`` makes a transport, which
    keeps connections by the host and the port that it is told to connect to."""

    def __init__(self, proxies: Proxies, make: Callable[[str | None], httpx2.AsyncBaseTransport]) -> None:
        self._proxies = proxies
        self._make = make
        self._ways: dict[tuple[str | None, str], httpx2.AsyncBaseTransport] = {}

    def proxy_of(self, url: httpx2.URL) -> str | None:
        return self._proxies.of(str(url))

    def way(self, proxy: str | None, name: str = "") -> httpx2.AsyncBaseTransport:
        """The transport for an address. Raises ProxyError for an unusable proxy: it is not bypassed.

        ``name`` has connections of its own, where a host is told by its number: one number serves many names, and one
        name's TLS is not another's.
        """
        if proxy is not None and (trouble := trouble_with(proxy)) is not None:
            raise httpx2.ProxyError(trouble)
        if (proxy, name) not in self._ways:
            self._ways[proxy, name] = self._make(proxy)
        return self._ways[proxy, name]

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await self.way(self.proxy_of(request.url)).handle_async_request(request)

    async def aclose(self) -> None:
        for way in self._ways.values():
            await way.aclose()
