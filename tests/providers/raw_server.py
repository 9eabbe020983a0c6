"""A server that a test scripts byte by byte, for what no well-behaved server does. It counts what reaches it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

LIMIT_S = 60.0
CHUNK = bytes(256 * 1024)


@dataclass(frozen=True)
class Seen:
    """A request that arrived whole. ``connection`` numbers the connection that it came over, from 0."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int


class Connection:
    """One connection, in the hands of a script."""

    def __init__(
        self, server: RawServer, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._server = server
        self._number = number
        self._reader = reader
        self.writer = writer

    async def request(self) -> Seen | None:
        """The next request, or None when the client has closed the connection."""
        try:
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        method, path, _ = first.split(" ")
        seen = Seen(method, path, headers, body, self._number)
        self._server.requests.append(seen)
        self._server.request_came.set()
        return seen

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            self._server.sent_bytes += len(part)
            await self.writer.drain()

    async def until_client_leaves(self) -> None:
        with contextlib.suppress(ConnectionError):
            await self._reader.read()
        self._server.client_left.set()

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self.writer.transport.abort()


Script = Callable[[Connection], Awaitable[None]]


class RawServer:
    """``async with RawServer(script, ...)``: the n-th connection gets the n-th script, later ones the last."""

    def __init__(self, *scripts: Script, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self._scripts = scripts
        self._host = host
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests: list[Seen] = []
        self.connections = 0
        self.sent_bytes = 0
        self.request_came = asyncio.Event()
        self.client_left = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return self.url_of(self._host)

    def url_of(self, host: str) -> str:
        return f"http://{host}:{self.port}"

    @property
    def posts(self) -> list[Seen]:
        return [request for request in self.requests if request.method == "POST"]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self.connections
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        script = self._scripts[min(number, len(self._scripts) - 1)]
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await script(Connection(self, number, reader, writer))
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._host, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks, timeout=LIMIT_S)
        await asyncio.wait_for(self._server.wait_closed(), LIMIT_S)


def http(status: int = 200, body: bytes | str | object = b"", **headers: str) -> bytes:
    """An answer as bytes; ``body`` is bytes, text, or a value for JSON. ``retry_after="3"`` is a header."""
    content_type = "text/plain; charset=utf-8" if isinstance(body, bytes | str) else "application/json"
    content = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = {"content-type": content_type, "content-length": str(len(content))} | named
    return f"HTTP/1.1 {status} X\r\n".encode() + head(lines) + content


def head(headers: Mapping[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode() + b"\r\n"


def answering(*answers: bytes) -> Script:
    """One answer per request, whichever connection it comes over; the last one for ever. Keeps connections open."""
    left = list(answers)

    async def script(connection: Connection) -> None:
        while await connection.request() is not None:
            await connection.send(left.pop(0) if len(left) > 1 else left[0])

    return script


def saying(*parts: bytes) -> Script:
    """Read one request, send these bytes, close."""

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(*parts)

    return script


def resetting(*parts: bytes) -> Script:
    """Read one request, send these bytes, reset the connection."""

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(*parts)
        connection.reset()

    return script


async def closing_unread(connection: Connection) -> None:
    """Accept the connection and close it before anything is read."""


async def silent(connection: Connection) -> None:
    """Read one request and never answer."""
    await connection.request()
    await connection.until_client_leaves()


def streaming(size_bytes: int, *, declared: bool, status: int = 200, content_type: str = "image/jpeg") -> Script:
    """Read one request and send ``size_bytes`` zeros, never holding more than one chunk."""

    async def script(connection: Connection) -> None:
        await connection.request()
        length = {"content-length": str(size_bytes)} if declared else {"connection": "close"}
        await connection.send(f"HTTP/1.1 {status} X\r\n".encode() + head({"content-type": content_type} | length))
        left_bytes = size_bytes
        while left_bytes > 0:
            await connection.send(CHUNK[:left_bytes])
            left_bytes -= len(CHUNK)

    return script
