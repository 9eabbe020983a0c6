"""The HTTP server's event loop is not kept waiting by threads that read large bodies."""

from __future__ import annotations

from pathlib import Path

from ring_mcp.sandbox.server import SandboxServer
from tests.http.http_reach import HttpRing, environment

TELLING = """
import atexit, sys
atexit.register(lambda: print(f"switches every {sys.getswitchinterval():g} s", file=sys.stderr, flush=True))
from ring_mcp.server.process import run_http
run_http("127.0.0.1", 0)
"""


def test_threads_let_the_event_loop_through_often(tmp_path: Path, sandbox: SandboxServer) -> None:
    with HttpRing(environment(tmp_path, RING_SANDBOX=sandbox.url), tmp_path, "-c", TELLING) as ring:
        assert ring.get("/healthz", token=None).text == "ok"
    assert "switches every 0.0005 s" in ring.stderr
