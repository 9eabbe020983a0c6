"""No address on a private network: where the server may fetch from when a provider's answer names the place.

The check is made on the address that is then connected to, for every hop of a redirect, so that neither a redirect nor
a name that resolves differently the second time gets around it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Collection

import httpx2

from ring_mcp.errors import ProviderBadReply


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Connects to public addresses only, and to ``trusted_hosts`` (the hosts of the operator's own base URLs)."""

    def __init__(self, trusted_hosts: Collection[str], inner: httpx2.AsyncBaseTransport | None = None) -> None:
        self._trusted_hosts = frozenset(host.lower() for host in trusted_hosts)
        self._inner = inner or httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_connections=100))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.host.lower()
        if request.url.scheme not in ("http", "https"):
            raise ProviderBadReply(f"refused to fetch a {request.url.scheme}: address")
        if host not in self._trusted_hosts:
            address = await public_address(host, request.url.port or 443)
            request.extensions = {**request.extensions, "sni_hostname": host}
            request.url = request.url.copy_with(host=address)  # the Host header keeps the name
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def public_address(host: str, port: int) -> str:
    """An address of ``host``, all of whose addresses are public. Raises ProviderBadReply if one is not, or if none is.

    Every address is checked: a name that also points into a private network is not trusted at all.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as exc:
        raise httpx2.ConnectError(f"{host} cannot be resolved") from exc
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if not is_public(address):
            raise ProviderBadReply(f"refused to fetch from {host}: it is on a private network", retryable=False)
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet; IPv4 inside IPv6 is looked at, too."""
    ip = ipaddress.ip_address(address.split("%", 1)[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is not None:
            ip = inner
        elif ip in ipaddress.ip_network("64:ff9b::/96"):
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.is_global and not ip.is_multicast
