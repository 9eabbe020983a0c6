"""Pages in a browser that may call are told so; the others see no answer that they could read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.http.http_reach import ALICE, API, TOKENS, HttpRing, bearer, environment

PAGE = "https://app.example"


@pytest.fixture(scope="module")
def open_to_a_page(running: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpRing]:
    folder = tmp_path_factory.mktemp("page")
    env = environment(folder, RING_SANDBOX=running.url, RING_MCP_SERVICE_TOKENS=TOKENS, RING_ALLOWED_ORIGINS=f"{PAGE}/")
    with HttpRing(env, folder) as ring:
        yield ring


def preflight(ring: HttpRing, path: str, origin: str) -> dict[str, str]:
    wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,mcp-name"}
    with ring.client(token=None) as client:
        answer = client.options(path, headers={"Origin": origin, **wanted})
    return {"status": str(answer.status_code), **dict(answer.headers)}


@pytest.mark.parametrize("path", ["/mcp", "/sse", "/messages/", f"{API}/images/generate"])
@pytest.mark.parametrize("origin", [PAGE, "http://localhost:6274", "http://127.0.0.1:6274", "http://[::1]"])
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


@pytest.mark.parametrize("origin", ["https://evil.example", f"{PAGE}.evil.example", "http://app.example", "null"])
def test_another_page_may_neither_ask_nor_read(open_to_a_page: HttpRing, origin: str) -> None:
    refused = preflight(open_to_a_page, "/mcp", origin)
    assert refused["status"] == "403"
    assert not [name for name in refused if name.startswith("access-control")]
    answer = open_to_a_page.get(f"{API}/meta/health", headers={"Origin": origin, **bearer(ALICE)})
    assert not [name for name in answer.headers if name.startswith("access-control")]
