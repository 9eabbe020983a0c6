"""HTTPS_PROXY and NO_PROXY: requests to outside go through the proxy, and what it does not let out is not sent."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest

from ring_mcp.backends import open_providers
from ring_mcp.config import child_environment, dump_config, load_config, restore_config
from ring_mcp.errors import OutcomeUnknown, PrivateAddress, ProviderError, ProviderUnavailable
from ring_mcp.presets import load_presets
from ring_mcp.providers.base import Accepted, Finished, Inputs
from ring_mcp.providers.connections import load_authorities
from ring_mcp.providers.guard import GuardedTransport, Trusted
from ring_mcp.providers.http import ProviderHttp
from ring_mcp.providers.outgoing import Outgoing
from ring_mcp.proxies import DIRECT, Proxies, mask_proxy, proxies_of
from tests.connect_proxy import proxy
from tests.fake_clock import let_pass
from tests.own_certificate import server_certificate
from tests.providers.provider_samples import KEY, InstantClock, connected, image_plan, judge
from tests.providers.raw_server import LIMIT_S, RawServer, answering, closing_unread, http, saying
from tests.providers.test_guard import where

API, MEDIA = "api.x.test", "media.x.test"
PICTURE = b"\xff\xd8\xff picture" * 100
HANDLE = http(200, {"request_id": "r-1"})
DONE = http(200, {"status": "done", "data": [{"url": f"https://{MEDIA}/a.jpg"}]})


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ssl.SSLContext]:
    """For a server of both names, which clients of this test trust."""
    context, trusted = server_certificate(tmp_path, API, MEDIA)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    load_authorities.cache_clear()  # a process reads them once
    yield context
    load_authorities.cache_clear()


def through(url: str) -> Proxies:
    return proxies_of({"HTTPS_PROXY": url, "HTTP_PROXY": url})


async def post(provider_http: ProviderHttp, deadline_s: float = LIMIT_S) -> None:
    await provider_http.post_paid(
        "images/generations", {}, model="any", deadline_s=deadline_s, judge=judge, timed_out="timed out"
    )


async def test_paid_request_look_and_download_go_through_the_proxy_which_reads_nothing(
    tls: ssl.SSLContext, tmp_path: Path
) -> None:
    answers = answering(HANDLE, DONE, http(200, PICTURE))
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(RawServer(answers, tls=tls))
        here = {f"{name}:443": ("127.0.0.1", server.port) for name in (API, MEDIA)}
        way_out = await stack.enter_async_context(proxy(names=here, password="ring:secret"))
        address = way_out.url.replace("//", "//ring:secret@")
        environ = {"XAI_API_KEY": KEY, "XAI_API_BASE_URL": f"https://{API}/v1", "https_proxy": address}
        config = load_config(environ, folder=tmp_path)
        providers, _ = open_providers(config, load_presets(), InstantClock(), stack)
        images = providers["image", "xai"]
        plan = image_plan()
        accepted = await images.submit(plan, Inputs(), spool=tmp_path / "job", deadline_s=LIMIT_S)
        assert accepted == Accepted(provider_request_id="r-1")
        finished = await images.check(plan, "r-1")
        assert isinstance(finished, Finished)
        await images.download(finished.outputs[0], tmp_path / "picture")
    assert (tmp_path / "picture").read_bytes() == PICTURE
    assert way_out.asked == [f"CONNECT {API}:443", f"CONNECT {API}:443", f"CONNECT {MEDIA}:443"]
    assert [seen.headers.get("authorization") for seen in server.requests] == [f"Bearer {KEY}", f"Bearer {KEY}", None]
    assert [seen.headers["host"] for seen in server.requests] == [API, API, MEDIA]


REFUSED = b"HTTP/1.1 403 Forbidden by policy\r\ncontent-length: 0\r\n\r\n"
REFUSALS = {
    "refused": (REFUSED, "ProxyError: 403 Forbidden by policy"),
    "unavailable": (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n", "502 Bad Gateway"),
    "closed": (b"", "no connection"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", "no connection"),
    "half an answer": (b"HTTP/1.1 200", "no connection"),
    "a tunnel that ends at once": (b"HTTP/1.1 200 Connection established\r\n\r\n", "no connection"),
    "silence": (None, "no connection"),
}


@pytest.mark.parametrize(("answer", "told"), REFUSALS.values(), ids=REFUSALS)
async def test_what_the_proxy_does_not_let_out_was_not_sent(answer: bytes | None, told: str) -> None:
    async with AsyncExitStack() as stack:
        way_out = await stack.enter_async_context(proxy(answer=answer))
        connections = connected(f"https://{API}/v1", proxies=through(way_out.url))
        with pytest.raises(ProviderUnavailable, match=told) as caught:
            await post(await stack.enter_async_context(connections), deadline_s=0.5 if answer is None else LIMIT_S)
    assert (caught.value.billed, caught.value.retryable) == ("no", True)
    assert way_out.connections == 4
    assert set(way_out.asked) == {f"CONNECT {API}:443"}


async def test_a_proxy_that_nobody_runs_lets_nothing_out() -> None:
    async with connected(f"https://{API}/v1", proxies=through("http://127.0.0.1:9")) as provider_http:
        with pytest.raises(ProviderUnavailable) as caught:
            await post(provider_http)
    assert caught.value.billed == "no"


async def test_a_server_behind_the_proxy_with_a_strange_certificate_was_sent_nothing(tmp_path: Path) -> None:
    context, _ = server_certificate(tmp_path, API)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(RawServer(answering(HANDLE), tls=context))
        way_out = await stack.enter_async_context(proxy(names={f"{API}:443": ("127.0.0.1", server.port)}))
        connections = connected(f"https://{API}/v1", proxies=through(way_out.url))
        with pytest.raises(ProviderUnavailable) as caught:
            await post(await stack.enter_async_context(connections))
    assert caught.value.billed == "no"
    assert server.requests == []


async def test_who_was_stopped_before_the_tunnel_stood_sends_nothing(tls: ssl.SSLContext) -> None:
    """The time for what has come meanwhile is for answers: nobody waits any more for a request that begins then."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(RawServer(answering(HANDLE), tls=tls))
        way_out = await stack.enter_async_context(proxy(names={f"{API}:443": ("127.0.0.1", server.port)}))
        way_out.is_slow, clock = True, InstantClock()
        connections = connected(f"https://{API}/v1", clock, proxies=through(way_out.url), limit_s=10 * LIMIT_S)
        call = asyncio.create_task(post(await stack.enter_async_context(connections)))
        while not way_out.asked:
            await asyncio.sleep(0.005)
        let_pass(2 * LIMIT_S)
        await clock.sleep(2 * LIMIT_S)
        way_out.is_slow = False
        with pytest.raises(ProviderUnavailable) as caught:
            await call
    assert (caught.value.billed, server.requests) == ("no", [])


@pytest.mark.parametrize("script", [closing_unread, saying()], ids=["closed unread", "closed after the request"])
async def test_a_connection_that_breaks_behind_the_proxy_leaves_the_outcome_unknown(
    script: Callable[..., object], tls: ssl.SSLContext
) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(RawServer(script, tls=tls))  # type: ignore[arg-type]
        way_out = await stack.enter_async_context(proxy(names={f"{API}:443": ("127.0.0.1", server.port)}))
        connections = connected(f"https://{API}/v1", proxies=through(way_out.url))
        with pytest.raises(OutcomeUnknown) as caught:
            await post(await stack.enter_async_context(connections))
    assert caught.value.billed == "unknown"
    assert len(way_out.asked) == 1


async def test_a_407_of_the_server_behind_a_tunnel_is_its_own_answer(tls: ssl.SSLContext) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(RawServer(answering(http(407)), tls=tls))
        way_out = await stack.enter_async_context(proxy(names={f"{API}:443": ("127.0.0.1", server.port)}))
        connections = connected(f"https://{API}/v1", proxies=through(way_out.url))
        with pytest.raises(OutcomeUnknown):
            await post(await stack.enter_async_context(connections))
    assert len(server.posts) == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_wanting_a_password_is_told(scheme: str) -> None:
    async with AsyncExitStack() as stack:
        way_out = await stack.enter_async_context(proxy(password="ring:secret"))
        wrong = way_out.url.replace("//", "//ring:wrong-password@")
        connections = connected(f"{scheme}://{API}/v1", proxies=through(wrong))
        with pytest.raises(ProviderUnavailable) as caught:
            await post(await stack.enter_async_context(connections))
    assert caught.value.billed == "no"
    assert "407" in caught.value.message or "wants a user and a password" in caught.value.message
    assert "wrong-password" not in f"{caught.value!r} {caught.value.__cause__!r}"


async def test_a_proxy_is_asked_by_the_whole_address() -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(RawServer(answering(HANDLE)))
        way_out = await stack.enter_async_context(proxy(names={API: ("127.0.0.1", server.port)}))
        await post(await stack.enter_async_context(connected(f"http://{API}/v1", proxies=through(way_out.url))))
    assert way_out.asked == [f"POST http://{API}/v1/images/generations"]
    assert len(server.posts) == 1


@pytest.mark.parametrize("address", ["socks5://127.0.0.1:9", "http://", "http://[", "http://proxy:99999", "ftp://a"])
async def test_a_proxy_that_cannot_be_spoken_with_is_not_gone_around(address: str) -> None:
    async with connected(f"https://{API}/v1", proxies=through(address)) as provider_http:
        with pytest.raises(ProviderUnavailable, match="not the address of an http or https proxy") as caught:
            await post(provider_http)
    assert caught.value.billed == "no"


async def test_this_machine_is_asked_without_the_proxy(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(RawServer(answering(HANDLE, http(200, PICTURE))))
        way_out = await stack.enter_async_context(proxy())
        http_ = await stack.enter_async_context(connected(server.url, proxies=through(way_out.url)))
        await post(http_)
        await http_.download(f"{server.url}/a.jpg", tmp_path / "a")
    assert way_out.connections == 0


class Way(httpx2.AsyncBaseTransport):
    """One way out, which notes what takes it."""

    def __init__(self, proxy: str | None, taken: list[tuple[str | None, str]]) -> None:
        self._proxy, self._taken = proxy, taken

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self._taken.append((self._proxy, str(request.url)))
        return httpx2.Response(200)


def fetched(url: str, names: dict[str, list[list[str]]], proxies: Proxies) -> list[tuple[str | None, str]]:
    """Through which way a guarded download goes, and to what."""
    taken: list[tuple[str | None, str]] = []

    async def download() -> None:
        guarded = GuardedTransport(Trusted("http://api.x.test", []), Outgoing(proxies, lambda way: Way(way, taken)))
        async with httpx2.AsyncClient(transport=guarded) as client:
            await client.get(url)

    where(names, download())
    return taken


PROXY = "http://proxy.test:3128"
PUBLIC = {MEDIA: [["93.184.216.34"]]}


def test_without_a_proxy_a_download_goes_to_the_address_that_was_checked() -> None:
    assert fetched(f"https://{MEDIA}/a", PUBLIC, DIRECT) == [(None, "https://93.184.216.34/a")]


def test_what_no_proxy_names_goes_to_the_address_that_was_checked() -> None:
    proxies = proxies_of({"https_proxy": PROXY, "no_proxy": "x.test"})
    assert fetched(f"https://{MEDIA}/a", PUBLIC, proxies) == [(None, "https://93.184.216.34/a")]


@pytest.mark.parametrize("names", [PUBLIC, {}], ids=["a public name", "a name that only the proxy knows"])
def test_a_download_goes_through_the_proxy_by_name(names: dict[str, list[list[str]]]) -> None:
    assert fetched(f"https://{MEDIA}/a", names, through(PROXY)) == [(PROXY, f"https://{MEDIA}/a")]


@pytest.mark.parametrize("host", [MEDIA, "10.0.0.1", "169.254.169.254", "[fd00::1]"])
def test_a_private_place_is_not_fetched_through_the_proxy_either(host: str) -> None:
    names = {MEDIA: [["10.0.0.1"]], "10.0.0.1": [["10.0.0.1"]], "169.254.169.254": [["169.254.169.254"]],
             "fd00::1": [["fd00::1"]]}  # fmt: skip
    with pytest.raises(PrivateAddress):
        fetched(f"https://{host}/a", names, through(PROXY))


RULES: list[tuple[str, str, bool]] = [
    ("", "https://api.x.ai/v1", True),
    ("*", "https://api.x.ai/v1", False),
    ("other.test", "https://api.x.ai/v1", True),
    ("x.ai", "https://api.x.ai/v1", False),
    ("x.ai", "https://x.ai", False),
    (".x.ai", "https://api.x.ai", False),
    ("*.x.ai", "https://api.x.ai", False),
    ("x.ai", "https://fax.ai", True),
    ("API.X.AI", "https://api.x.ai", False),
    ("api.x.ai", "https://API.X.AI", False),
    ("api.x.ai:443", "https://api.x.ai", False),
    ("api.x.ai:8443", "https://api.x.ai", True),
    ("api.x.ai:8443", "https://api.x.ai:8443/v1", False),
    ("a.test, b.test x.ai", "https://api.x.ai", False),
    ("93.184.216.34", "https://93.184.216.34/", False),
    ("93.184.216.0/24", "https://93.184.216.34/", False),
    ("93.184.0.0/24", "https://93.184.216.34/", True),
    ("2606:4700::/32", "https://[2606:4700::1]/", False),
    ("[2606:4700::1]", "https://[2606:4700::1]:443/", False),
    ("2606:4700::1", "https://[2606:4700::2]/", True),
    ("nonsense/99, [", "https://api.x.ai", True),
    ("", "https://localhost/a", False),
    ("", "https://files.localhost/a", False),
    ("", "https://127.0.0.1:8000/a", False),
    ("", "https://[::1]/a", False),
    ("", "ftp://api.x.ai", False),
    ("", "https://[", False),
    ("", "", False),
]


@pytest.mark.parametrize(("bypass", "url", "proxied"), RULES)
def test_no_proxy_names_hosts_what_lies_below_them_networks_and_ports(bypass: str, url: str, proxied: bool) -> None:
    assert proxies_of({"HTTPS_PROXY": PROXY, "NO_PROXY": bypass}).of(url) == (PROXY if proxied else None)


def test_names_in_small_letters_win_and_all_proxy_stands_in() -> None:
    variables = {"HTTPS_PROXY": "big:1", "https_proxy": "small:1", "ALL_PROXY": "http://all:1", "http_proxy": " "}
    proxies = proxies_of(variables)
    assert proxies.of("https://api.x.ai") == "http://small:1"
    assert proxies.of("http://api.x.ai") == "http://all:1"
    assert proxies_of({"HTTPS_PROXY": "big:1", "https_proxy": ""}) == DIRECT


def test_a_proxy_is_shown_without_its_password() -> None:
    assert mask_proxy("http://user:p@ss@proxy.test:3128") == PROXY


def test_the_configuration_takes_proxies_from_the_process_and_not_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / ".env.local").write_text("HTTPS_PROXY=http://folder.test:1\nhttps_proxy=http://folder.test:1\n")
    assert load_config({}, folder=tmp_path).proxies == DIRECT
    own = load_config({"HTTPS_PROXY": PROXY, "NO_PROXY": "a.test,b.test"}, folder=tmp_path)
    assert own.proxies.of("https://api.x.ai") == PROXY
    assert restore_config(dump_config(own)).proxies == own.proxies


def test_another_process_of_ours_trusts_the_same_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/own.pem")
    assert child_environment()["SSL_CERT_FILE"] == "/etc/own.pem"


async def test_a_caller_may_give_a_name_of_the_proxys() -> None:
    async with connected(f"https://{API}/v1", proxies=through(PROXY)) as provider_http:
        await provider_http.check_address(f"https://{MEDIA}/a.jpg")
        with pytest.raises(PrivateAddress):
            await provider_http.check_address("https://10.0.0.1/a.jpg")
    async with connected(f"https://{API}/v1") as provider_http:
        with pytest.raises(ProviderError):
            await provider_http.check_address(f"https://{MEDIA}/a.jpg")
