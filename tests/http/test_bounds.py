"""One call with a good token and a hostile body: it is refused shortly, and everybody else is served meanwhile."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.http.http_reach import ALICE, API, LIMIT_S, HttpRing, bearer
from tests.one_now import one_now

WORK_S = 5.0
"""Of the processor: the longest that the server may be busy, and so silent. What others do there does not count."""

LOOK_S = 0.1
"""Between two looks: each is work, too."""

MAX_ANSWER_BYTES = 64 * 1024
IMAGES, VIDEOS = f"{API}/images/generate", f"{API}/videos/generate"


def call(tool: str, arguments: Any) -> bytes:
    return json.dumps(
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    ).encode()


def overlays() -> bytes:
    many = {f"k{number}": 1 for number in range(900)}
    return json.dumps({"prompt": "x", "thumbnail": {"overlays": [many] * 90}}).encode()


def clips() -> bytes:
    return call("ring-script-run", {"request": {"requestId": "r", "clips": [{}] * 90_000}, "dryRun": True})


BODIES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "250,000 names": (IMAGES, lambda: json.dumps({"prompt": "x", **{f"k{n}": 1 for n in range(250_000)}}).encode()),
    "90,000 names": (IMAGES, lambda: json.dumps({"prompt": "x", **{f"k{n}": 1 for n in range(90_000)}}).encode()),
    "1,900,000 numbers": (IMAGES, lambda: b'{"prompt": "x", "referenceImages": [' + b"1," * 1_900_000 + b"1]}"),
    "90,000 numbers": (IMAGES, lambda: json.dumps({"prompt": "x", "referenceImages": [1] * 90_000}).encode()),
    "numbers as JSON text": (
        IMAGES, lambda: json.dumps({"prompt": "x", "referenceImages": json.dumps([1] * 90_000)}).encode(),
    ),
    "overlays of many names": (VIDEOS, overlays),
    "deep": (IMAGES, lambda: b'{"prompt": "x", "deep": ' + b"[" * 2_000_000 + b"}"),
    "names over MCP": ("/mcp", lambda: call("ring-image-create", {f"k{n}": 1 for n in range(90_000)})),
    "1,900,000 clips over MCP": ("/mcp", lambda: call("ring-script-run", {"request": {"clips": [1] * 1_300_000}})),
    "90,000 clips over MCP": ("/mcp", clips),
    "clips as JSON text over MCP": (
        "/mcp", lambda: call("ring-script-run", {"request": json.dumps({"requestId": "r", "clips": [7] * 80_000})}),
    ),
    "90,000 job ids over MCP": ("/mcp", lambda: call("ring-job-get", {"jobIds": ["x"] * 90_000})),
}  # fmt: skip


@pytest.mark.parametrize(("path", "make"), one_now(BODIES.values(), 4), ids=BODIES)
def test_a_hostile_body_is_refused_and_stops_nobody_else(
    ring: HttpRing, sandbox: SandboxServer, path: str, make: Callable[[], bytes]
) -> None:
    body = make()
    assert len(body) < 4 * 1024 * 1024, "within what a body may have"
    done, looks = threading.Event(), list[int]()

    def look() -> None:
        with httpx2.Client(base_url=ring.url, timeout=LIMIT_S, trust_env=False, verify=False) as client:
            while not done.is_set():
                looks.append(client.get("/healthz").status_code)
                done.wait(LOOK_S)

    looking = threading.Thread(target=look)
    looking.start()
    used_s = ring.cpu_s
    headers = {**bearer(ALICE), "content-type": "application/json", "accept": "application/json, text/event-stream"}
    with httpx2.Client(base_url=ring.url, timeout=LIMIT_S, trust_env=False, verify=False) as client:
        answer = client.post(path, content=body, headers=headers)
    done.set()
    looking.join(LIMIT_S)
    assert ring.cpu_s - used_s < WORK_S
    assert set(looks) == {200}
    assert answer.status_code in ((400, 413) if path != "/mcp" else (200, 413)), answer.text[:300]
    assert '"success":true' not in answer.text.replace(" ", "")
    assert len(answer.content) < MAX_ANSWER_BYTES
    assert sandbox.state.books.charges() == []
