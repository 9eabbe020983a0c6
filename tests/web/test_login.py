"""Who may look: whoever has a token, by a cookie that opens nothing but the pages."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.http.http_reach import ALICE, BOB, HttpRing, environment
from tests.web.conftest import log_in

PRIVATE = ["/gallery", "/gallery/spending", "/gallery?kind=video", "/gallery/jobs/0123abcd"]


@pytest.mark.parametrize("path", PRIVATE)
def test_without_a_cookie_a_page_leads_to_the_login(ring: HttpRing, path: str) -> None:
    answer = ring.get(path, token=None)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/gallery/login")


@pytest.mark.parametrize("token", [None, ALICE])
def test_the_bare_address_leads_a_browser_to_the_gallery(ring: HttpRing, token: str | None) -> None:
    answer = ring.get("/", token=token, headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/gallery")


@pytest.mark.parametrize("accept", ["*/*", "application/json, text/event-stream"])
@pytest.mark.parametrize("token", [None, ALICE, "wrong"])
def test_at_the_bare_address_a_program_is_told_where_to_go(ring: HttpRing, accept: str, token: str | None) -> None:
    for answer in (
        ring.get("/", token=token, headers={"accept": accept}),
        ring.post("/", {"jsonrpc": "2.0", "id": 1, "method": "ping"}, token, headers={"accept": accept}),
    ):
        assert answer.status_code == 404
        assert "MCP is at /mcp" in answer.json()["error"]


@pytest.mark.parametrize("path", ["/gallery/events", "/gallery/jobs/0123abcd/preview", "/gallery/jobs/0123abcd/card"])
def test_without_a_cookie_parts_of_pages_are_refused(ring: HttpRing, path: str) -> None:
    assert ring.get(path, token=None).status_code == 401


def test_a_login_leads_to_what_was_wanted(ring: HttpRing) -> None:
    wanted = httpx2.URL(ring.get("/gallery/spending", token=None).headers["location"]).params["next"]
    with ring.client(token=None) as client:
        fields = {"token": ALICE, "next": wanted}
        answer = client.post("/gallery/login", data=fields, headers={"origin": ring.url})
        assert (answer.status_code, answer.headers["location"]) == (303, "/gallery/spending")
        assert client.get("/gallery/spending").status_code == 200


@pytest.mark.parametrize("wanted", ["//evil.example", "https://evil.example", "/\\evil.example", "@evil.example"])
def test_a_login_leads_to_no_other_host(ring: HttpRing, wanted: str) -> None:
    with ring.client(token=None) as client:
        answer = client.post("/gallery/login", data={"token": ALICE, "next": wanted}, headers={"origin": ring.url})
    assert answer.headers["location"] == "/gallery"


def test_the_cookie_is_kept_from_scripts_and_holds_no_token(ring: HttpRing) -> None:
    with ring.client(token=None) as client:
        answer = client.post("/gallery/login", data={"token": ALICE}, headers={"origin": ring.url})
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=lax", "Path=/gallery"} <= {part.strip() for part in cookie.split(";")}
    assert "Secure" not in cookie, "a loopback address is reached without TLS"
    assert ALICE not in cookie


def test_a_cookie_behind_tls_never_leaves_it(ring: HttpRing) -> None:
    host = ring.url.removeprefix("http://")
    with ring.client(token=None) as client:
        answer = client.post("/gallery/login", data={"token": ALICE}, headers={"origin": f"https://{host}"})
    assert "; Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize("token", ["", "wrong", "the-token-of-alice-and-more", "é", "x" * 1000])
def test_a_wrong_token_is_asked_for_again(ring: HttpRing, token: str) -> None:
    with ring.client(token=None) as client:
        answer = client.post("/gallery/login", data={"token": token}, headers={"origin": ring.url})
        assert answer.status_code == 401
        assert "none of this server&#39;s tokens" in answer.text
        assert "set-cookie" not in answer.headers
        assert client.get("/gallery").status_code == 303


@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}],
)
def test_no_foreign_page_logs_anybody_in_or_out(ring: HttpRing, headers: dict[str, str]) -> None:
    with ring.client(token=None) as client:
        for path in ("/gallery/login", "/gallery/logout"):
            answer = client.post(path, data={"token": BOB}, headers=headers)
            assert answer.status_code == 403
            assert "set-cookie" not in answer.headers


def test_a_large_form_is_refused(ring: HttpRing) -> None:
    with ring.client(token=None) as client:
        for form in ({"token": "x" * 20_000}, {f"field{number}": "x" for number in range(21)}):
            answer = client.post("/gallery/login", data=form, headers={"origin": ring.url})
            assert answer.status_code == 413


def test_whoever_logs_out_is_out(ring: HttpRing) -> None:
    with log_in(ring) as client:
        assert client.get("/gallery").status_code == 200
        answer = client.post("/gallery/logout", headers={"origin": ring.url})
        assert (answer.status_code, answer.headers["clear-site-data"]) == (303, '"cache"')
        assert client.get("/gallery").status_code == 303


def test_the_cookie_opens_nothing_else(ring: HttpRing) -> None:
    with log_in(ring) as client:
        cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        assert client.post("/mcp", json={}, headers={"cookie": cookie}).status_code == 401
        assert client.get("/api/mcp/v1/jobs", headers={"cookie": cookie}).status_code == 401


def test_a_changed_cookie_is_nobodys(ring: HttpRing) -> None:
    with log_in(ring) as client:
        [(name, value)] = client.cookies.items()
    flipped = value[:40] + ("A" if value[40] != "A" else "B") + value[41:]
    for changed in (flipped, value[:-8], value[::-1], "x", "é", value * 40):
        with ring.client(token=None) as other:
            answer = other.get("/gallery", headers={b"cookie": f"{name}={changed}".encode()})
            assert answer.status_code == 303


def test_a_token_taken_out_is_out_at_once(running: SandboxServer, tmp_path: Path) -> None:
    def serve(tokens: str) -> HttpRing:
        return HttpRing(environment(tmp_path, RING_SANDBOX=running.url, RING_MCP_SERVICE_TOKENS=tokens), tmp_path)

    with serve(f"alice={ALICE}, bob={BOB}") as ring, log_in(ring) as client:
        cookies = dict(client.cookies)
    with serve(f"alice={ALICE}") as ring:
        assert ring.get("/gallery", token=None, cookies=cookies).status_code == 200, "after a restart as well"
    with serve(f"bob={BOB}") as ring:
        assert ring.get("/gallery", token=None, cookies=cookies).status_code == 303


def test_without_tokens_the_machine_looks_as_it_calls(running: SandboxServer, tmp_path: Path) -> None:
    with HttpRing(environment(tmp_path, RING_SANDBOX=running.url), tmp_path) as ring:
        answer = ring.get("/gallery", token=None)
        assert answer.status_code == 200
        assert "Log out" not in answer.text
        foreign = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
        assert ring.get("/gallery", token=None, headers=foreign).status_code == 403
        led_here = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
        assert ring.get("/gallery", token=None, headers=led_here).status_code == 200
