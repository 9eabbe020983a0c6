"""Where the server may connect to when somebody else names the place: public addresses, and the provider's own host."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ring_mcp.errors import PrivateAddress, ProviderBadReply, ProviderUnavailable
from ring_mcp.providers.guard import GuardedTransport, Trusted, is_public, public_addresses
from ring_mcp.providers.outgoing import Outgoing
from ring_mcp.proxies import DIRECT
from tests.providers.provider_samples import InstantClock, plain
from tests.providers.provider_samples import connected as connect
from tests.providers.raw_server import RawServer, answering, http

T = TypeVar("T")

PUBLIC = ["93.184.216.34", "104.18.2.115", "8.8.8.8", "1.0.0.1", "2606:4700::6812:273", "2a00:1450:4001:81b::200e"]
PRIVATE = {
    "this machine": "127.0.0.1",
    "this machine, another of its addresses": "127.0.0.2",
    "any address of this machine": "0.0.0.0",
    "this network": "0.1.2.3",
    "ten": "10.0.0.1",
    "one seventy-two": "172.16.5.4",
    "one ninety-two": "192.168.1.1",
    "the metadata of a cloud": "169.254.169.254",
    "the metadata of Alibaba": "100.100.100.200",
    "the metadata of Oracle": "192.0.0.192",
    "the wire server of Azure": "168.63.129.16",
    "carrier NAT": "100.64.0.1",
    "documentation": "203.0.113.9",
    "benchmarks": "198.18.0.1",
    "everybody": "255.255.255.255",
    "multicast": "224.0.0.1",
    "reserved": "240.0.0.1",
    "6to4 relays": "192.88.99.1",
    "this machine, IPv6": "::1",
    "nothing, IPv6": "::",
    "this link": "fe80::1",
    "this link, with a scope": "fe80::1%eth0",
    "this site": "fec0::1",
    "unique local": "fd00:ec2::254",
    "multicast, IPv6": "ff0e::1",
    "documentation, IPv6": "2001:db8::1",
    "documentation, the new one": "3fff::1",
    "IPv4 mapped": "::ffff:127.0.0.1",
    "IPv4 mapped, in hex": "::ffff:a9fe:a9fe",
    "IPv4 compatible": "::127.0.0.1",
    "IPv4 translated": "::ffff:0:10.0.0.1",
    "NAT64": "64:ff9b::10.0.0.1",
    "NAT64, local": "64:ff9b:1::10.0.0.1",
    "6to4": "2002:a00:1::1",
    "Teredo": "2001:0:4136:e378:8000:63bf:f5ff:fffe",
    "outside of what was given out": "5f00::1",
}
SPECIAL_IPV4 = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",
    "240.0.0.0/4",
]  # fmt: skip
SPECIAL_IPV6 = [
    "::/96",
    "100::/64",
    "2001:db8::/32",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "64:ff9b:1::/48",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE.values(), ids=PRIVATE)
def test_an_address_that_is_not_of_the_internet_is_not_public(address: str) -> None:
    assert not is_public(address)


@given(st.sampled_from([*SPECIAL_IPV4, *SPECIAL_IPV6]).flatmap(lambda network: st.ip_addresses(network=network)))
def test_no_address_of_a_special_network_is_public(address: Any) -> None:
    assert not is_public(str(address))


GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
CARRIERS = [ipaddress.ip_network(network) for network in ("::ffff:0:0/96", "64:ff9b::/96")]


@given(st.ip_addresses(v=6))
def test_ipv6_is_public_where_given_out_or_carrying_ipv4(address: Any) -> None:
    if is_public(str(address)):
        assert address in GLOBAL_UNICAST or any(address in network for network in CARRIERS)


@given(st.ip_addresses(v=4))
def test_ipv4_inside_ipv6_is_judged_as_ipv4(address: Any) -> None:
    number = int(address)
    carriers = [(0xFFFF << 32) | number, (0x0064FF9B << 96) | number, (0x2002 << 112) | (number << 80)]
    assert {is_public(str(ipaddress.IPv6Address(carrier))) for carrier in carriers} == {is_public(str(address))}


@given(st.ip_addresses())
def test_every_address_is_judged_one_way_or_the_other(address: Any) -> None:
    assert is_public(str(address)) in (True, False)


class NamesLoop(asyncio.SelectorEventLoop):
    """An event loop with name resolution of its own: per name the answers in turn, the last one for ever."""

    def __init__(self, names: Mapping[str, Sequence[Sequence[str]]]) -> None:
        super().__init__()
        self._answers = {name: list(answers) for name, answers in names.items()}

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> Any:
        answers = self._answers.get(host)
        if answers is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]


def where(names: Mapping[str, Sequence[Sequence[str]]], work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` where these names resolve, and no others."""
    with asyncio.Runner(loop_factory=lambda: NamesLoop(names)) as runner:
        return runner.run(work)


class Wire(httpx2.AsyncBaseTransport):
    """What would go onto the wire: every request, answered with a picture. Addresses in ``dead`` do not answer."""

    def __init__(self, *redirects: str, dead: Sequence[str] = ()) -> None:
        self.requests: list[httpx2.Request] = []
        self.tried: list[str] = []
        self._redirects = list(redirects)
        self.dead = dead

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.tried.append(request.url.host)
        if request.url.host in self.dead:
            raise httpx2.ConnectTimeout("nobody answers")
        self.requests.append(request)
        if self._redirects:
            return httpx2.Response(302, headers={"location": self._redirects.pop(0)})
        return httpx2.Response(200, content=b"picture")


async def download(url: str, wire: Wire, path: Path) -> None:
    async with connect("https://api.x.test/v1", InstantClock(), transport=wire) as provider_http:
        await provider_http.download(url, path)


def test_a_name_is_connected_to_by_the_address_that_was_checked(tmp_path: Path) -> None:
    wire = Wire()
    names = {"imgen.x.test": [["93.184.216.34"], ["127.0.0.1"]]}
    where(names, download("https://imgen.x.test:8443/a/b.jpg?sig=1", wire, tmp_path / "f"))
    (request,) = wire.requests
    assert str(request.url) == "https://93.184.216.34:8443/a/b.jpg?sig=1"
    assert request.headers["host"] == "imgen.x.test:8443"
    assert request.extensions["sni_hostname"] == "imgen.x.test"


def test_a_name_of_an_ipv6_address_is_connected_to_by_it(tmp_path: Path) -> None:
    wire = Wire()
    where({"imgen.x.test": [["2606:4700::1"]]}, download("https://imgen.x.test/a", wire, tmp_path / "f"))
    assert str(wire.requests[0].url) == "https://[2606:4700::1]/a"


def test_an_address_that_does_not_answer_gives_way_to_the_next(tmp_path: Path) -> None:
    wire = Wire(dead=["2606:4700::1", "93.184.216.34"])
    names = {"imgen.x.test": [["2606:4700::1", "93.184.216.34", "93.184.216.35"]]}
    where(names, download("https://imgen.x.test/a", wire, tmp_path / "f"))
    assert wire.tried == ["2606:4700::1", "93.184.216.34", "93.184.216.35"]
    assert wire.requests[0].headers["host"] == "imgen.x.test"


def test_a_name_none_of_whose_addresses_answers_is_asked_for_again_later(tmp_path: Path) -> None:
    wire = Wire(dead=["93.184.216.34", "93.184.216.35"])
    with pytest.raises(ProviderUnavailable):
        where(
            {"imgen.x.test": [["93.184.216.34", "93.184.216.35"]]},
            download("https://imgen.x.test/a", wire, tmp_path / "f"),
        )
    assert wire.tried == ["93.184.216.34", "93.184.216.35"]


@pytest.mark.parametrize(("port", "is_one"), [(65_535, True), (65_536, False)])
def test_the_last_port_is_the_last(port: int, is_one: bool, tmp_path: Path) -> None:
    wire = Wire()
    asking = download(f"https://imgen.x.test:{port}/a", wire, tmp_path / "f")
    with contextlib.nullcontext() if is_one else pytest.raises(ProviderBadReply):
        where({"imgen.x.test": [["93.184.216.34"]]}, asking)
    assert len(wire.requests) == is_one


def test_the_host_of_the_base_url_is_trusted_wherever_it_resolves_to(tmp_path: Path) -> None:
    wire = Wire()
    where({"api.x.test": [["10.0.0.1"]]}, download("https://API.x.test/files/a", wire, tmp_path / "f"))
    assert wire.requests[0].url.host == "api.x.test"


@pytest.mark.parametrize("address", PRIVATE.values(), ids=PRIVATE)
def test_a_name_of_a_private_address_is_sent_nothing(address: str, tmp_path: Path) -> None:
    wire = Wire()
    with pytest.raises(PrivateAddress, match="private network"):
        where({"evil.test": [[address]]}, download("https://evil.test/a", wire, tmp_path / "f"))
    assert wire.requests == []


@pytest.mark.parametrize("addresses", [["93.184.216.34", "10.0.0.1"], ["::1", "93.184.216.34"]])
def test_a_name_with_one_private_address_among_public_ones_is_refused(addresses: list[str], tmp_path: Path) -> None:
    wire = Wire()
    with pytest.raises(PrivateAddress, match=r"evil\.test"):
        where({"evil.test": [addresses]}, download("https://evil.test/a", wire, tmp_path / "f"))
    assert wire.requests == []


def test_a_name_is_checked_anew_at_every_hop(tmp_path: Path) -> None:
    wire = Wire("https://evil.test/second", "https://evil.test/third")
    names = {"evil.test": [["93.184.216.34"], ["93.184.216.34"], ["169.254.169.254"]]}
    with pytest.raises(PrivateAddress, match="private network"):
        where(names, download("https://evil.test/first", wire, tmp_path / "f"))
    assert [request.url.path for request in wire.requests] == ["/first", "/second"]


def test_a_redirect_to_the_trusted_host_does_not_carry_the_key_there(tmp_path: Path) -> None:
    wire = Wire("https://api.x.test/v1/files/a")
    names = {"imgen.x.test": [["93.184.216.34"]], "api.x.test": [["93.184.216.35"]]}
    where(names, download("https://imgen.x.test/a", wire, tmp_path / "f"))
    assert [request.headers["host"] for request in wire.requests] == ["imgen.x.test", "api.x.test"]
    assert all("authorization" not in request.headers for request in wire.requests)


@pytest.mark.parametrize(
    "url", ["https://unknown.test/a", f"https://{'a' * 64}.test/a", "https://a..b/", "https://.../"]
)
def test_a_name_that_does_not_resolve_is_asked_for_again_later(url: str, tmp_path: Path) -> None:
    with pytest.raises(ProviderUnavailable):
        where({}, download(url, Wire(), tmp_path / "f"))


def test_a_name_without_an_address_is_no_connection() -> None:
    with pytest.raises(httpx2.ConnectError, match=r"unknown\.test cannot be resolved"):
        where({}, public_addresses("unknown.test"))
    with pytest.raises(httpx2.ConnectError, match=r"empty\.test cannot be resolved"):
        where({"empty.test": [[]]}, public_addresses("empty.test"))


@pytest.mark.parametrize(
    ("url", "is_trusted"),
    [
        ("http://127.0.0.1:8700/media/a.jpg", True), ("http://127.0.0.1:8701/media/a.jpg", False),
        ("https://127.0.0.1:8700/", False), ("http://127.0.0.1/", False), ("http://localhost:8700/", False),
        ("https://media.test/", True), ("http://MEDIA.test/", True), ("https://media.test:9000/", False),
        ("http://bucket.test:9000/", True), ("http://bucket.test:9001/", False), ("http://bucket.test/", False),
        ("http://[::1]:9000/", True), ("http://[::1]:9001/", False), ("http://[fd00::1]/", True),
        ("https://secure.test/", True), ("https://secure.test:444/", False), ("http://secure.test/", False),
        ("http://open.test/", True), ("http://open.test:81/", False), ("https://open.test/", False),
    ],
)  # fmt: skip
def test_trust_is_by_origin_and_no_other_port_has_it(url: str, is_trusted: bool) -> None:
    named = ["media.test", "Bucket.test:9000", "[::1]:9000", "fd00::1", "secure.test:443", "open.test:80"]
    assert Trusted("http://127.0.0.1:8700/xai/v1", named).holds(httpx2.URL(url)) is is_trusted


@pytest.mark.parametrize("hop", ["named", "redirected"])
async def test_another_port_of_the_providers_machine_is_not_asked(hop: str, tmp_path: Path) -> None:
    async with (
        RawServer(answering(http(200, b"secret"))) as other,
        RawServer(answering(http(302, location=other.url))) as home,
        plain(home.url) as provider_http,
    ):
        with pytest.raises(PrivateAddress):
            await provider_http.download(other.url if hop == "named" else home.url, tmp_path / "f")
        with pytest.raises(PrivateAddress):
            await provider_http.check_address(other.url)
        await provider_http.check_address(home.url)
    assert other.connections == 0


def test_names_that_share_a_number_share_no_connection() -> None:
    numbers = {f"{number}.x.test": [["93.184.216.34"]] for number in range(20)}
    wires: list[Wire] = []

    def open_wire(_: str | None) -> Wire:
        wires.append(Wire())
        return wires[-1]

    async def ask(*names: str) -> None:
        guarded = GuardedTransport(Trusted("https://api.x.test", []), Outgoing(DIRECT, open_wire))
        async with httpx2.AsyncClient(transport=guarded) as client:
            for name in names:
                await client.get(f"https://{name}/a.jpg")

    where(numbers, ask(*numbers, *numbers))
    *own, others = wires
    for number, wire in enumerate(own):
        assert [request.headers["host"] for request in wire.requests] == [f"{number}.x.test"] * 2
        assert "close" not in wire.requests[0].headers["connection"]
    # However many names a provider makes up, so many have connections that are kept.
    assert len(own) == 16
    assert [request.headers["connection"] for request in others.requests] == ["close"] * 8
