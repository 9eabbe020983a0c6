"""A client that asks and does not take the answer is let go; one that does gets all of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from starlette.types import Receive, Scope, Send

from ring_mcp.server.listener import ImpatientProtocol, bind, listen
from tests.http.http_reach import LIMIT_S

PIECE = b"x" * 1024 * 1024
PIECES = 64
"""Far more than the buffers of a loopback connection hold."""


class Impatient(ImpatientProtocol):
    read_timeout_s = 0.2


class Streaming:
    """Answers with ``PIECES`` pieces. ``ended`` is set when the client has all, or is gone."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.was_cut = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        await receive()
        gone = asyncio.ensure_future(receive())
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"67108864")]})
        for left in reversed(range(PIECES)):
            await send({"type": "http.response.body", "body": PIECE, "more_body": left > 0})
            if gone.done() and left:
                self.was_cut = True
                break
        gone.cancel()
        self.ended.set()


@contextlib.asynccontextmanager
async def streaming() -> AsyncIterator[tuple[Streaming, int]]:
    app, stopping = Streaming(), asyncio.Event()
    with contextlib.closing(bind("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(listen(app, listener, stopping, drain_s=1, protocol=Impatient))
        try:
            yield app, listener.getsockname()[1]
        finally:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving


async def test_a_client_that_does_not_read_is_let_go() -> None:
    async with streaming() as (app, port), asyncio.timeout(LIMIT_S):
        with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await app.ended.wait()
        assert app.was_cut


async def test_a_client_that_reads_gets_everything() -> None:
    async with streaming() as (app, port), asyncio.timeout(LIMIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        assert len(await reader.readexactly(PIECES * len(PIECE))) == PIECES * len(PIECE)
        await app.ended.wait()
        assert not app.was_cut
        writer.close()
