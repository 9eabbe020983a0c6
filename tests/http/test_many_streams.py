"""A thousand idle streams, and more calls than one actor may have open."""

from __future__ import annotations

import contextlib
import resource
import threading
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.server.rate_limit import MAX_STREAMS, Slots, TooMany
from tests.http.http_reach import ALICE, API, BOB, LONG_S, HttpRing, SseSession, bearer, eventually, request, status_of

NEEDED_FILES = 2 * MAX_STREAMS


@pytest.mark.long
def test_a_thousand_idle_streams_leave_room_for_calls(tmp_path: Path, env: dict[str, str]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = NEEDED_FILES if hard == resource.RLIM_INFINITY else min(NEEDED_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    env = {**env, "RING_MAX_CALLS_PER_MINUTE": "100000"}
    opening = request("GET", "/sse", {**bearer(ALICE), "Accept": "text/event-stream"})
    with HttpRing(env, tmp_path) as ring, contextlib.ExitStack() as stack:
        assert ring.get("/healthz").status_code == 200
        streams = []
        for _ in range(MAX_STREAMS):
            stream = stack.enter_context(ring.connect())
            stream.sendall(opening)
            streams.append(stream)
        for stream in streams:
            received = b""
            while b"session_id" not in received:
                piece = stream.recv(4096)
                assert piece, received
                received += piece
        assert status_of(ring.send_raw(opening)) == 429
        assert ring.create(ALICE, prompt="room for one call")["state"] == "done"
        assert ring.create(BOB, prompt="and for others")["state"] == "done"
        for stream in streams:
            stream.close()

        def room() -> bool:
            with ring.connect() as stream:
                stream.sendall(opening)
                return status_of(stream.recv(4096)) == 200

        eventually("there is room again", room)
        assert "Traceback" not in ring.stderr


def submitted(sandbox: SandboxServer) -> list[dict[str, Any]]:
    """The requests for clips that reached the provider."""
    return [each for each in sandbox.state.requests if each["path"].endswith("/videos/generations")]


def test_too_many_open_calls_are_429_for_that_actor_alone(
    tmp_path: Path, env: dict[str, str], sandbox: SandboxServer
) -> None:
    sandbox.state.configure(render_s=LONG_S)
    with HttpRing({**env, "RING_MAX_OPEN_CALLS": "2"}, tmp_path) as ring:
        path, statuses = f"{API}/videos/generate", list[int]()
        callers = [
            threading.Thread(
                target=lambda n=number: statuses.append(ring.post(path, {"prompt": f"open {n}"}).status_code)
            )
            for number in range(2)
        ]
        for caller in callers:
            caller.start()
        eventually("both wait", lambda: len(submitted(sandbox)) == 2)
        refused = ring.get(f"{API}/meta/health")
        assert refused.headers["retry-after"] == "5"
        assert refused.json()["error"] == "2 calls are open already"
        assert ring.get(f"{API}/meta/health", BOB).status_code == 200
        ring.signal()
        assert ring.wait() == 0
        for caller in callers:
            caller.join(60)
    assert statuses == [202, 202]


def test_calls_over_a_stream_count_as_open_calls(tmp_path: Path, env: dict[str, str], sandbox: SandboxServer) -> None:
    sandbox.state.configure(render_s=LONG_S)
    with HttpRing({**env, "RING_MAX_OPEN_CALLS": "3"}, tmp_path) as ring, SseSession(ring) as session:
        session.shake_hands()
        for number in (1, 2, 3, 4):
            session.call(number, "ring-video-create", {"prompt": f"number {number}", "waitSeconds": 300})
        refused = session.next_message()
    assert "3 calls are open already" in refused["error"]["message"]


def test_slots_are_counted_for_each_actor_and_given_back() -> None:
    slots = Slots(1, "things")
    with (
        slots.take("a"),
        slots.take("b"),
        pytest.raises(TooMany, match="1 things are open already"),
        slots.take("a"),
    ):
        pass
    with slots.take("a"):
        pass
