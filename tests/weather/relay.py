"""What stands between the product and the sandbox: an HTTP relay that hands on requests and answers, or something else.

It knows whose request it has: a paid one, a look at a job, a download, an upload, or one of the free lists. What it
does to a request is one ``Fault``, chosen by ``Sky``; without one it is handed on as it came.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["paid", "look", "media", "upload", "free", "other"]

_ROUTES: tuple[tuple[Kind, str, str], ...] = (
    ("paid", "POST", r"/xai/v1/(images|videos)/|/google/v1beta/(models/.*:(generateContent|predict)|interactions$)"),
    ("look", "GET", r"/xai/v1/(images|videos)/|/google/v1beta/interactions/"),
    ("media", "GET", r"/media/|/google/v1beta/files/"),
    ("upload", "POST", r"/ringbase/api/v1/upload"),
    ("free", "GET", r"/(xai/v1|google/v1beta)/(api-key|me$|models|(image|video)-generation-models)"),
)
PORTAL = "/portal"
_PORTAL_PAGE = b"<!DOCTYPE html><html><body>Welcome to the guest network. Please accept the terms.</body></html>"
_LIMIT_BYTES = 64 * 1024
_CHUNK_BYTES = 16 * 1024


@dataclass(frozen=True, kw_only=True)
class Request:
    """``line`` is method, target and version; ``head`` the header lines as they came. ``is_first``: nothing was asked
    over this connection before."""

    line: str
    head: tuple[str, ...]
    body: bytes
    is_first: bool

    @property
    def method(self) -> str:
        return self.line.split(" ")[0]

    @property
    def path(self) -> str:
        return self.line.split(" ")[1].partition("?")[0]

    @property
    def kind(self) -> Kind:
        for kind, method, pattern in _ROUTES:
            if method == self.method and re.match(pattern, self.path):
                return kind
        return "other"

    @property
    def prompt(self) -> str:
        """What a paid request asks for, as the books of the sandbox have it."""
        body = json.loads(self.body)
        if "prompt" in body:
            return str(body["prompt"])
        given = body.get("input", [part for content in body.get("contents", []) for part in content["parts"]])
        return given if isinstance(given, str) else "\n".join(part["text"] for part in given if "text" in part)


@dataclass(frozen=True, kw_only=True)
class Response:
    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    def head(self, *, length: int | None = None, close: bool) -> bytes:
        shown = {
            "Content-Type": self.content_type,
            **self.headers,
            "Content-Length": str(len(self.body) if length is None else length),
            "Connection": "close" if close else "keep-alive",
        }
        lines = [f"HTTP/1.1 {self.status} Weather", *(f"{name}: {value}" for name, value in shown.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


class Exchange:
    """One request, and what can be done to whoever sent it."""

    def __init__(
        self, request: Request, writer: asyncio.StreamWriter, upstream: tuple[str, int], chance: random.Random
    ) -> None:
        self.request = request
        self.random = chance
        self._writer = writer
        self._upstream = upstream

    async def forward(self) -> Response:
        """The sandbox's own answer."""
        reader, writer = await asyncio.open_connection(*self._upstream)
        try:
            method, target, _ = self.request.line.split(" ")
            kept = [line for line in self.request.head if not line.lower().startswith(("connection:", "expect:"))]
            head = "\r\n".join([f"{method} {target} HTTP/1.0", *kept, "", ""])
            writer.write(head.encode("latin-1") + self.request.body)
            await writer.drain()
            answer = await reader.read()
        finally:
            writer.close()
        first, _, rest = answer.partition(b"\r\n")
        head_lines, _, body = rest.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head_lines.decode("latin-1").split("\r\n") if ": " in line)
        named = {name.lower(): value for name, value in headers.items()}
        return Response(
            status=int(first.split(b" ")[1]),
            body=body,
            content_type=named.get("content-type", "application/octet-stream"),
            headers={name: value for name, value in named.items() if name in ("retry-after", "x-request-id")},
        )

    async def send(self, response: Response, *, close: bool = True) -> None:
        self._writer.write(response.head(close=close) + response.body)
        await self._writer.drain()

    async def send_part(self, response: Response) -> None:
        """A part of what the head announces, and then nothing more."""
        length = max(len(response.body), 2)
        self._writer.write(response.head(length=length, close=True) + response.body[: self.random.randrange(length)])
        await self._writer.drain()

    async def send_slowly(self, response: Response, lasts_s: float) -> None:
        """All of it, in twenty pieces."""
        self._writer.write(response.head(close=True))
        size = -(-len(response.body) // 20) or 1
        for start in range(0, len(response.body), size):
            await asyncio.sleep(lasts_s / 20)  # a slow line: not a wait for anything
            self._writer.write(response.body[start : start + size])
            await self._writer.drain()

    def reset(self) -> None:
        """As a machine on the way does that has forgotten the connection."""
        wire: socket.socket = self._writer.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Act = Callable[[Exchange], Awaitable[None]]
Choose = Callable[[Request], Act | None]


class Relay:
    """``async with`` gives a running one. ``choose`` says what is done to a request; None hands it on.

    ``upstream`` is the sandbox's host and port; ``lag_s`` how long a paid request takes at least, one way.
    """

    def __init__(self, upstream: tuple[str, int], choose: Choose, chance: random.Random, lag_s: float = 0.0) -> None:
        self._upstream = upstream
        self._choose = choose
        self._random = chance
        self._lag_s = lag_s
        self._place: socket.socket | None = None
        self._listening: asyncio.Server | None = None
        self._served: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._place is not None
        return f"http://127.0.0.1:{self._place.getsockname()[1]}"

    async def __aenter__(self) -> Relay:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shut()
        if self._place is not None:
            self._place.close()
        for task in self._served:
            task.cancel()
        await asyncio.gather(*self._served, return_exceptions=True)

    async def open(self) -> None:
        """Listen, at the port of before if there was one: it is bound all the while, so that nobody else gets it."""
        if self._place is None:
            self._place = socket.socket()
            self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._place.bind(("127.0.0.1", 0))
        host, port = self._place.getsockname()
        self._listening = await asyncio.start_server(self._accept, host, port, limit=_LIMIT_BYTES, reuse_address=True)

    async def shut(self) -> None:
        """Refuse new connections."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._served.add(task)
        task.add_done_callback(self._served.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_first = True
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while (request := await read_request(reader, is_first=is_first)) is not None:
                is_first = False
                if not await self._answer(request, writer):
                    break
        writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection stays."""
        exchange = Exchange(request, writer, self._upstream, self._random)
        if request.path == PORTAL:
            await exchange.send(Response(status=200, body=_PORTAL_PAGE, content_type="text/html"))
            return False
        if request.kind == "paid":
            await asyncio.sleep(self._lag_s)  # the way there: not a wait for anything
        act = self._choose(request)
        if act is not None:
            await act(exchange)
            return False
        answer = await exchange.forward()
        await exchange.send(answer, close=False)
        return True


async def read_request(reader: asyncio.StreamReader, *, is_first: bool) -> Request | None:
    """The next one, whole; None when the sender has gone."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    line, *lines = head.rstrip("\r\n").split("\r\n")
    named: dict[str, Any] = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
    if named.get("transfer-encoding") != "chunked":
        body = await reader.readexactly(int(named.get("content-length", 0)))
        return Request(line=line, head=tuple(lines), body=body, is_first=is_first)
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    kept = [each for each in lines if not each.lower().startswith("transfer-encoding:")]
    return Request(line=line, head=(*kept, f"Content-Length: {len(body)}"), body=body, is_first=is_first)
