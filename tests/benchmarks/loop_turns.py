"""``ring-mcp serve`` that says at its end how much processor time the longest turns of its event loop took.

Whoever asks for something waits for these; unlike the time on a clock it is the same on a busy machine.
"""

from __future__ import annotations

import asyncio.base_events
import atexit
import sys
import time
from typing import Any

from ring_mcp.server.process import run_http

_turns_ms: list[float] = []
_take_turn = asyncio.base_events.BaseEventLoop._run_once  # type: ignore[attr-defined]


def _measure_turn(loop: Any) -> None:
    began = time.thread_time()
    try:
        _take_turn(loop)
    finally:
        _turns_ms.append((time.thread_time() - began) * 1000)


def _tell() -> None:
    longest = sorted(_turns_ms[100:], reverse=True)  # without the start
    total_s = sum(longest) / 1000
    shown = ", ".join(f"{turn:.0f}" for turn in longest[:5])
    sys.stderr.write(f"TURNS: {len(longest)} of {total_s:.1f} s, the longest {shown} ms\n")
    sys.stderr.flush()


if __name__ == "__main__":
    asyncio.base_events.BaseEventLoop._run_once = _measure_turn  # type: ignore[attr-defined]
    atexit.register(_tell)
    run_http("127.0.0.1", 0)
