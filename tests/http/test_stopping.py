"""SIGTERM: whoever waits gets their handle, the process ends in time, and the job goes on with the next one."""

from __future__ import annotations

import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.http.http_reach import API, LONG_S, HttpRing, SseSession, charges, eventually
from tests.one_now import one_now

DRAIN_S = 30.0
PROMPT = "made across a restart"


def wait_over_rest(ring: HttpRing) -> dict[str, Any]:
    answer = ring.post(f"{API}/videos/generate", {"prompt": PROMPT, "duration": 1})
    assert answer.status_code == 202
    return dict(answer.json()["data"])


def wait_over_mcp(ring: HttpRing, version: str) -> dict[str, Any]:
    name = "ring-video-create"
    meta = {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientInfo": {"name": "tests", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": name, "arguments": {"prompt": PROMPT, "duration": 1, "waitSeconds": 300}, "_meta": meta}
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": version,
        "mcp-method": "tools/call",
        "mcp-name": name,
    }
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    text = ring.post("/mcp", call, headers=headers).text
    found = [line[5:] for line in text.splitlines() if line.startswith("data:")] or [text]
    return dict(json.loads(found[-1])["result"]["structuredContent"]["data"])


def wait_over_sse(ring: HttpRing) -> dict[str, Any]:
    with SseSession(ring) as session:
        session.shake_hands()
        session.call(1, "ring-video-create", {"prompt": PROMPT, "duration": 1, "waitSeconds": 300})
        answers = [message for message in session.rest() if message.get("id") == 1]
    return dict(answers[-1]["result"]["structuredContent"]["data"])


WAITERS = {
    "REST": wait_over_rest,
    "http 2026-07-28": lambda ring: wait_over_mcp(ring, "2026-07-28"),
    "http 2025-11-25": lambda ring: wait_over_mcp(ring, "2025-11-25"),
    "sse": wait_over_sse,
}


@pytest.mark.parametrize("way", one_now(WAITERS))
def test_on_sigterm_a_waiting_call_gets_a_handle_to_its_job(
    tmp_path: Path, env: dict[str, str], sandbox: SandboxServer, way: str
) -> None:
    sandbox.state.configure(render_s=LONG_S)
    env = {**env, "RING_DRAIN_S": str(DRAIN_S), "VIDEO_GEN_POLL_INTERVAL_MS": "100"}
    told: list[dict[str, Any]] = []
    with HttpRing(env, tmp_path) as ring, SseSession(ring) as idle:
        caller = threading.Thread(target=lambda: told.append(WAITERS[way](ring)))
        caller.start()
        eventually("the job renders", lambda: [job for job in ring.jobs() if job["state"] == "rendering"])
        began = time.monotonic()
        ring.signal(signal.SIGTERM)
        assert ring.wait() == 0
        assert time.monotonic() - began < DRAIN_S
        caller.join(DRAIN_S)
        assert idle.rest() == []
        assert "Traceback" not in ring.stderr
        assert "ERROR" not in ring.stderr
    (handle,) = told
    assert handle["state"] == "rendering"
    sandbox.state.configure(render_s=0)
    with HttpRing(env, tmp_path) as ring:
        answer = ring.get(f"{API}/jobs/{handle['jobId']}", params={"waitSeconds": "30"}).json()["data"]
        assert answer["state"] == "done"
    assert len(charges(sandbox, PROMPT)) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_ends_at_once_and_quietly(tmp_path: Path, env: dict[str, str], number: signal.Signals) -> None:
    with HttpRing(env, tmp_path) as ring:
        assert ring.get("/healthz").status_code == 200
        began = time.monotonic()
        ring.signal(number)
        assert ring.wait() == 0
    assert time.monotonic() - began < DRAIN_S / 2
    assert [line for line in ring.stderr.splitlines() if "access" not in line][1:] == []


def test_a_request_under_way_to_the_provider_is_answered_before_the_end(
    tmp_path: Path, env: dict[str, str], sandbox: SandboxServer
) -> None:
    """A paid request that is cut in the middle would be a job of unknown outcome."""
    sandbox.state.configure(image_delay_s=0.3, deferred_s=0)
    with HttpRing(env, tmp_path) as ring:
        caller = threading.Thread(target=lambda: ring.post(f"{API}/images/generate", {"prompt": "almost there"}))
        caller.start()
        eventually("the provider has the request", lambda: sandbox.state.requests)
        ring.signal()
        assert ring.wait() == 0
        caller.join(DRAIN_S)
    sandbox.state.configure(image_delay_s=0)
    with HttpRing(env, tmp_path) as ring:

        def state() -> str:
            return str(ring.jobs()[0]["state"])

        eventually("the picture is there", lambda: state() == "done")
    assert len(charges(sandbox, "almost there")) == 1
