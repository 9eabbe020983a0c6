"""How long ``/healthz`` waits while others send what they should not.

    uv run python -m tests.benchmarks hostile              # each body alone, 200 mixed clients, half-open connections

The clients are a process of their own and hold a good token, so that their bodies are read. Every probe is a connection
of its own, and every other one goes to a bare server beside it, which nobody else asks: what that one takes longer is
the machine's doing. Printed, never judged; the goal is 250 ms at the 99th percentile.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from tests.benchmarks.measuring import folder, sandbox, title
from tests.http.http_reach import ALICE, API, TOKENS, HttpRing, environment, request

CLIENTS, LOAD_S, ROOT = 200, 15, Path(__file__).parents[2]
HALF_OPEN = 600
_PROBE_LIMIT_S = 120.0
_NARROW = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from ring_mcp.server.process import run_http
run_http("127.0.0.1", 0)
"""
_JSON = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
_GOOD = {**_JSON, "Authorization": f"Bearer {ALICE}"}


def _call(tool: str, arguments: object) -> bytes:
    params = {"name": tool, "arguments": arguments}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()


def _image(**arguments: object) -> bytes:
    return json.dumps({"prompt": "x", **arguments}).encode()


def _script(clips: object) -> bytes:
    return _call("ring-script-run", {"request": {"requestId": "r", "clips": clips}})


IMAGES = f"{API}/images/generate"
BODIES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "250,000 unknown names": (IMAGES, lambda: _image(**{f"k{n}": 1 for n in range(250_000)})),
    "1,900,000 reference images": (
        IMAGES,
        lambda: b'{"prompt": "x", "referenceImages": [' + b"1," * 1_900_000 + b"1]}",
    ),
    "1,900,000 clips of a script": (
        "/mcp",
        lambda: _call("ring-script-run", {"request": {"clips": 0}}).replace(b"0}}", b"[" + b"1," * 1_900_000 + b"1]}}"),
    ),
    "as many names as are counted": (IMAGES, lambda: _image(**{f"k{n}": 1 for n in range(49_000)})),
    "as many reference images": (IMAGES, lambda: _image(referenceImages=[1] * 49_000)),
    "as many clips": (
        "/mcp",
        lambda: _call("ring-script-run", {"request": {"requestId": "r", "clips": [{}] * 49_000}}),
    ),
    "as many names over MCP": ("/mcp", lambda: _call("ring-image-create", {f"k{n}": 1 for n in range(49_000)})),
    "90,000 names": (IMAGES, lambda: _image(**{f"k{n}": 1 for n in range(90_000)})),
    "90,000 clips": ("/mcp", lambda: _script([{}] * 90_000)),
    "two million brackets": (IMAGES, lambda: b'{"prompt": "x", "deep": ' + b"[" * 2_000_000 + b"}"),
    "two million brackets over MCP": ("/mcp", lambda: b'{"jsonrpc": "2.0", "id": 1, "a": ' + b"[" * 2_000_000),
    "empty objects without a comma": (IMAGES, lambda: b'{"prompt": ' + b'{"a":' * 700_000),
    "escapes": (IMAGES, lambda: b'{"prompt": "' + b"\\u0041" * 650_000 + b'"}'),
    "one long number": (IMAGES, lambda: b'{"prompt": ' + b"9" * 4_000_000 + b"}"),
    "a data URI of 4 MB": (IMAGES, lambda: _image(referenceImages=["data:image/png;base64," + "A" * 4_000_000])),
}


def _good(path: str, body: bytes) -> bytes:
    return request("POST", path, _GOOD, body)


def _mixed() -> list[bytes]:
    """What the mixed clients send, one after the other, each on a connection of its own."""
    wrong = request("GET", f"{API}/jobs", {"Authorization": "Bearer wrong-wrong-wrong-wrong"})
    odd = [
        wrong,
        wrong,
        request("GET", "/healthz", {"Host": "evil.example"}),
        request("POST", "/mcp", {**_GOOD, "Origin": "https://evil.example"}, b"{}"),
        _good("/mcp", b"[" * 100_000),
        _good(IMAGES, b'{"prompt": "x", "n": 1e400}'),
        random.Random(1).randbytes(20_000),
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n",  # and no more: half open
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000\r\n\r\n{",
        b"G" * 70_000,
        b"",
    ]
    return [*(_good(path, make()) for path, make in BODIES.values()), *odd, *odd]


async def _client(at: tuple[str, int], turns: Iterator[bytes], until_s: float, sent: list[str]) -> None:
    for message in turns:
        if time.monotonic() > until_s:
            return
        answer = b""
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection(*at)
                try:
                    writer.write(message)
                    answer = await reader.readline()
                finally:
                    writer.transport.abort()
        sent.append(answer.decode("latin-1").partition(" ")[2][:3] or "none")


async def _load(url: str, clients: int, seconds: float) -> dict[str, int]:
    """How often which status came back."""
    at, messages, sent = urlsplit(url), _mixed(), list[str]()
    place, until_s = (at.hostname or "", at.port or 80), time.monotonic() + seconds
    starts = (random.Random(number).randrange(len(messages)) for number in range(clients))
    turns = [itertools.islice(itertools.cycle(messages), start, None) for start in starts]
    await asyncio.gather(*(_client(place, each, until_s, sent) for each in turns))
    return {status: sent.count(status) for status in sorted(set(sent))}


def _probe(url: str) -> float:
    """Milliseconds until ``/healthz`` has answered on a new connection."""
    at, began = urlsplit(url), time.perf_counter()
    with socket.create_connection((at.hostname or "", at.port or 80), timeout=_PROBE_LIMIT_S) as connection:
        connection.sendall(request("GET", "/healthz"))
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 200"), answer[:100]
    return (time.perf_counter() - began) * 1000


def _probe_while(process: subprocess.Popen[str], url: str, bare: str) -> tuple[list[float], list[float], str]:
    """Milliseconds of ours and of the bare one, in turn, until the clients have ended, and what they said."""
    ours_ms, bare_ms = [], []
    while process.poll() is None:
        ours_ms.append(_probe(url))
        bare_ms.append(_probe(bare))
        time.sleep(0.005)
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError("the clients broke")
    return ours_ms, bare_ms, said.strip()


def _p99(values_ms: Sequence[float]) -> float:
    return statistics.quantiles(values_ms, n=100)[98] if len(values_ms) > 1 else max(values_ms)


def _figures(values_ms: Sequence[float]) -> str:
    p50, p99 = statistics.median(values_ms), _p99(values_ms)
    return f"{len(values_ms):5} probes: p50 {p50:6.1f} ms, p99 {p99:7.1f} ms, longest {max(values_ms):7.1f} ms"


def _beside(ours_ms: Sequence[float], bare_ms: Sequence[float]) -> str:
    ours, bare = _p99(ours_ms), _p99(bare_ms)
    return f"{_figures(ours_ms)}; bare p99 {bare:6.1f} ms, {ours / bare:.1f} times"


def _start(url: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.benchmarks.hostile", url, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _send_alone(url: str, name: str, times: int) -> None:
    path, make = BODIES[name]
    message, at = _good(path, make()), urlsplit(url)
    began, status = time.perf_counter(), b""
    for _ in range(times):
        with socket.create_connection((at.hostname or "", at.port or 80), timeout=_PROBE_LIMIT_S) as connection:
            with contextlib.suppress(OSError):  # it answers before it has read everything
                connection.sendall(message)
            with contextlib.suppress(OSError):
                status = connection.recv(4096)[9:12] or status
    each_ms = (time.perf_counter() - began) / times * 1000
    print(f"HTTP {status.decode() or '-'}, {each_ms:.0f} ms each")


def run(rounds: int) -> None:
    """``rounds``: how often each body is sent alone."""
    with sandbox() as address, folder() as home:
        env = environment(home, RING_SANDBOX=address, RING_MCP_SERVICE_TOKENS=TOKENS, RING_LOG_LEVEL="error")
        with HttpRing(env, home, str(Path(__file__).with_name("bare_healthz.py"))) as bare:
            with HttpRing(env, home) as ring:
                _measure_bodies(ring, bare.url, rounds)
            _measure_mixed(home, env, bare.url)
        _measure_half_open(home, env)


def _measure_bodies(ring: HttpRing, bare: str, times: int) -> None:
    title(f"hostile: /healthz while one client sends a body {times} times")
    idle = [_probe(ring.url) for _ in range(300)]
    print(f"  {'nothing':<32}{_figures(idle)}", flush=True)
    for name in BODIES:
        ours_ms, bare_ms, said = _probe_while(_start(ring.url, "--alone", name, str(times)), ring.url, bare)
        print(f"  {name:<32}{_beside(ours_ms, bare_ms)}; {said}", flush=True)


def _measure_mixed(home: Path, env: dict[str, str], bare: str) -> None:
    title(f"hostile: /healthz while {CLIENTS} mixed clients send whatever they like for {LOAD_S} s")
    with HttpRing(env, home, str(Path(__file__).with_name("loop_turns.py"))) as ring:
        ours_ms, bare_ms, said = _probe_while(_start(ring.url, "--mixed", str(CLIENTS), str(LOAD_S)), ring.url, bare)
        print(f"  {f'{CLIENTS} clients':<32}{_beside(ours_ms, bare_ms)}\n  their answers by status: {said}", flush=True)
    turns = next(line for line in ring.stderr.splitlines() if line.startswith("TURNS: "))
    print(f"  turns of the event loop, processor time: {turns.removeprefix('TURNS: ')}", flush=True)
    print(f"  stderr of the server: {len(ring.stderr):,} characters", flush=True)


def _measure_half_open(home: Path, env: dict[str, str]) -> None:
    title(f"hostile: /healthz beside {HALF_OPEN} half-open connections, of 256 descriptors")
    with HttpRing(env, home, "-c", _NARROW) as ring, contextlib.ExitStack() as stack:
        idle, at = [_probe(ring.url) for _ in range(200)], urlsplit(ring.url)
        for _ in range(HALF_OPEN):
            place = (at.hostname or "", at.port or 80)
            stack.enter_context(socket.create_connection(place, timeout=_PROBE_LIMIT_S)).send(b"GET / HTTP/1.1\r\n")
        print(f"  {'before':<32}{_figures(idle)}\n  {'beside them':<32}", end="", flush=True)
        print(_figures([_probe(ring.url) for _ in range(200)]))
        print(f"  stderr of the server: {len(ring.stderr):,} characters", flush=True)


def main() -> None:
    """The clients, as a process of their own."""
    url, how, *rest = sys.argv[1:]
    if how == "--alone":
        _send_alone(url, rest[0], int(rest[1]))
    else:
        print(json.dumps(asyncio.run(_load(url, int(rest[0]), float(rest[1])))))


if __name__ == "__main__":
    main()
