"""The seam while it is off: one span that is nothing, no trace, and no library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ring_mcp import telemetry
from tests.http.http_reach import environment

SERVES_AND_ENDS = """
import asyncio, sys
import ring_mcp.app, ring_mcp.server.mcp, ring_mcp.server.stdio
from ring_mcp.app import open_app
from ring_mcp.config import load_config
from ring_mcp.server.mcp import serve_app

async def main():
    async with open_app(load_config(), role="stdio") as app:
        serve_app(app, identify=lambda ctx: "me")

asyncio.run(main())
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))])
print([name for name in sys.modules if name in ("ring_mcp.otel", "ring_mcp.reporting", "google.protobuf", "requests")])
"""


def test_a_span_that_nobody_wants_is_always_the_same() -> None:
    with telemetry.span("one") as one, telemetry.span("two", {"fact": 1}) as two:
        one.note({"fact": 2})
    assert one is two is telemetry.NOTHING
    assert telemetry.current_trace_parent() is None
    telemetry.join_trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    assert telemetry.current_trace_parent() is None


def test_a_plain_stdio_start_loads_no_exporter(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERVES_AND_ENDS],
        env=environment(tmp_path, XAI_API_KEY="xai-none"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n") == ["[]", "[]", ""]
