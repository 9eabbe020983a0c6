"""An HTTP proxy on loopback, as companies have them: CONNECT, and whole addresses. It writes down who asks for what."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

LIMIT_S = 60.0


@dataclass
class ConnectProxy:
    """``names`` are the places that it knows and nobody else does: by ``host:port`` the real ``(host, port)``.

    ``answer`` replaces the tunnel: an answer to CONNECT (or to the request), b"" closes the connection, None hangs.
    While ``is_slow``, nobody is answered.
    """

    names: dict[str, tuple[str, int]] = field(default_factory=dict)
    password: str | None = None
    answer: bytes | None = b"open"
    is_slow: bool = False
    asked: list[str] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            await _close(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        self.asked.append(f"{method} {target}")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if not self._may(headers):
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
            return
        while self.is_slow:
            await asyncio.sleep(0.005)
        if self.answer is None:
            await reader.read()  # until the client has had enough
            return
        if self.answer != b"open":
            writer.write(self.answer)
            return
        asked = urlsplit(target)
        place = target if method == "CONNECT" else asked.netloc
        host, port = self.names.get(place) or (place.rpartition(":")[0], int(place.rpartition(":")[2]))
        there, back = await asyncio.open_connection(host, port)
        try:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = asked._replace(scheme="", netloc="").geturl() or "/"
                once = re.sub(rb"(?i)\r\nconnection: [^\r]*", b"", head).replace(target.encode(), path.encode(), 1)
                back.write(once[:-2] + b"connection: close\r\n\r\n")
            await asyncio.gather(_pipe(reader, back), self._answer(method, there, writer))
        finally:
            await _close(back)

    async def _answer(self, method: str, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if method != "CONNECT":  # one request a connection: the next one is to be read, too
            head = await there.readuntil(b"\r\n\r\n")
            writer.write(head[:-2] + b"connection: close\r\n\r\n")
        await _pipe(there, writer)

    def _may(self, headers: Mapping[str, str]) -> bool:
        if self.password is None:
            return True
        return headers.get("proxy-authorization") == "Basic " + base64.b64encode(self.password.encode()).decode()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(64 * 1024):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError, asyncio.CancelledError):
        await writer.wait_closed()


@asynccontextmanager
async def proxy(
    *, names: dict[str, tuple[str, int]] | None = None, password: str | None = None, answer: bytes | None = b"open"
) -> AsyncIterator[ConnectProxy]:
    found = ConnectProxy(names=names or {}, password=password, answer=answer)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await found.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks or {asyncio.ensure_future(asyncio.sleep(0))}, timeout=LIMIT_S)
