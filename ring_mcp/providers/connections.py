"""The connections to one provider: paid requests, free ones, and downloads from wherever an answer points to."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx2

from ring_mcp.providers.guard import GuardedTransport, Trusted, origin_of
from ring_mcp.providers.outgoing import Outgoing
from ring_mcp.proxies import Proxies

_CONNECT_TIMEOUT_S = 10.0
_READ_TIMEOUT_S = 60.0
_MAX_REDIRECTS = 3
# What is idle is closed by the next request that goes there, which may be hours away.
_KEPT = httpx2.Limits(max_connections=100, max_keepalive_connections=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """One for each kind of request. ``paid`` and ``free`` go to the provider, ``media`` wherever its answers point.

    ``keyed`` does so as well, for results that the provider itself hands out to its key alone.
    """

    paid: httpx2.AsyncClient
    free: httpx2.AsyncClient
    media: httpx2.AsyncClient
    keyed: httpx2.AsyncClient

    async def aclose(self) -> None:
        for client in (self.paid, self.free, self.media, self.keyed):
            await client.aclose()


class KeyedTransport(httpx2.AsyncBaseTransport):
    """Shows the key to the provider's own address and to nobody else, decided anew at every hop of a redirect."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, base_url: str, headers: Mapping[str, str]) -> None:
        self._inner = inner
        self._home = origin_of(httpx2.URL(base_url))
        self._headers = dict(headers)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        # Not left to the client: on a redirect to another host it drops Authorization, and no other header with a key.
        at_home = origin_of(request.url) == self._home
        for name, value in self._headers.items():
            request.headers.pop(name, None)  # a redirect takes the headers of the hop before along
            if at_home:
                request.headers[name] = value
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


@cache
def load_authorities() -> ssl.SSLContext:
    """The authorities that are trusted. To read them takes longer than all the rest, so a process does it once."""
    return httpx2.create_ssl_context()


def open_clients(
    base_url: str,
    headers: Mapping[str, str],
    trusted: Trusted,
    proxies: Proxies,
    transport: httpx2.AsyncBaseTransport | None,
) -> Clients:
    """``transport`` takes the place of every connection, whatever proxies are set."""
    certificates = load_authorities()
    # No limit for the pool: to wait for a connection of our own must not look like a fault of the provider.
    timeout = httpx2.Timeout(_READ_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S, pool=None)

    def send_out(limits: httpx2.Limits) -> Outgoing:
        return Outgoing(proxies, lambda proxy: transport or _connections(limits, certificates, proxy))

    # Which proxy a request takes is settled by our own configuration, in Outgoing; the environment must not add others.
    shared: dict[str, Any] = {"base_url": base_url, "headers": dict(headers), "trust_env": False}
    guarded = GuardedTransport(trusted, send_out(_KEPT))
    fetching: dict[str, Any] = {
        "timeout": timeout,
        "follow_redirects": True,
        "max_redirects": _MAX_REDIRECTS,
        "trust_env": False,
    }
    return Clients(
        # A pooled connection may have been closed by the other side a moment ago; a request that is lost that way
        # might have been paid for. So paid requests open their own connection; their deadline ends them.
        paid=httpx2.AsyncClient(
            **shared,
            transport=send_out(httpx2.Limits(max_keepalive_connections=0)),
            timeout=httpx2.Timeout(None, connect=_CONNECT_TIMEOUT_S),
        ),
        free=httpx2.AsyncClient(**shared, transport=send_out(_KEPT), timeout=timeout),
        media=httpx2.AsyncClient(transport=guarded, **fetching),
        keyed=httpx2.AsyncClient(transport=KeyedTransport(guarded, base_url, headers), **fetching),
    )


def _connections(limits: httpx2.Limits, certificates: ssl.SSLContext, proxy: str | None) -> httpx2.AsyncHTTPTransport:
    return httpx2.AsyncHTTPTransport(limits=limits, verify=certificates, proxy=proxy)
