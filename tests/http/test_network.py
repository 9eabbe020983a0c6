"""What a hostile or clumsy network sends: hosts, origins, bodies, slow clients, broken heads. And who may listen."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.http.http_reach import (
    ALICE,
    API,
    LIMIT_S,
    TOKENS,
    HttpRing,
    SseSession,
    bearer,
    environment,
    request,
    status_of,
    until_closed,
)
from tests.one_now import one_now
from tests.warm import command

IMAGES = f"{API}/images/generate"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def hasty(running: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpRing]:
    """A server with short time limits for heads and bodies."""
    folder = tmp_path_factory.mktemp("hasty")
    env = environment(folder, RING_SANDBOX=running.url, RING_MCP_SERVICE_TOKENS=TOKENS, RING_MAX_BODY_BYTES="100000")
    with HttpRing(env, folder, str(Path(__file__).with_name("odd_server.py"))) as ring:
        yield ring


@pytest.fixture(scope="module")
def named(running: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpRing]:
    """A server that is known under names of its own."""
    folder = tmp_path_factory.mktemp("named")
    env = environment(
        folder,
        RING_SANDBOX=running.url,
        RING_MCP_SERVICE_TOKENS=TOKENS,
        RING_ALLOWED_HOSTS="ring.example, other.example:8443",
        RING_ALLOWED_ORIGINS="https://app.example/",
        RING_PUBLIC_BASE_URL="https://media.example/",
    )
    with HttpRing(env, folder) as ring:
        yield ring


def lives(ring: HttpRing) -> None:
    """It answers, and nothing it logged so far was a fault of its own."""
    assert ring.get("/healthz", token=None).text == "ok"
    assert "Traceback" not in ring.stderr, ring.stderr[-3000:]


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "evil@localhost",
        "localhost/x",
    ],
)
@pytest.mark.parametrize("path", ["/mcp", "/sse", "/healthz", f"{API}/jobs", "/files/x/y", "/nothing"])
def test_a_foreign_host_is_421_on_every_route(ring: HttpRing, host: str, path: str) -> None:
    assert status_of(ring.send_raw(request("GET", path, {"Host": host, **bearer(ALICE)}))) == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "[::1]", "[::1]:8787", "127.0.0.1:65535"])
def test_loopback_is_always_known(ring: HttpRing, named: HttpRing, host: str) -> None:
    for server in (ring, named):
        assert status_of(server.send_raw(request("GET", "/healthz", {"Host": host}))) == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("ring.example", 200),
        ("Ring.Example:443", 200),
        ("other.example", 200),
        ("media.example", 200),
        ("app.example", 421),
        ("", 421),
    ],
)
def test_names_of_the_lists_are_known(named: HttpRing, host: str, status: int) -> None:
    assert status_of(named.send_raw(request("GET", "/healthz", {"Host": host}))) == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://app.example", 200),
        ("http://127.0.0.1", 200),
        ("http://localhost", 403),
        ("http://localhost:3000", 403),
        ("http://127.0.0.1:3000", 403),
        ("http://[::1]", 403),
        ("https://evil.example", 403),
        ("http://app.example", 403),
        ("https://app.example.evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("http://localhost@evil.example", 403),
        ("file://localhost", 403),
        ("null", 403),
        ("x", 403),
    ],
)
def test_a_foreign_origin_is_403_on_every_route(named: HttpRing, origin: str, status: int) -> None:
    for path in ("/healthz", f"{API}/meta/health"):
        answer = named.send_raw(request("GET", path, {"Origin": origin, **bearer(ALICE)}))
        assert status_of(answer) == status
        assert (b"access-control-allow-origin" in answer.lower()) == (origin == "https://app.example")


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/register",
        "/authorize",
        "/token",
    ],
)
def test_no_oauth_is_offered(ring: HttpRing, path: str) -> None:
    refused = ring.get(path, token=None)
    assert refused.status_code == 401
    assert "resource_metadata" not in refused.headers["www-authenticate"]
    assert ring.get(path).status_code == 404
    assert ring.post(path, {}).status_code == 404


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.0.2.1", "example.invalid"])
def test_without_tokens_only_loopback_is_listened_on(tmp_path: Path, host: str) -> None:
    env = environment(tmp_path, RING_SANDBOX="1", RING_MCP_SERVICE_TOKENS=" , ")
    ended = command(env, tmp_path, "serve", "--host", host, "--port", "0")
    assert ended.returncode == 2
    assert "RING_MCP_SERVICE_TOKENS" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_public_name_without_tokens_is_not_served(tmp_path: Path) -> None:
    """A proxy on this machine makes everybody a caller from this machine."""
    env = environment(tmp_path, RING_SANDBOX="1", RING_PUBLIC_BASE_URL="https://ring.example")
    ended = command(env, tmp_path, "serve", "--port", "0")
    assert (ended.returncode, "RING_MCP_SERVICE_TOKENS" in ended.stderr) == (2, True)


def test_a_guessable_token_opens_no_metrics_to_a_network(tmp_path: Path) -> None:
    env = environment(tmp_path, RING_SANDBOX="1", RING_MCP_SERVICE_TOKENS=TOKENS, RING_METRICS_TOKEN="short")
    ended = command(env, tmp_path, "serve", "--host", "0.0.0.0", "--port", "0")
    assert (ended.returncode, "RING_METRICS_TOKEN" in ended.stderr) == (2, True)


def test_tokens_that_can_be_guessed_do_not_go_on_a_network(tmp_path: Path) -> None:
    env = environment(
        tmp_path, RING_SANDBOX="1", RING_MCP_SERVICE_TOKENS="alice=a-long-one-of-twenty, bob=fifteen-letters"
    )
    ended = command(env, tmp_path, "serve", "--host", "0.0.0.0", "--port", "0")
    assert ended.returncode == 2
    assert "each token needs 16 characters or more" in ended.stderr
    assert "fifteen" not in ended.stderr


@pytest.mark.long
def test_a_server_on_every_address_says_what_its_results_will_be_called(tmp_path: Path, env: dict[str, str]) -> None:
    env["RING_MCP_SERVICE_TOKENS"] = "alice=a-token-of-twenty-ch"
    everywhere = ("-m", "ring_mcp", "serve", "--host", "0.0.0.0", "--port", "0")
    with HttpRing(env, tmp_path, *everywhere) as ring:
        assert ring.url.startswith("http://0.0.0.0:")
        assert f"the addresses of results begin with {ring.url}" in ring.stderr
    with HttpRing({**env, "RING_PUBLIC_BASE_URL": "https://media.example"}, tmp_path, *everywhere) as ring:
        assert ring.url
        assert "Without RING_PUBLIC_BASE_URL" not in ring.stderr


@pytest.mark.parametrize("path", one_now([IMAGES, "/mcp", "/messages/", "/nothing", "/files/x"], 2))
def test_a_declared_body_that_is_too_large_is_413(hasty: HttpRing, path: str) -> None:
    head = request("POST", path, {**bearer(ALICE), **JSON, "Content-Length": "100001"})
    answer = hasty.send_raw(head)
    assert status_of(answer) == 413
    assert b"100,000" in answer
    lives(hasty)


@pytest.mark.parametrize("path", [IMAGES, "/mcp"])
def test_a_chunked_body_that_grows_too_large_is_413(hasty: HttpRing, path: str) -> None:
    headers = {**bearer(ALICE), **JSON, "Accept": "application/json, text/event-stream", "Transfer-Encoding": "chunked"}
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers.items())]
    chunk = b"2710\r\n" + b" " * 10_000 + b"\r\n"
    answer = hasty.send_raw("\r\n".join([*lines, "", ""]).encode() + chunk * 11)
    assert status_of(answer) == 413
    lives(hasty)


def test_a_body_of_just_the_limit_is_read(hasty: HttpRing) -> None:
    body = b'{"prompt": 5' + b" " * (100_000 - 13) + b"}"
    assert len(body) == 100_000
    assert status_of(hasty.send_raw(request("POST", IMAGES, {**bearer(ALICE), **JSON}, body))) == 400


@pytest.mark.parametrize("path", [IMAGES, "/mcp"])
def test_a_body_that_does_not_arrive_is_408(hasty: HttpRing, path: str) -> None:
    headers = {**bearer(ALICE), **JSON, "Accept": "application/json, text/event-stream", "Content-Length": "100"}
    assert status_of(hasty.send_raw(request("POST", path, headers) + b'{"prompt"')) == 408
    lives(hasty)


def drip(connection: socket.socket, piece: bytes) -> None:
    """Send the same piece again and again until the server has closed: the odd one lets slow clients go after 0.4 s."""
    began = time.monotonic()
    connection.settimeout(0.05)
    while time.monotonic() - began < LIMIT_S:
        try:
            connection.sendall(piece)
            if connection.recv(65536) == b"":
                return
        except TimeoutError:
            continue
        except ConnectionError:
            return
    raise AssertionError("the server still listens to a slow client")


def test_who_says_nothing_is_let_go(hasty: HttpRing) -> None:
    with hasty.connect() as connection:
        assert until_closed(connection) == b""


@pytest.mark.parametrize("before", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"], ids=["first", "second"])
def test_a_head_that_drips_is_let_go(hasty: HttpRing, before: bytes) -> None:
    with hasty.connect() as connection:
        connection.sendall(before + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        drip(connection, b"X-Slow: 1\r\n")
    lives(hasty)


def test_a_body_that_drips_on_after_its_refusal_is_let_go(hasty: HttpRing) -> None:
    """Without a token: the 401 comes at once, and who goes on sending must not hold the connection."""
    with hasty.connect() as connection:
        connection.sendall(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        drip(connection, b"1\r\nx\r\n")
    lives(hasty)


def test_a_client_that_leaves_amid_its_body_is_no_fault(hasty: HttpRing) -> None:
    for path in (IMAGES, "/mcp", "/messages/"):
        with hasty.connect() as connection:
            connection.sendall(request("POST", path, {**bearer(ALICE), **JSON, "Content-Length": "50"}) + b"{")
    lives(hasty)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET /\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n folded\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000 + b"\r\nConnection: close\r\n\r\n",
        b"GET /" + b"x" * 70_000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=lambda head: repr(head[:40]),
)
def test_a_broken_head_is_refused_and_the_connection_ends(hasty: HttpRing, head: bytes) -> None:
    answer = hasty.send_raw(head)
    assert answer == b"" or 400 <= status_of(answer) < 500
    assert b"Traceback" not in answer
    lives(hasty)


@pytest.mark.parametrize(
    "path",
    ["/nothing%0d%0aX-Injected:%20yes", f"{API}/jobs/x%0d%0aX-Injected:%20yes", "/files/%0d%0aX-Injected:%20yes/k"],
)
def test_a_line_break_in_a_path_reaches_neither_headers_nor_log(ring: HttpRing, path: str) -> None:
    answer = ring.send_raw(request("GET", path, bearer(ALICE)))
    assert status_of(answer) in (400, 404)
    head = answer.partition(b"\r\n\r\n")[0]
    assert b"X-Injected" not in head
    assert not [line for line in ring.stderr.splitlines() if line.startswith("X-Injected")]


def test_every_answer_carries_the_security_headers_and_says_not_what_serves_it(ring: HttpRing) -> None:
    for path, token in (("/healthz", None), ("/nothing", ALICE), (f"{API}/jobs", ALICE), (f"{API}/jobs", "wrong")):
        headers = ring.get(path, token).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert len(headers["x-request-id"]) == 12
        assert "server" not in headers


def test_the_log_has_who_and_what_but_no_secret(tmp_path: Path, env: dict[str, str]) -> None:
    with HttpRing({**env, "RING_LOG_LEVEL": "debug"}, tmp_path) as ring:
        url = ring.create(prompt="a secret garden")["url"]
        assert ring.get(url, token=None).status_code == 200
        ring.get(f"{API}/jobs?refCode=a-secret-code")
        ring.get(f"{API}/jobs", "wrong-secret-token")
        message = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": 5, "arguments": "secret words"},
        }
        accept = {"accept": "application/json, text/event-stream"}
        ring.post("/mcp", message, headers=accept)
        good = {"name": "ring-image-create", "arguments": {"prompt": "another secret", "dryRun": True}}
        ring.post("/mcp", {**message, "params": good}, headers=accept)
        ring.post("/messages/?session_id=secret", message)
        with SseSession(ring) as session:
            session.shake_hands()
            assert session.post({"jsonrpc": "0", "words": "secret"}) == 400
        ring.signal()
        assert ring.wait() == 0
    log = ring.stderr
    assert f"POST {IMAGES} 201" in log
    assert "actor=alice" in log
    assert "GET /files/… 200" in log
    assert f"GET {API}/jobs 401" in log
    for secret in ("secret", ALICE, url.rsplit("/", 1)[-1], "sandbox-xai-key"):
        assert secret not in log, [line for line in log.splitlines() if secret in line][:3]


def test_too_many_calls_a_minute_are_429_for_that_actor_alone(tmp_path: Path, env: dict[str, str]) -> None:
    with HttpRing({**env, "RING_MAX_CALLS_PER_MINUTE": "3"}, tmp_path) as ring:
        answers = [ring.get(f"{API}/meta/health") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 21
        assert answers[-1].json() == {"success": False, "error": "too many requests"}
        assert ring.get(f"{API}/meta/health", "the-token-of-bob").status_code == 200
        assert ring.get("/healthz").status_code == 200
        assert ring.get(f"{API}/meta/health", "wrong").status_code == 401


def test_a_client_may_use_its_connection_after_a_refusal(ring: HttpRing) -> None:
    with ring.client(None) as client:
        assert client.post("/mcp", content=b"x" * 1_000_000).status_code == 401
        assert client.get("/healthz").status_code == 200


def test_a_server_on_a_taken_port_says_so(tmp_path: Path, ring: HttpRing) -> None:
    port = str(httpx2.URL(ring.url).port)
    ended = command(environment(tmp_path), tmp_path, "serve", "--port", port)
    assert ended.returncode == 2
    assert f"port {port} cannot be used" in ended.stderr
    assert "Name another port" in ended.stderr
    assert "variables" not in ended.stderr, "none was named"
