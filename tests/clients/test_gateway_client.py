"""What a client of a running server may say of a bill when somebody in front of that server answers."""

from __future__ import annotations

from typing import Any

import pytest

from ring_mcp.clients.gateway import open_gateway
from ring_mcp.clients.gateway_errors import GatewayAway
from ring_mcp.errors import ConfigError, RingError
from ring_mcp.proxies import proxies_of
from tests.connect_proxy import proxy
from tests.providers.raw_server import Connection, RawServer, Script, http, saying

HEALTH = http(200, {"success": True, "data": {"serverVersion": "0.1.0"}})
PAGE = b"<html><body>504 Gateway Time-out</body></html>"


def then(answer: bytes) -> Script:
    """A server that says who it is, and to the paid request this."""

    async def script(connection: Connection) -> None:
        while (seen := await connection.request()) is not None:
            await connection.send(HEALTH if seen.method == "GET" else answer)
            if seen.method == "POST" and not answer:
                return

    return script


async def create(url: str) -> dict[str, Any]:
    async with open_gateway(url, "token") as client:
        return await client.create("image", {"prompt": "x"}, 0.0, lambda *_: None)


STRANGERS = {
    **{f"{status}, a page": http(status, PAGE, content_type="text/html") for status in (400, 403, 404, 502, 503, 504)},
    "a redirect": http(302, location="https://elsewhere.test/"),
    "200, a page": http(200, PAGE, content_type="text/html"),
    "200, a list": http(200, []),
    "another JSON": http(404, {"message": "no Route matched with those values"}),
    "nothing": b"",
}


@pytest.mark.parametrize("answer", STRANGERS.values(), ids=STRANGERS)
async def test_what_is_not_the_servers_own_answer_leaves_the_bill_unknown(answer: bytes) -> None:
    async with RawServer(then(answer)) as server:
        with pytest.raises(RingError) as caught:
            await create(server.url)
    assert (caught.value.billed, caught.value.retryable) == ("unknown", False)
    assert "jobs list" in caught.value.next_action
    assert len(server.posts) == 1


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_page_for_a_free_answer_is_an_absent_server(status: int) -> None:
    async with RawServer(saying(http(status, PAGE, content_type="text/html"))) as server:
        with pytest.raises(GatewayAway) as caught:
            await create(server.url)
    assert (caught.value.billed, server.posts) == ("no", [])


@pytest.mark.parametrize(
    ("status", "facts", "billed"),
    [
        (400, {"billed": "no"}, "no"),
        (400, {}, "no"),
        (502, {"billed": "yes"}, "yes"),
        (502, {}, "unknown"),
        (503, {"billed": "unknown"}, "unknown"),
        (503, {}, "unknown"),
        (429, {}, "no"),
    ],
)
async def test_the_servers_own_words_are_kept(status: int, facts: dict[str, str], billed: str) -> None:
    own = http(status, {"success": False, "error": "no", **facts})
    async with RawServer(then(own)) as server:
        with pytest.raises(RingError) as caught:
            await create(server.url)
    assert caught.value.billed == billed


async def test_a_server_outside_is_reached_through_the_proxy() -> None:
    async with RawServer(then(http(200, {"success": True, "data": {"state": "done"}}))) as server:
        there = f"gate.x.test:{server.port}"
        async with proxy(names={there: ("127.0.0.1", server.port)}) as way_out:
            proxies = proxies_of({"HTTP_PROXY": way_out.url})
            async with open_gateway(f"http://{there}", "token", proxies) as client:
                made = await client.create("image", {"prompt": "x"}, 0.0, lambda *_: None)
    assert made == {"state": "done"}
    assert way_out.asked[0].startswith(f"GET http://{there}/api/mcp/v1/meta/context")
    assert len(server.posts) == 1


async def test_an_unusable_proxy_is_told_before_anything_is_sent() -> None:
    with pytest.raises(ConfigError, match="HTTPS_PROXY: socks5://127"):
        async with open_gateway("https://gate.x.test", "token", proxies_of({"ALL_PROXY": "socks5://127.0.0.1:9"})):
            pass
