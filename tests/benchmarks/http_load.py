"""Load over HTTP: many clients call ring-image-create at once, beside a bare SDK server with an empty tool.

    uv run python -m tests.benchmarks.http_load [--calls 2000] [--clients 200]

Prints figures and judges none. Server, sandbox and clients share this machine, so the ratio says more than the rate.
``measure`` is what the benchmark command calls.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ring_mcp.sandbox.server import SandboxServer

ROOT = Path(__file__).parent.parent.parent
CALLS, CLIENTS, WARM_UP_CALLS, BARE_CALLS = 2000, 200, 200, 4000
_CALL_LIMIT_S = 120.0


@dataclass
class Figures:
    """What one run showed. ``rss_mb``: the server's memory after the warm-up, then after each tenth of the calls."""

    what: str
    calls: int
    clients: int
    errors: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    wall_s: float = 0.0
    rss_mb: list[float] = field(default_factory=list)

    @property
    def per_s(self) -> float:
        return self.calls / self.wall_s

    def ms(self, percentile: int) -> float:
        return statistics.quantiles(self.seconds, n=100)[percentile - 1] * 1000

    def __str__(self) -> str:
        memory = f", RSS {self.rss_mb[0]:.0f} -> {self.rss_mb[-1]:.0f} MB (highest {max(self.rss_mb):.0f})"
        return (
            f"{self.what}: {self.calls} calls by {self.clients} clients, {len(self.errors)} errors, "
            f"p50 {self.ms(50):.0f} ms, p99 {self.ms(99):.0f} ms, {self.per_s:.0f} calls/s{memory}"
        )


async def measure(calls: int = CALLS, clients: int = CLIENTS) -> tuple[Figures, Figures]:
    """(ring-mcp, the bare server), one after the other."""
    with tempfile.TemporaryDirectory(prefix="ring-load-") as name:
        folder = Path(name)
        # Without the prompt on it each size of picture is painted once: the sandbox is not what is measured.
        with SandboxServer(settings={"show_prompt": False}) as sandbox:
            env = {
                "RING_SANDBOX": sandbox.url,
                "RING_STATE_DIR": str(folder / "state"),
                "RING_MAX_CALLS_PER_MINUTE": "10000000",
                "RING_MAX_OPEN_CALLS": "10000",
            }
            async with serving(folder, env, "-m", "ring_mcp", "serve", "--port", "0") as (url, pid):
                ring = await load("ring-image-create", url, pid, picture, calls, clients)
        async with serving(folder, {}, "-m", "tests.benchmarks.bare_server") as (url, pid):
            bare = await load("bare SDK server, empty tool", url, pid, nothing, max(calls, BARE_CALLS), clients)
    return ring, bare


def picture(number: int) -> dict[str, Any]:
    return {"name": "ring-image-create", "arguments": {"prompt": f"load {number}", "resolution": "1k"}}


def nothing(number: int) -> dict[str, Any]:
    return {"name": "nothing", "arguments": {"prompt": f"load {number}", "resolution": "1k"}}


@contextlib.asynccontextmanager
async def serving(folder: Path, env: dict[str, str], *arguments: str) -> AsyncIterator[tuple[str, int]]:
    """A server that names its address on stderr; (address, process id)."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "RING_LOG_LEVEL": "error", **env},
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    drained: asyncio.Task[bytes] | None = None
    try:
        line = (await asyncio.wait_for(process.stderr.readline(), 60)).decode()
        drained = asyncio.create_task(process.stderr.read())  # the access log
        yield next(word.rstrip(":") for word in line.split() if word.startswith("http://")), process.pid
    finally:
        process.terminate()
        await process.wait()
        if drained is not None:
            await drained


async def load(
    what: str, url: str, pid: int, params: Callable[[int], dict[str, Any]], calls: int, clients: int
) -> Figures:
    await _run(Figures(what, WARM_UP_CALLS, clients), url, pid, lambda number: params(-1 - number))
    figures = Figures(what, calls, clients, rss_mb=[rss_mb(pid)])
    await _run(figures, url, pid, params)
    return figures


async def _run(figures: Figures, url: str, pid: int, params: Callable[[int], dict[str, Any]]) -> None:
    numbers = iter(range(figures.calls))
    tenth = max(1, figures.calls // 10)
    at = urlsplit(url)

    async def client() -> None:
        reader, writer = await asyncio.open_connection(at.hostname, at.port)
        try:
            for number in numbers:
                began = time.perf_counter()
                async with asyncio.timeout(_CALL_LIMIT_S):
                    result = await _call(reader, writer, number, params(number))
                figures.seconds.append(time.perf_counter() - began)
                if result.get("isError", True):
                    figures.errors.append(json.dumps(result)[:300])
                if number % tenth == tenth - 1:
                    figures.rss_mb.append(rss_mb(pid))
        finally:
            writer.close()

    began = time.perf_counter()
    ended = await asyncio.gather(*(client() for _ in range(figures.clients)), return_exceptions=True)
    figures.wall_s = time.perf_counter() - began
    figures.errors += [repr(each) for each in ended if each is not None]


async def _call(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int, params: dict[str, Any]
) -> dict[str, Any]:
    """One tools/call on a connection that stays open; a client of a few lines, so that it costs little itself."""
    body = json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}).encode()
    head = (
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-11-25\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    status = await reader.readuntil(b"\r\n\r\n")
    if not status.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(status.split(b"\r\n", 1)[0].decode())
    text = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        text += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    message = next(line[5:] for line in reversed(text.splitlines()) if line.startswith(b"data:"))
    answer = json.loads(message)
    return dict(answer.get("result", {"isError": True, "error": answer.get("error")}))


def rss_mb(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description="ring-image-create under load, beside a bare SDK server.")
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    options = parser.parse_args()
    ring, bare = asyncio.run(measure(options.calls, options.clients))
    print(ring, bare, sep="\n")
    print(f"ratio of throughput: {ring.per_s / bare.per_s:.2f}; of p99: {ring.ms(99) / bare.ms(99):.1f}")
    for error in ring.errors[:5] + bare.errors[:5]:
        print("  error:", error)


if __name__ == "__main__":
    main()
