"""MCP over stdin and stdout, for a client that starts this process.

The wire is a private duplicate of descriptor 1, taken by ``server.process`` before anything heavy is imported: from
then on a stray print of ours or of any library goes to stderr. SIGTERM and SIGINT end the process cleanly; jobs go on
with the next start.
"""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import anyio
import mcp_types as types
from anyio.abc import ObjectSendStream
from mcp.server import Server
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from ring_mcp.server.bounded_lines import BoundedLines, take_stdin
from ring_mcp.server.lines import read_again, with_whole_id
from ring_mcp.server.loop_pipes import LoopLines, LoopWriter, can_wait_for
from ring_mcp.server.takeover import TakeOver

if TYPE_CHECKING:
    from ring_mcp.server.front import Front

CLOSING_LIMIT_S = 0.8
"""How long closing may take after a signal, in addition to the drain time of paid requests. What is not done by then is
done by the next start, as after a crash."""


async def serve_stdio(
    server: Server[Any],
    wire: int,
    *,
    closing: Callable[[], Awaitable[None]],
    drain_s: float,
    front: Front | None = None,
    records: bool = True,
) -> None:
    """Serve until the client closes stdin or a signal comes; then ``closing`` is awaited before the process ends.

    ``drain_s``: how long ``closing`` may wait for paid requests in progress. ``front``: has answered until now.
    ``records``: whether the beginning of this session is recorded for the next start.
    """
    stop = anyio.Event()
    # Windows' loop has no signal handlers; there Ctrl-C ends the process as a crash does.
    if sys.platform != "win32":
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    lines, out = await _take_over(front, wire, records=records) if front else (_open_in(), _open_out(wire))
    # The casts: the SDK only iterates over the lines, and only calls ``write`` and ``flush``.
    try:
        mended = None if lines is None else _mend(lines)
        async with stdio_server(cast(anyio.AsyncFile[str], mended), cast(anyio.AsyncFile[str], out)) as (
            reading,
            writing,
        ):
            async with anyio.create_task_group() as group:
                incoming, understood = anyio.create_memory_object_stream[SessionMessage | Exception](0)

                async def serve() -> None:
                    # It returns when stdin ends; then there is no signal to wait for.
                    await server.run(understood, writing, server.create_initialization_options())
                    group.cancel_scope.cancel()

                group.start_soon(_relay, reading, incoming, writing, partial(_answer_probe, server, writing))
                group.start_soon(serve)
                await stop.wait()
                group.cancel_scope.cancel()
            if stop.is_set():  # outside the group, in which every await would be cancelled
                with anyio.move_on_after(drain_s + CLOSING_LIMIT_S):
                    await closing()
                sys.stderr.flush()
                os._exit(0)  # the SDK's reader thread may be blocked in readline() and cannot be joined
    except* (BrokenPipeError, ConnectionResetError):
        # The client has left: that its last answers were not read is no failure of the server or of a recording.
        pass


async def _take_over(front: Front, wire: int, *, records: bool) -> tuple[AsyncIterable[str], Any]:
    # In a thread: it waits for an answer that the front is writing, and a client may read that slowly.
    await anyio.to_thread.run_sync(front.stop)
    session = TakeOver(front, records=records)
    return session.lines(), session.wrap(_open_out(wire))


async def _mend(lines: AsyncIterable[str]) -> AsyncIterator[str]:
    async for line in lines:
        yield with_whole_id(line)


def _open_in() -> LoopLines | BoundedLines | None:
    source = take_stdin()
    if source is not None and can_wait_for(source.fileno()):
        return LoopLines(source.fileno())
    return None if source is None else BoundedLines(source)


def _open_out(wire: int) -> LoopWriter | anyio.AsyncFile[str]:
    if can_wait_for(wire):
        return LoopWriter(wire)
    return anyio.wrap_file(io.TextIOWrapper(os.fdopen(wire, "wb", closefd=False), encoding="utf-8"))


async def _relay(
    reading: AsyncIterable[SessionMessage | Exception],
    incoming: ObjectSendStream[SessionMessage | Exception],
    writing: ObjectSendStream[SessionMessage],
    answer_probe: Callable[[SessionMessage], Awaitable[None]],
) -> None:
    """Pass on what comes in, and handle two cases that the SDK does not.

    It drops a line that its parser refuses, and the sender would wait for ever: see ``lines``. And it takes the first
    request to decide the era of the protocol, so that a client that probes with ``server/discover`` and then sends
    ``initialize`` would be refused: such probes are answered outside the session.
    """
    undecided = True
    async with incoming:
        async for item in reading:
            message = item
            if isinstance(item, ValidationError):
                found = read_again(item)
                if isinstance(found, list):
                    for refusal in found:
                        await writing.send(SessionMessage(refusal))
                    continue
                message = SessionMessage(found)
            if undecided and isinstance(message, SessionMessage) and isinstance(message.message, types.JSONRPCRequest):
                # Any other request decides the era; from then on the SDK answers everything.
                undecided = message.message.method == "server/discover"
                if undecided:
                    await answer_probe(message)
                    continue
            await incoming.send(message)


async def _answer_probe(server: Server[Any], writing: ObjectSendStream[SessionMessage], probe: SessionMessage) -> None:
    """Send the server's own answer to one request, from a session of its own."""
    # Room for one message each, so that neither end has to wait for the other.
    asking, asked = anyio.create_memory_object_stream[SessionMessage | Exception](1)
    answering, answered = anyio.create_memory_object_stream[SessionMessage](1)
    async with anyio.create_task_group() as group, asking, answered:
        group.start_soon(server.run, asked, answering, server.create_initialization_options())
        await asking.send(probe)
        await writing.send(await answered.receive())
        group.cancel_scope.cancel()
