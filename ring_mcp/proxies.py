"""Which proxy a request goes through, as HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY say. Pure.

The rules are those that other programs have: a name in small letters wins, ALL_PROXY stands in for a missing one,
NO_PROXY names hosts (with everything below them), addresses, networks and, with ``:port``, single ports; ``*`` is
everything. This machine itself is never asked for through a proxy.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxies:
    """By scheme of a request ("http", "https", "all") the address of its proxy; ``bypass`` is NO_PROXY, by entry."""

    by_scheme: tuple[tuple[str, str], ...] = ()
    bypass: tuple[str, ...] = ()

    def of(self, url: str) -> str | None:
        """The proxy for an absolute address, which may hold a password; None: ask straight."""
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip(".").lower(), parts.port or _PORTS.get(parts.scheme)
        except ValueError:  # whoever sends it says what is wrong with it
            return None
        named = dict(self.by_scheme)
        proxy = named.get(parts.scheme) or named.get("all")
        if proxy is None or not host or _is_this_machine(host):
            return None
        return None if any(_names(entry, host, port) for entry in self.bypass) else proxy

    @property
    def hosts(self) -> tuple[str, ...]:
        """The entries of NO_PROXY that hold for every port."""
        return tuple(entry for entry in self.bypass if not _with_port(entry))


DIRECT = Proxies()


def proxies_of(variables: Mapping[str, str]) -> Proxies:
    """What the variables say, by their names in small and in capital letters."""
    named = {}
    for kind in ("http", "https", "all", "no"):
        value = variables.get(f"{kind}_proxy", variables.get(f"{kind.upper()}_PROXY", ""))
        if value.strip():
            named[kind] = value.strip()
    return read_proxies(named)


def read_proxies(named: Mapping[str, str]) -> Proxies:
    """From proxies by scheme, with NO_PROXY under "no", as ``urllib.request.getproxies`` has them."""
    return Proxies(
        tuple((kind, _address(named[kind])) for kind in ("http", "https", "all") if named.get(kind)),
        tuple(entry.lower() for entry in re.split(r"[,\s]+", named.get("no", "")) if entry),
    )


def mask_proxy(proxy: str) -> str:
    """A proxy's address without the user and the password in it."""
    scheme, _, rest = proxy.partition("://")
    # From the right: a password may have an @ in it.
    return f"{scheme}://{rest.rsplit('@', 1)[-1]}"


def trouble_with(proxy: str) -> str | None:
    """Why a proxy cannot be used, with the address and without the password; None for one that can be."""
    try:
        parts = urlsplit(proxy)
        usable = parts.scheme.lower() in _PORTS and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    return None if usable else f"{mask_proxy(proxy)} is not the address of an http or https proxy"


def _address(value: str) -> str:
    return value if "://" in value else f"http://{value}"


def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _ip(host)
    return address is not None and address.is_loopback


def _names(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of NO_PROXY means this host and port."""
    if entry == "*":
        return True
    address = _ip(host)
    if address is not None and (network := _network(entry)) is not None:
        return address in network
    if (parts := _with_port(entry)) is not None:
        entry, wanted = parts
        if wanted != port:
            return False
    if address is not None:
        return address == _ip(entry.strip("[]"))
    # Other programs write "example.org" as ".example.org" or "*.example.org" as well.
    entry = entry.removeprefix("*").strip(".")
    return bool(entry) and (host == entry or host.endswith(f".{entry}"))


def _with_port(entry: str) -> tuple[str, int] | None:
    """An entry that names a port, in two; None for any other."""
    name, _, port = entry.rpartition(":")
    # "::1" ends in a colon and digits, and names no port.
    return (name, int(port)) if name and port.isdecimal() and _ip(entry) is None else None


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        # Not strict: people write 10.1.2.3/8, and mean the network.
        return ipaddress.ip_network(text.strip("[]"), strict=False) if "/" in text else None
    except ValueError:
        return None
