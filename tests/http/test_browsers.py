"""Pages in a browser that may call are told so; the others see no answer that they could read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.http.http_reach import (
    ALICE,
    API,
    TOKENS,
    HttpRing,
    bearer,
    charges,
    environment,
    request,
    status_of,
)

PAGE, INSPECTOR = "https://app.example", "http://localhost:6274"


@pytest.fixture(scope="module")
def open_to_a_page(running: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpRing]:
    folder = tmp_path_factory.mktemp("page")
    env = environment(
        folder, RING_SANDBOX=running.url, RING_MCP_SERVICE_TOKENS=TOKENS, RING_ALLOWED_ORIGINS=f"{PAGE}/,{INSPECTOR}"
    )
    with HttpRing(env, folder) as ring:
        yield ring


def preflight(ring: HttpRing, path: str, origin: str) -> dict[str, str]:
    wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,mcp-name"}
    with ring.client(token=None) as client:
        answer = client.options(path, headers={"Origin": origin, **wanted})
    return {"status": str(answer.status_code), **dict(answer.headers)}


@pytest.mark.parametrize("path", ["/mcp", "/sse", "/messages/", f"{API}/images/generate"])
@pytest.mark.parametrize("origin", [PAGE, INSPECTOR])
def test_a_known_page_may_ask_with_a_token(open_to_a_page: HttpRing, path: str, origin: str) -> None:
    allowed = preflight(open_to_a_page, path, origin)
    assert (allowed["status"], allowed["access-control-allow-origin"]) == ("200", origin)
    assert "POST" in allowed["access-control-allow-methods"]
    assert allowed["access-control-allow-headers"] == "authorization,mcp-name"
    assert "access-control-allow-credentials" not in allowed


@pytest.mark.parametrize("token", [ALICE, None])
def test_a_known_page_may_read_answers_and_refusals(open_to_a_page: HttpRing, token: str | None) -> None:
    answer = open_to_a_page.get(f"{API}/meta/health", token=token, headers={"Origin": PAGE})
    assert answer.status_code == (200 if token else 401)
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "x-request-id" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    "origin",
    [
        *("https://evil.example", f"{PAGE}.evil.example", "http://app.example", "null"),
        *("http://localhost:6275", "http://127.0.0.1:6274", "https://localhost:6274", "http://[::1]"),
    ],
)
def test_another_page_may_neither_ask_nor_read(open_to_a_page: HttpRing, origin: str) -> None:
    refused = preflight(open_to_a_page, "/mcp", origin)
    assert refused["status"] == "403"
    assert not [name for name in refused if name.startswith("access-control")]
    answer = open_to_a_page.get(f"{API}/meta/health", headers={"Origin": origin, **bearer(ALICE)})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_page_of_another_port_spends_nothing_without_tokens(running: SandboxServer, tmp_path: Path) -> None:
    with HttpRing(environment(tmp_path, RING_SANDBOX=running.url), tmp_path) as ring:
        body: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        body["params"] = {"name": "ring-image-create", "arguments": {"prompt": "of a page"}}
        accept = {"accept": "application/json, text/event-stream"}
        for origin in ("http://localhost:3000", "http://127.0.0.1:3000", "https://evil.example"):
            assert ring.post("/mcp", body, None, headers={**accept, "origin": origin}).status_code == 403
        assert charges(running, "of a page") == []
        own = ring.post("/mcp", body, None, headers={**accept, "origin": ring.url})
        assert (own.status_code, len(charges(running, "of a page"))) == (200, 1)


def test_any_host_is_no_leave_for_any_page(running: SandboxServer, tmp_path: Path) -> None:
    env = environment(tmp_path, RING_SANDBOX=running.url, RING_ALLOWED_HOSTS="*")
    with HttpRing(env, tmp_path) as ring:
        for host, status in (("evil.example:8787", 403), (ring.url.removeprefix("http://"), 200)):
            answer = ring.send_raw(request("GET", "/healthz", {"Host": host, "Origin": f"http://{host}"}))
            assert status_of(answer) == status


def test_any_page_may_show_a_file_and_none_may_read_it(open_to_a_page: HttpRing) -> None:
    url = open_to_a_page.create(prompt="to be shown")["url"]
    with open_to_a_page.client(token=None) as client:
        for origin in ("https://a-client.example", "null"):
            answer = client.get(url, headers={"Origin": origin})
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
            assert "access-control-allow-origin" not in answer.headers
            assert client.post(url, headers={"Origin": origin}).status_code == 403
