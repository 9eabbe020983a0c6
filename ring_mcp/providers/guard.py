"""Keeps the server from fetching from private networks when a provider's answer names the address.

The check is made on the address that is then connected to, for every hop of a redirect, so that neither a redirect nor
a name that resolves differently the second time gets around it. Through a proxy it is the proxy that resolves and
connects: there a private address, and a name that has one here, is refused, and a name that only the proxy knows goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Collection

import httpx2

from ring_mcp.errors import PrivateAddress, ProviderBadReply
from ring_mcp.providers.outgoing import Outgoing

_LAST_PORT = 65535
_MOST_NAMES = 16
# Where a network translates, what lies under this prefix is any IPv4 address, a private one as well.
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


_PORTS = {"http": 80, "https": 443}


class Trusted:
    """What may lie on a private network: the origin of ``base_url``, and what the operator names.

    ``hosts``: a host on the ports that http and https have, host:port, or host:* for all. Another port of a trusted
    host is another service, of which nobody has said that strangers may be led there.
    """

    def __init__(self, base_url: str, hosts: Collection[str]) -> None:
        self._home = origin_of(httpx2.URL(base_url))
        self._named = frozenset(host.strip().lower() for host in hosts)

    def holds(self, url: httpx2.URL) -> bool:
        scheme, host, port = origin_of(url)
        # With a port an IPv6 address needs its brackets, or the port would read as a part of it; without one either
        # form will do.
        names = {f"[{host}]", host} if ":" in host else {host}
        places = {f"{n}:{p}" for n in names if ":" not in host or n.startswith("[") for p in (port, "*")}
        if port in _PORTS.values():
            places |= names
        return (scheme, host, port) == self._home or not places.isdisjoint(self._named)


def origin_of(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host.lower(), url.port or _PORTS.get(url.scheme)


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Connects only to public and to trusted addresses."""

    def __init__(self, trusted: Trusted, outgoing: Outgoing) -> None:
        self._trusted = trusted
        self._outgoing = outgoing
        self._names: set[str] = set()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.host.lower()
        if request.url.scheme not in ("http", "https") or not host or (request.url.port or 0) > _LAST_PORT:
            raise ProviderBadReply("refused to fetch from an address that is not http(s)")
        if self._trusted.holds(request.url):
            return await self._outgoing.handle_async_request(request)
        if self._outgoing.proxy_of(request.url) is not None:
            with contextlib.suppress(httpx2.ConnectError):  # the proxy may know it
                await public_addresses(host)
            return await self._outgoing.handle_async_request(request)
        return await self._connect(request, host)

    async def _connect(self, request: httpx2.Request, host: str) -> httpx2.Response:
        """Connect to one address after the other, each checked, until one answers."""
        straight = self._way_to(host, request)
        # The connection goes to an address that was checked, and the certificate still has to be that of the name.
        request.extensions = {**request.extensions, "sni_hostname": host}
        first, *others = await public_addresses(host)
        request.url = request.url.copy_with(host=first)  # the Host header keeps the name
        for other in others:
            try:
                return await straight.handle_async_request(request)
            # Only what never connected: a request that has left is this address's to answer.
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                request.url = request.url.copy_with(host=other)
        return await straight.handle_async_request(request)

    def _way_to(self, host: str, request: httpx2.Request) -> httpx2.AsyncBaseTransport:
        """Results of a provider come from a few names, whose connections are kept; a provider that makes up new ones
        does not make us keep more and more."""
        if len(self._names) < _MOST_NAMES:
            self._names.add(host)
        if host in self._names:
            return self._outgoing.way(None, host)
        request.headers["Connection"] = "close"
        return self._outgoing.way(None)

    async def aclose(self) -> None:
        await self._outgoing.aclose()


async def public_addresses(host: str) -> list[str]:
    """The addresses of ``host``, at least one. Raises PrivateAddress if any is not public, ConnectError for none.

    Every address is checked: a name that also points into a private network is not trusted at all.
    """
    try:
        # Resolved once, and what was checked is what is connected to: a second look-up might give another answer.
        found = await asyncio.get_running_loop().getaddrinfo(host, None)
    except (OSError, ValueError) as exc:  # ValueError: a label is empty or too long
        raise httpx2.ConnectError(f"{host} cannot be resolved") from exc
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not addresses:
        raise httpx2.ConnectError(f"{host} cannot be resolved")
    for address in addresses:
        if not is_public(address):
            raise PrivateAddress(f"refused to fetch from {host}: it is on a private network")
    return addresses


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet; IPv4 inside IPv6 is looked at, too."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is None and ip not in _GIVEN_OUT_IPV6:
            return False  # is_global says yes to much that was never given out
        ip = inner or ip
    # is_global is true of multicast addresses, too.
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _NOT_GLOBAL_EITHER)
