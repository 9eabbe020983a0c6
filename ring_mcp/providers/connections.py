"""The connections to one provider: paid requests, free ones, and downloads from wherever an answer points to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from ring_mcp.providers.guard import GuardedTransport

_CONNECT_TIMEOUT_S = 10.0
_READ_TIMEOUT_S = 60.0
_MAX_REDIRECTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """One for each kind of request. ``paid`` and ``free`` go to the provider, ``media`` wherever its answers point."""

    paid: httpx2.AsyncClient
    free: httpx2.AsyncClient
    media: httpx2.AsyncClient


def open_clients(
    base_url: str,
    headers: Mapping[str, str],
    trusted_hosts: Collection[str],
    transport: httpx2.AsyncBaseTransport | None,
) -> Clients:
    certificates = httpx2.create_ssl_context()
    timeout = httpx2.Timeout(_READ_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S, pool=None)
    shared: dict[str, Any] = {
        "base_url": base_url,
        "headers": dict(headers),
        "verify": certificates,
        "transport": transport,
    }
    return Clients(
        # A pooled connection may have been closed by the other side a moment ago; a request that is lost that way
        # might have been paid for. So paid requests open their own connection; their deadline ends them.
        paid=httpx2.AsyncClient(
            **shared,
            limits=httpx2.Limits(max_keepalive_connections=0),
            timeout=httpx2.Timeout(None, connect=_CONNECT_TIMEOUT_S),
        ),
        free=httpx2.AsyncClient(**shared, limits=httpx2.Limits(max_connections=100), timeout=timeout),
        media=httpx2.AsyncClient(
            transport=GuardedTransport(trusted_hosts, transport, certificates),
            timeout=timeout,
            follow_redirects=True,
            max_redirects=_MAX_REDIRECTS,
        ),
    )
