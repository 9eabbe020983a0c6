"""A server process that a test may kill, stop and resume, and an MCP session with it over its pipes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_LIMIT_S = 240.0
CALL_LIMIT_S = 60.0
END_LIMIT_S = 60.0
_LINE_LIMIT_BYTES = 8 * 1024 * 1024  # an answer carries a preview

REAL_SERVER = ("-m", "ring_mcp")


class ServerDied(Exception):
    """The process ended while an answer was awaited."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """``content`` is the structured envelope, ``text`` what the model reads."""

    is_error: bool
    text: str
    content: dict[str, Any]

    @property
    def data(self) -> dict[str, Any]:
        """What a success carries."""
        assert not self.is_error, self.text
        return dict(self.content["data"])

    @property
    def job_id(self) -> str:
        return str((self.content.get("data") or self.content)["jobId"])


class Server:
    """One process. ``log`` is the file that takes its stderr."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log
        self._asked = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path, *, greet: bool = True
    ) -> Server:
        with log.open("ab") as stderr:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                env=dict(environment),
                cwd=folder,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                limit=_LINE_LIMIT_BYTES,
            )
        server = cls(process, log)
        if greet:
            try:
                await server.greet()
            except BaseException:
                await server.kill()
                raise
        return server

    @property
    def pid(self) -> int:
        return self._process.pid

    async def greet(self) -> None:
        hello = {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "kill-tests", "version": "1"},
        }
        await self._ask("initialize", hello, START_LIMIT_S)
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    async def call(self, tool: str, arguments: Mapping[str, Any], limit_s: float = CALL_LIMIT_S) -> Reply:
        """Raises ServerDied if the process ends first."""
        result = await self._ask("tools/call", {"name": tool, "arguments": dict(arguments)}, limit_s)
        text = "\n".join(block["text"] for block in result["content"] if block["type"] == "text")
        content = result.get("structuredContent") or {}
        return Reply(is_error=bool(result.get("isError")), text=text, content=content)

    async def _ask(self, method: str, params: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        self._asked += 1
        number = self._asked
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            if self._reader.done():
                raise ServerDied("it has ended already")
            self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
            message = await asyncio.wait_for(answer, limit_s)
        finally:
            del self._answers[number]
        if message.get("error", {}).get("message") == "Connection closed":
            raise ServerDied("it was asked to stop")
        assert "error" not in message, message
        return dict(message["result"])

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ConnectionError):
            while line := await self._process.stdout.readline():
                if not line.endswith(b"\n"):
                    break  # it was killed in the middle of a word
                message = json.loads(line)
                waiting = self._answers.get(message.get("id", 0))
                if "method" not in message and waiting is not None and not waiting.done():
                    waiting.set_result(message)
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_exception(ServerDied(f"its last words are in {self._log}"))

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    async def ended(self, limit_s: float = END_LIMIT_S) -> int:
        """Wait for the end; the exit status, negative for a signal."""
        status = await asyncio.wait_for(self._process.wait(), limit_s)
        await asyncio.wait_for(self._reader, END_LIMIT_S)
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(ConnectionError):
            await self._process.stdin.wait_closed()
        return status

    async def kill(self) -> None:
        """Whatever it is doing: kill -9."""
        self.signal(signal.SIGKILL)
        await self.ended()

    def close_stdin(self) -> None:
        self.signal(signal.SIGCONT)
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def leave(self) -> None:
        """Close its stdin, as a client does that quits; it has to end by itself."""
        if self._process.returncode is None:
            self.close_stdin()
            try:
                await self.ended()
            except TimeoutError:
                await self.kill()
                raise
        else:
            await self.ended()
