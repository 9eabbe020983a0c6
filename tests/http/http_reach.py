"""ring-mcp as a network has it: a process that listens on a loopback port, and clients that may be hostile."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.sandbox.state.books import Charge
from tests import warm

LIMIT_S = 120.0
"""How long a test waits for anything. Reached only when something is broken."""

LONG_S = 600.0
ALICE, BOB, PLAIN = "the-token-of-alice", "the-token-of-bob", "token-without-a-name"
TOKENS = f"alice={ALICE}, bob={BOB}, {PLAIN}"
API = "/api/mcp/v1"

WAYS = ("http 2026-07-28", "http 2025-11-25", "sse")
"""The three ways an MCP client comes in."""


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """All that a server of the tests gets to see, with its home and its state in ``folder``."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "RING_STATE_DIR": str(folder / "state"), **variables}


def quick_environment(folder: Path, sandbox: SandboxServer, **variables: str) -> dict[str, str]:
    """Of a server that many tests share: it lets everybody call as often as they like, and looks at clips often."""
    quick = {"RING_MAX_CALLS_PER_MINUTE": "100000", "VIDEO_GEN_POLL_INTERVAL_MS": "100"}
    return environment(folder, RING_SANDBOX=sandbox.url, RING_MCP_SERVICE_TOKENS=TOKENS, **quick, **variables)


def eventually(what: str, seen: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
    """Look until ``seen`` gives something true, and return it; AssertionError with ``what`` when it never does."""
    until = time.monotonic() + limit_s
    while not (found := seen()):
        assert time.monotonic() < until, f"not seen within {limit_s:.0f} s: {what}"
        time.sleep(0.005)
    return found


def charges(sandbox: SandboxServer, prompt: str) -> Sequence[Charge]:
    """What the sandbox billed for this prompt."""
    return [charge for charge in sandbox.state.books.charges() if charge.prompt == prompt]


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


class HttpRing:
    """A running ``ring-mcp serve`` on a free port. Leaving the ``with`` ends it, by force if need be.

    ``cold``: see ``RingProcess``. A ``command`` for Python in its place is cold.
    """

    def __init__(self, env: Mapping[str, str], folder: Path, *command: str, cold: bool = False) -> None:
        self._stderr = bytearray()
        self._heard_bytes = 0
        self._process: warm.Server | subprocess.Popen[bytes]
        if cold or command or "PYTHONPATH" in env:
            self._process = subprocess.Popen(
                [sys.executable, *(command or ("-m", "ring_mcp", "serve", "--port", "0"))],
                env=dict(env),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        else:
            self._process = warm.Server(env, folder, "serve", "--port", "0")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._stderr += line

    @property
    def stderr(self) -> str:
        return bytes(self._stderr[self._heard_bytes :]).decode()

    def forget_stderr(self) -> None:
        """What other tests made it say is none of the next one's business."""
        self._heard_bytes = len(self._stderr)

    @property
    def url(self) -> str:
        """Where it listens; waits until it does."""

        def announced() -> str | None:
            assert self._process.poll() is None, self.stderr
            found = re.search(r"ring-mcp listens on (\S+): ", self._stderr.decode())  # in text or in JSON
            return found[1] if found else None

        return str(eventually("the server listens", announced))

    def client(self, token: str | None = ALICE, **options: Any) -> httpx2.Client:
        headers = bearer(token) if token else {}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=LIMIT_S, verify=False, **options)

    def get(self, path: str, token: str | None = ALICE, **options: Any) -> httpx2.Response:
        with self.client(token) as client:
            return client.get(path, **options)

    def post(self, path: str, body: Any, token: str | None = ALICE, **options: Any) -> httpx2.Response:
        with self.client(token) as client:
            return client.post(path, json=body, **options)

    def create(self, token: str = ALICE, **arguments: Any) -> dict[str, Any]:
        """``data`` of an image that was made."""
        answer = self.post(f"{API}/images/generate", arguments, token)
        assert answer.status_code == 201, answer.text
        return dict(answer.json()["data"])

    def jobs(self, token: str = ALICE) -> list[dict[str, Any]]:
        return list(self.get(f"{API}/jobs", token).json()["data"]["jobs"])

    def connect(self) -> socket.socket:
        """A connection on which anything may be sent. Whoever reads waits at most LIMIT_S."""
        at = urlsplit(self.url)
        assert at.hostname is not None
        return socket.create_connection((at.hostname, at.port or 80), timeout=LIMIT_S)

    def send_raw(self, request: bytes) -> bytes:
        """These bytes; everything that comes back until the server closes."""
        with self.connect() as connection:
            connection.sendall(request)
            return until_closed(connection)

    @property
    def cpu_s(self) -> float:
        """How long it has had a processor so far, as Linux counts it; 0 where nobody does."""
        counts = Path("/proc") / str(self._process.pid) / "stat"
        if not counts.exists():
            return 0.0
        user, system = counts.read_text().rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def signal(self, number: int = signal.SIGTERM) -> None:
        self._process.send_signal(number)

    def wait(self, limit_s: float = LIMIT_S) -> int:
        """The exit status; stderr is complete then."""
        status = self._process.wait(limit_s)
        self._reader.join(limit_s)
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.signal()
        try:
            self.wait(15.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()


def until_closed(connection: socket.socket) -> bytes:
    """What arrives until the other side closes or resets. TimeoutError if it does neither."""
    received = bytearray()
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            received += piece
    return bytes(received)


def status_of(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer[:200]
    return int(answer.split(b" ", 2)[1])


def request(method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> bytes:
    """A request as bytes. The connection is closed after its answer."""
    lines = [f"{method} {path} HTTP/1.1"]
    listed = {"Host": "127.0.0.1", "Connection": "close", "Content-Length": str(len(body)), **(headers or {})}
    lines += [f"{name}: {value}" for name, value in listed.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@contextlib.asynccontextmanager
async def mcp_client(url: str, way: str, token: str = ALICE) -> AsyncIterator[Client]:
    """The SDK's own client, in one of WAYS."""
    if way == "sse":
        async with Client(sse_client(f"{url}/sse", headers=bearer(token)), mode="legacy") as client:
            yield client
    else:
        mode = "auto" if way.endswith("2026-07-28") else "legacy"
        async with (
            httpx2.AsyncClient(headers=bearer(token), timeout=LIMIT_S, verify=False) as http,
            Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
        ):
            yield client


class SseSession:
    """A client of the older transport on bare sockets: it sees every event, and may leave in the middle."""

    def __init__(self, ring: HttpRing, token: str = ALICE) -> None:
        self._ring = ring
        self._token = token
        self._stream = ring.connect()
        self._stream.sendall(request("GET", "/sse", {**bearer(token), "Accept": "text/event-stream"}))
        self._lines = self._read_lines()
        self.messages_path = next(self._lines)

    def _read_lines(self) -> Iterator[str]:
        with self._stream.makefile("rb") as file:
            for line in file:
                if line.startswith(b"data: "):
                    yield line[6:].decode().strip()

    def post(self, message: Mapping[str, Any], token: str | None = None) -> int:
        answer = self._ring.post(self.messages_path, dict(message), token or self._token)
        return answer.status_code

    def shake_hands(self) -> None:
        client = {"name": "tests", "version": "1"}
        facts = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
        assert self.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": facts}) == 202
        assert self.next_message()["id"] == 0
        assert self.post({"jsonrpc": "2.0", "method": "notifications/initialized"}) == 202

    def call(self, number: int, tool: str, arguments: Mapping[str, Any]) -> None:
        params = {"name": tool, "arguments": dict(arguments)}
        assert self.post({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}) == 202

    def next_message(self) -> dict[str, Any]:
        return dict(json.loads(next(self._lines)))

    def rest(self) -> list[dict[str, Any]]:
        """Everything until the server ends the stream."""
        return [json.loads(line) for line in self._lines]

    def close(self) -> None:
        self._lines.close()  # type: ignore[attr-defined]
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
