"""Whoever is refused in the middle of what it sends reads why, and is not let send for ever."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable

import pytest
from starlette.types import Receive, Scope, Send

from ring_mcp.server.listener import ImpatientProtocol, bind, listen
from ring_mcp.server.middleware import BodyLimit, refuse
from tests.http.http_reach import LIMIT_S, status_of, until_closed

BODY_BYTES = 50 * 1024 * 1024
PIECE = b"x" * 64 * 1024
DECLARED = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % BODY_BYTES
CHUNKED = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"10000\r\n" + PIECE + b"\r\n"


class Patient(ImpatientProtocol):
    head_timeout_s = LIMIT_S


class Hasty(ImpatientProtocol):
    head_timeout_s = 0.3


class Curt(Patient):
    linger_bytes = 2_000_000


async def take(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads all of a body."""
    if scope["type"] == "lifespan":
        return
    while (await receive()).get("more_body"):
        pass
    await refuse(send, 201, "read")


@contextlib.asynccontextmanager
async def serving(protocol: type[ImpatientProtocol] = Patient) -> AsyncIterator[int]:
    """The port of a server that takes a megabyte."""
    app, stopping = BodyLimit(take, max_bytes=1_000_000, timeout_s=LIMIT_S), asyncio.Event()
    with contextlib.closing(bind("127.0.0.1", 0)) as listener:
        server = asyncio.create_task(listen(app, listener, stopping, drain_s=1, protocol=protocol))
        try:
            yield listener.getsockname()[1]
        finally:
            signal.raise_signal(signal.SIGTERM)
            async with asyncio.timeout(LIMIT_S):
                await server


def send_at_once(port: int, head: bytes, piece: bytes) -> bytes:
    """All of the body without a look at the answer, which is read at the end. A failed write is this test's failure."""
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as connection:
        connection.sendall(head)
        for _ in range(BODY_BYTES // len(PIECE)):
            connection.sendall(piece)
        return until_closed(connection)


def send_on_after_the_answer(port: int, head: bytes, piece: bytes) -> bytes:
    """As a slow client does: the answer has long been there, unread, while most of the body is still to be sent."""
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as connection:
        connection.sendall(head + piece * 20)
        assert connection.recv(1, socket.MSG_PEEK)
        for _ in range(BODY_BYTES // len(PIECE) - 20):
            connection.sendall(piece)
        return until_closed(connection)


@pytest.mark.parametrize("send", [send_at_once, send_on_after_the_answer])
@pytest.mark.parametrize(("head", "piece"), [(DECLARED, PIECE), (CHUNKED, CHUNK)], ids=["declared", "chunked"])
async def test_fifty_megabytes_are_answered_with_413_and_no_reset(
    send: Callable[[int, bytes, bytes], bytes], head: bytes, piece: bytes
) -> None:
    async with serving() as port:
        answer = await asyncio.to_thread(send, port, head, piece)
    assert status_of(answer) == 413
    assert b"connection: close" in answer
    assert answer.endswith(b'"the body may have 1,000,000 bytes at most"}')


async def test_a_client_that_reads_sees_the_end_at_once() -> None:
    """Before it has sent the rest: our side has ended, and nothing more is to come."""
    async with serving() as port, asyncio.timeout(LIMIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(DECLARED)
        assert status_of(await reader.read()) == 413
        writer.close()


async def drip(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"1\r\nx\r\n")
        await writer.drain()
        await asyncio.sleep(0)


async def test_one_that_sends_for_ever_is_let_go() -> None:
    async with serving(Hasty) as port, asyncio.timeout(LIMIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(CHUNKED + CHUNK * 20)
        with pytest.raises(ConnectionError):
            await drip(writer)
        writer.transport.abort()
        assert reader.exception() is not None or reader.at_eof()


async def test_no_more_is_thrown_away_than_the_limit() -> None:
    async with serving(Curt) as port:
        with pytest.raises(ConnectionError):
            await asyncio.to_thread(send_at_once, port, CHUNKED, CHUNK)


async def test_a_stop_does_not_wait_for_one_that_still_sends() -> None:
    async with serving() as port:
        connection = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)
        await asyncio.to_thread(connection.sendall, DECLARED)
        assert await asyncio.to_thread(connection.recv, 4)
    connection.close()


async def test_a_good_body_is_read_as_ever_and_its_connection_kept() -> None:
    body = b"y" * 900_000
    async with serving() as port, asyncio.timeout(LIMIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            head = await reader.readuntil(b"\r\n\r\n")
            assert status_of(head) == 201
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        writer.close()
