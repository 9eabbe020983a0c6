"""A client that asks and does not take the answer is let go; one that does gets all of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from starlette.types import Receive, Scope, Send

from ring_mcp.server.listener import ImpatientProtocol, bind, listen
from tests.fake_clock import let_pass
from tests.http.http_reach import LIMIT_S

PIECE = b"x" * 1024 * 1024
PIECES = 64
"""Far more than the buffers of a loopback connection hold."""


class Impatient(ImpatientProtocol):
    read_timeout_s = 0.2


class Patient(ImpatientProtocol):
    read_timeout_s = 20.0


STEP_S = 15.0


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
async def streaming(protocol: type[ImpatientProtocol]) -> AsyncIterator[tuple[Streaming, int]]:
    app, stopping = Streaming(), asyncio.Event()
    with contextlib.closing(bind("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(listen(app, listener, stopping, drain_s=1, protocol=protocol))
        try:
            yield app, listener.getsockname()[1]
        finally:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving


async def test_a_client_that_does_not_read_is_let_go() -> None:
    async with streaming(Impatient) as (app, port), asyncio.timeout(LIMIT_S):
        with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await app.ended.wait()
        assert app.was_cut


async def test_a_client_that_reads_slowly_gets_everything() -> None:
    async with streaming(Patient) as (app, port), asyncio.timeout(LIMIT_S + PIECES // 4 * STEP_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(PIECES // 4):  # in all it takes far longer than the server waits for one step
            assert len(await reader.readexactly(4 * len(PIECE))) == 4 * len(PIECE)
            let_pass(STEP_S)
        await app.ended.wait()
        assert not app.was_cut
        writer.close()
