"""ring-mcp as a client has it: a subprocess, two pipes, one JSON object per line.

``RingProcess`` is a client in plain threads that sees every byte; ``SdkClient`` is the SDK's own client, for what it
negotiates and checks by itself, and ``warm_stdio`` that client's way to a server that is forked. Every wait is bounded,
and nothing of the environment of whoever runs the tests reaches the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import unquote, urlsplit

import anyio
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.shared.message import SessionMessage
from mcp.types import CallToolResult, TextContent, TextResourceContents, jsonrpc_message_adapter

from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.sandbox.state.books import Charge
from tests import warm

LIMIT_S = 120.0
"""How long a test waits for anything. Reached only when something is broken."""

LEGACY = "2025-11-25"
MODERN = "2026-07-28"

_META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "tests", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """All that a server of the tests gets to see, with its home and its state in ``folder``."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "RING_STATE_DIR": str(folder / "state"),
        **variables,
    }


def eventually(what: str, seen: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
    """Look until ``seen`` gives something true, and return it; AssertionError with ``what`` when it never does."""
    until = time.monotonic() + limit_s
    while not (found := seen()):
        assert time.monotonic() < until, f"not seen within {limit_s:.0f} s: {what}"
        time.sleep(0.005)
    return found


def path_of(url: str) -> Path:
    """Where the file of a ``file:`` address lies."""
    assert url.startswith("file://"), url
    return Path(unquote(urlsplit(url).path))


def charges(sandbox: SandboxServer, prompt: str) -> Sequence[Charge]:
    """What the sandbox billed for this prompt."""
    return [charge for charge in sandbox.state.books.charges() if charge.prompt == prompt]


@dataclass(frozen=True)
class ToolReply:
    """An answer to tools/call. ``content`` is structuredContent, ``text`` the first block."""

    result: Mapping[str, Any]
    size_bytes: int

    @property
    def is_error(self) -> bool:
        return bool(self.result.get("isError"))

    @property
    def content(self) -> dict[str, Any]:
        return dict(self.result["structuredContent"])

    @property
    def data(self) -> dict[str, Any]:
        """``data`` of a success; an AssertionError with the text of a failure."""
        assert not self.is_error, self.text
        return dict(self.content["data"])

    @property
    def blocks(self) -> list[dict[str, Any]]:
        return list(self.result["content"])

    @property
    def text(self) -> str:
        assert self.blocks[0]["type"] == "text"
        return str(self.blocks[0]["text"])


class RingProcess:
    """A running ``python -m ring_mcp``. Leaving the ``with`` ends it, by force if need be.

    ``cold``: it loads its modules itself, as hosts start it, and is not forked from what has them (``tests/warm.py``).
    With a PYTHONPATH, another tree's, it always does.

    ``version`` picks the era: with LEGACY the handshake is made at the first request, with MODERN every request
    carries its envelope. ``stray`` has every line on stdout that was no JSON-RPC message. ``on_line`` is called with
    each line on stdout, and at its end with none, in the thread that reads.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        folder: Path,
        *arguments: str,
        version: str = LEGACY,
        shake_hands: bool = True,
        cold: bool = False,
        on_line: Callable[[bytes], object] = lambda line: None,
    ) -> None:
        self._on_line = on_line
        self._modern = version == MODERN
        self._version = version
        self._must_shake_hands = shake_hands and not self._modern
        self._ids = itertools.count(1)  # threads of a test share this client, and each wants an id of its own
        self._changed = threading.Condition()
        self._messages: list[tuple[dict[str, Any], int]] = []
        self._stderr = bytearray()
        self._closed = 0
        self.stray: list[bytes] = []
        self._process: warm.Server | subprocess.Popen[bytes]
        if cold or "PYTHONPATH" in env:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ring_mcp", *arguments],
                env=dict(env),
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        else:
            self._process = warm.Server(env, folder, *arguments, piped=True, own_session=True)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read_stdout, args=(self._process.stdout,), daemon=True),
            threading.Thread(target=self._read_stderr, args=(self._process.stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_stdout(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            self._on_line(line)
            try:
                message = json.loads(line)
                assert isinstance(message, dict)
                assert message["jsonrpc"] == "2.0"
            except (ValueError, AssertionError, KeyError):
                self.stray.append(line)
                continue
            with self._changed:
                self._messages.append((message, len(line)))
                self._changed.notify_all()
        self._on_line(b"")
        self._end_of_pipe()

    def _read_stderr(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            self._stderr += line
        self._end_of_pipe()

    def _end_of_pipe(self) -> None:
        with self._changed:
            self._closed += 1
            self._changed.notify_all()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stderr(self) -> str:
        """What was written to stderr so far; all of it after the process has ended."""
        return bytes(self._stderr).decode()

    @property
    def received(self) -> str:
        """Everything that came over the wire so far, as JSON."""
        with self._changed:
            return json.dumps([message for message, _ in self._messages])

    def send_line(self, line: bytes) -> None:
        """These bytes and a newline, whatever they are."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()

    def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        self.send_line(json.dumps({"jsonrpc": "2.0", "method": method, "params": dict(params or {})}).encode())

    def post(self, method: str, params: Mapping[str, Any] | None = None) -> int:
        """Send a request and return its id."""
        if self._must_shake_hands:
            self._must_shake_hands = False
            self.initialize()
        full = dict(params or {})
        if self._modern:
            full["_meta"] = {**_META, **full.get("_meta", {})}
        number = next(self._ids)
        self.send_line(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": full}).encode())
        return number

    def answer(self, request_id: int | str, limit_s: float = LIMIT_S) -> tuple[dict[str, Any], int]:
        """The whole message that answers a request, and its size on the wire in bytes."""

        def found() -> tuple[dict[str, Any], int] | None:
            return next((each for each in self._messages if each[0].get("id") == request_id), None)

        with self._changed:
            self._changed.wait_for(lambda: found() or self._closed, limit_s)
            answer = found()
        assert answer is not None, f"no answer to request {request_id}; stderr: {self.stderr[-2000:]}"
        return answer

    def request(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The result of a request; AssertionError if the answer is an error."""
        message, _ = self.answer(self.post(method, params))
        assert "result" in message, message
        return dict(message["result"])

    def refusal(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON-RPC error that a request is answered with."""
        message, _ = self.answer(self.post(method, params))
        assert "error" in message, message
        return dict(message["error"])

    def initialize(self) -> dict[str, Any]:
        client = {"name": "tests", "version": "1"}
        facts = {"protocolVersion": self._version, "capabilities": {}, "clientInfo": client}
        result = self.request("initialize", facts)
        self.notify("notifications/initialized")
        return result

    def begin(self, tool: str, arguments: Mapping[str, Any], token: str | None = None) -> int:
        """Call a tool and do not wait for the answer. With ``token`` the call asks for progress."""
        params: dict[str, Any] = {"name": tool, "arguments": dict(arguments)}
        if token is not None:
            params["_meta"] = {"progressToken": token}
        return self.post("tools/call", params)

    def finish(self, request_id: int, limit_s: float = LIMIT_S) -> ToolReply:
        message, size_bytes = self.answer(request_id, limit_s)
        assert "result" in message, message
        return ToolReply(message["result"], size_bytes)

    def call(self, tool: str, arguments: Mapping[str, Any], token: str | None = None) -> ToolReply:
        return self.finish(self.begin(tool, arguments, token))

    def create(self, **arguments: Any) -> ToolReply:
        return self.call("ring-image-create", arguments)

    def health(self) -> ToolReply:
        return self.call("ring-health", {})

    def progress(self, token: str) -> list[dict[str, Any]]:
        """The progress notifications for this token so far, in order."""
        with self._changed:
            notes = [m["params"] for m, _ in self._messages if m.get("method") == "notifications/progress"]
        return [note for note in notes if note["progressToken"] == token]

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill_group(self) -> None:
        """End it with its whole process group, as hosts do that started it in one of its own."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self.wait()

    def kill_tree(self) -> None:
        """End it with everything that descends from it, as hosts do that walk the table of processes."""
        parents = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        doomed = {self._process.pid}
        while more := {pid for pid, parent in parents.items() if parent in doomed} - doomed:
            doomed |= more
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait()

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self.wait()

    def hang_up(self) -> None:
        """Close the server's stdin, as a client that leaves."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def wait(self, limit_s: float = LIMIT_S) -> int:
        """The exit status; its output is complete then. subprocess.TimeoutExpired if it does not end."""
        status = self._process.wait(limit_s)
        for reader in self._readers:
            reader.join(limit_s)
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hang_up()
        try:
            self.wait(5.0)
        except subprocess.TimeoutExpired:
            self.kill()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()


def text_of(result: CallToolResult) -> str:
    """What a model reads first."""
    first = result.content[0]
    assert isinstance(first, TextContent)
    return first.text


class SdkClient:
    """The SDK's client in a thread with an event loop of its own. ``mode``: "auto" (2026-07-28) or "legacy"."""

    def __init__(self, env: Mapping[str, str], folder: Path, mode: str) -> None:
        self._server = StdioServerParameters(
            command=sys.executable, args=["-m", "ring_mcp"], env=dict(env), cwd=str(folder)
        )
        self._mode = mode
        self._stderr = folder / "stderr.txt"
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._leave = asyncio.Event()
        with self._stderr.open("w") as errors:
            transport = stdio_client(self._server, errlog=errors)
            async with Client(transport, mode=self._mode) as self._client:
                self.protocol_version = str(self._client.protocol_version)
                self._ready.set()
                await self._leave.wait()

    def call(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        on_progress: Callable[[float, float | None, str | None], None] | None = None,
    ) -> CallToolResult:
        async def tell(progress: float, total: float | None, message: str | None) -> None:
            if on_progress is not None:
                on_progress(progress, total, message)

        work = self._client.call_tool(tool, dict(arguments), progress_callback=tell if on_progress else None)
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT_S)

    def read(self, uri: str) -> str:
        """The text of a resource."""
        work = self._client.read_resource(uri)
        [content] = asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT_S).contents
        assert isinstance(content, TextResourceContents)
        return content.text

    def tool_names(self) -> list[str]:
        listed = asyncio.run_coroutine_threadsafe(self._client.list_tools(), self._loop).result(LIMIT_S)
        return [tool.name for tool in listed.tools]

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(LIMIT_S), self._stderr.read_text()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join(LIMIT_S)


@contextlib.asynccontextmanager
async def warm_stdio(env: Mapping[str, str], folder: Path) -> AsyncIterator[Any]:
    """A transport for the SDK's client, as its ``stdio_client`` is one, to a server that is forked."""
    loop = asyncio.get_running_loop()
    told, messages = anyio.create_memory_object_stream[SessionMessage | Exception](math.inf)
    sending, sent = anyio.create_memory_object_stream[SessionMessage](0)

    def tell(line: bytes) -> None:
        if not line:
            told.close()
            return
        with contextlib.suppress(anyio.BrokenResourceError):  # the client has left
            told.send_nowait(SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False)))

    async def write(ring: RingProcess) -> None:
        async for each in sent:
            ring.send_line(each.message.model_dump_json(by_alias=True, exclude_unset=True).encode())

    server = RingProcess(env, folder, shake_hands=False, on_line=lambda line: loop.call_soon_threadsafe(tell, line))
    with server as ring, told, messages, sending, sent:
        writing = asyncio.create_task(write(ring))
        try:
            yield messages, sending
        finally:
            sending.close()
            await asyncio.wait_for(writing, LIMIT_S)


def command(env: Mapping[str, str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``ring-mcp`` with these arguments to its end."""
    return subprocess.run(
        [sys.executable, "-m", "ring_mcp", *arguments],
        env=dict(env),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=LIMIT_S,
        check=False,
    )
