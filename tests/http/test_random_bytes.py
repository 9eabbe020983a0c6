"""Anything at all, on every route: a right status, no traceback, and the server lives."""

from __future__ import annotations

import json
import socket
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.http.http_reach import ALICE, API, HttpRing, bearer, request, status_of, until_closed

PATHS = ("/mcp", "/sse/x", "/messages/", "/files/", "/healthz", f"{API}/images/generate", f"{API}/videos/generate")
READ_PATHS = (f"{API}/jobs", f"{API}/jobs/x", f"{API}/meta/health", f"{API}/openapi.json")

bounded = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
tokens = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='()<>@,;:\\"/[]?={}'), min_size=1
)
header_texts = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
names = st.sampled_from(("prompt", "n", "seed", "model", "resolution", "thumbnail", "duration", "idempotencyKey"))
arguments = st.dictionaries(names | st.text(), json_values, max_size=5)
texts = st.text(st.characters(exclude_categories=["Cs"]))
JSON = {**bearer(ALICE), "Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


def is_right(ring: HttpRing, answer: bytes, *statuses: int) -> None:
    assert b"Traceback" not in answer
    if answer:
        status = status_of(answer)
        assert status in statuses or 400 <= status < 500, answer[:300]
    assert "Traceback" not in ring.stderr, ring.stderr[-3000:]


def lives(ring: HttpRing) -> None:
    assert ring.get("/healthz").text == "ok"


@bounded
@given(noise=st.binary(min_size=1, max_size=300), ends=st.booleans())
def test_random_bytes_on_the_socket(ring: HttpRing, noise: bytes, ends: bool) -> None:
    with ring.connect() as connection:
        connection.sendall(noise + (b"\r\n\r\n" if ends else b""))
        connection.shutdown(socket.SHUT_WR)
        is_right(ring, until_closed(connection))
    lives(ring)


@bounded
@given(
    method=st.sampled_from(("GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE")) | tokens,
    path=st.sampled_from(PATHS),
    more=st.binary(max_size=30),
    headers=st.dictionaries(tokens, header_texts, max_size=3),
    body=st.binary(max_size=200),
)
def test_random_requests_to_every_route(
    ring: HttpRing, method: str, path: str, more: bytes, headers: dict[str, str], body: bytes
) -> None:
    target = path + "".join(f"%{byte:02x}" for byte in more)
    is_right(ring, ring.send_raw(request(method, target, {**headers, **JSON}, body)), 200)
    lives(ring)


@pytest.mark.long
@bounded
@given(path=st.sampled_from(READ_PATHS), query=st.dictionaries(texts, texts, max_size=3), key=texts)
def test_random_queries(ring: HttpRing, path: str, query: dict[str, str], key: str) -> None:
    with ring.client() as client:
        answer = client.get(path, params=query)
        assert answer.status_code in (200, 400, 404), answer.text
        assert client.get(f"{API}/jobs/x{quote(key, safe='')}").status_code in (400, 404)
    assert "Traceback" not in ring.stderr


@bounded
@given(path=st.sampled_from(PATHS[-2:]), body=arguments)
def test_random_arguments_of_a_dry_run(ring: HttpRing, path: str, body: dict[str, object]) -> None:
    content = json.dumps({**body, "dryRun": True}).encode()
    is_right(
        ring, ring.send_raw(request("POST", path, {**bearer(ALICE), "Content-Type": "application/json"}, content)), 200
    )


@bounded
@given(message=json_values | st.fixed_dictionaries({"jsonrpc": st.just("2.0"), "id": json_values, "method": st.text()}))
def test_random_messages_to_mcp(ring: HttpRing, message: object) -> None:
    for version in ("2025-11-25", "2026-07-28"):
        sent = request("POST", "/mcp", {**JSON, "MCP-Protocol-Version": version}, json.dumps(message).encode())
        is_right(ring, ring.send_raw(sent), 200, 202)
    lives(ring)
