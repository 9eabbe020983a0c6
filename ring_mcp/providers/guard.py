"""No address on a private network: where the server may fetch from when a provider's answer names the place.

The check is made on the address that is then connected to, for every hop of a redirect, so that neither a redirect nor
a name that resolves differently the second time gets around it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Collection

import httpx2

from ring_mcp.errors import ProviderBadReply

_LAST_PORT = 65535
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_GIVEN_OUT_IPV6 = ipaddress.ip_network("2000::/3")
_NOT_GLOBAL_EITHER = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments; the metadata of a cloud answers here
        "192.88.99.0/24",  # 6to4 relays
        "168.63.129.16/32",  # Azure's wire server
        "3fff::/20",  # documentation, since 2024
    )
)


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Connects to public addresses only, and to ``trusted_hosts`` (the hosts of the operator's own base URLs)."""

    def __init__(
        self,
        trusted_hosts: Collection[str],
        inner: httpx2.AsyncBaseTransport | None = None,
        certificates: ssl.SSLContext | None = None,
    ) -> None:
        self._trusted_hosts = frozenset(host.lower() for host in trusted_hosts)
        # Connections are pooled by address, and one address serves many names: never hand one name's TLS to another.
        limits = httpx2.Limits(max_connections=100, max_keepalive_connections=0)
        self._inner = inner or httpx2.AsyncHTTPTransport(limits=limits, verify=certificates or True)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.host.lower()
        if request.url.scheme not in ("http", "https") or not host or (request.url.port or 0) > _LAST_PORT:
            raise ProviderBadReply("refused to fetch from an address that is not http(s)")
        if host in self._trusted_hosts:
            return await self._inner.handle_async_request(request)
        request.extensions = {**request.extensions, "sni_hostname": host}
        first, *others = await public_addresses(host, request.url.port or 443)
        request.url = request.url.copy_with(host=first)  # the Host header keeps the name
        for other in others:
            try:
                return await self._inner.handle_async_request(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                request.url = request.url.copy_with(host=other)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def public_addresses(host: str, port: int) -> list[str]:
    """The addresses of ``host``, at least one. Raises ProviderBadReply if any is not public, ConnectError for none.

    Every address is checked: a name that also points into a private network is not trusted at all.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as exc:  # ValueError: a label is empty or too long
        raise httpx2.ConnectError(f"{host} cannot be resolved") from exc
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not addresses:
        raise httpx2.ConnectError(f"{host} cannot be resolved")
    for address in addresses:
        if not is_public(address):
            raise ProviderBadReply(f"refused to fetch from {host}: it is on a private network", retryable=False)
    return addresses


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet; IPv4 inside IPv6 is looked at, too."""
    ip = ipaddress.ip_address(address.split("%", 1)[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is None and ip not in _GIVEN_OUT_IPV6:
            return False  # is_global says yes to much that was never given out
        ip = inner or ip
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _NOT_GLOBAL_EITHER)
