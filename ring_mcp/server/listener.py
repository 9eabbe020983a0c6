"""uvicorn with bounds: on connections, on slow clients, and a stop that gives every waiting caller its handle."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from types import FrameType
from typing import Any, cast

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from ring_mcp.errors import ConfigError
from ring_mcp.server.lingering import LINGER_BYTES, LingeringTransport

logger = logging.getLogger(__name__)

HEAD_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
_KEEP_ALIVE_S = 15
_BACKLOG = 1024
_ACCEPTED_AT_ONCE = 16
"""How many connections asyncio accepts before any is counted; it logs a traceback for each without a descriptor."""

_MAX_HEAD_BYTES = 64 * 1024

MAX_CONNECTIONS = 4096
_MOST_DESCRIPTORS = 65_536
_KEPT_DESCRIPTORS = 64
_UNKNOWN_DESCRIPTORS = 1024
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_SAID_EVERY_S = 60.0


def count_connections() -> int:
    """Raise this process's limit of descriptors as far as allowed; returns how many connections fit into it.

    A third is kept for files, databases and connections to providers.
    """
    try:
        import resource
    except ImportError:  # not on Windows
        descriptors = _UNKNOWN_DESCRIPTORS
    else:
        descriptors, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _MOST_DESCRIPTORS if most == resource.RLIM_INFINITY else min(most, _MOST_DESCRIPTORS)
        if descriptors != resource.RLIM_INFINITY and descriptors < wanted:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
                descriptors = wanted
            except (OSError, ValueError):
                pass  # then the limit stays as it is
        if descriptors == resource.RLIM_INFINITY:
            descriptors = _MOST_DESCRIPTORS
    return max(8, min(MAX_CONNECTIONS, (descriptors - _KEPT_DESCRIPTORS) * 2 // 3))


class Room:
    """The open connections, at most ``limit``. If all are taken, an idle one is closed for a new one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: set[ImpatientProtocol] = set()
        # A dict, not a set: the one that has been idle longest comes first, and is closed first.
        self._idle: dict[ImpatientProtocol, None] = {}
        self._said_at = -_SAID_EVERY_S

    def enter(self, connection: ImpatientProtocol) -> bool:
        """Returns False if there is no room, since all connections have a request in progress."""
        if len(self._open) >= self._limit:
            self._say(f"all {self._limit} connections are in use: those without a request make room")
            if not self._idle:
                return False
            oldest = next(iter(self._idle))
            # Now: connection_lost comes later, and others may enter before.
            self.leave(oldest)
            oldest.transport.abort()
        self._open.add(connection)
        # Idle from the start: a client that connects and sends nothing is closed first.
        self._idle[connection] = None
        return True

    def note(self, connection: ImpatientProtocol, *, is_idle: bool) -> None:
        if not is_idle:
            self._idle.pop(connection, None)
        # A connection that was refused or aborted may still report, and must not be counted again.
        elif connection in self._open:
            self._idle.setdefault(connection)

    def leave(self, connection: ImpatientProtocol) -> None:
        self._open.discard(connection)
        self._idle.pop(connection, None)

    def note_exhaustion(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The loop's exception handler, without a traceback for each connection that could not be accepted: those would
        fill a disk."""
        if str(context.get("message", "")).startswith("socket.accept()"):
            self._say(f"a connection could not be taken: {context.get('exception')}")
        else:
            loop.default_exception_handler(context)

    def _say(self, text: str) -> None:
        now = time.monotonic()
        if now - self._said_at >= _SAID_EVERY_S:
            self._said_at = now
            logger.warning("%s", text)


class ImpatientProtocol(H11Protocol):
    """Closes a connection if the head of a request takes longer than ``head_timeout_s`` to arrive.

    So too if the rest of a body takes longer, or is more than ``linger_bytes``, once its answer was given; and if a
    client does not read for ``read_timeout_s``, so that the buffer stays full. Between requests uvicorn's keep-alive
    limit holds, and the app has a limit of its own for bodies that it reads.
    """

    head_timeout_s = HEAD_TIMEOUT_S
    read_timeout_s = READ_TIMEOUT_S
    linger_bytes = LINGER_BYTES
    room = Room(MAX_CONNECTIONS)
    lingering: LingeringTransport
    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.lingering = LingeringTransport(transport, self._is_amid_body, self.head_timeout_s, self.linger_bytes)
        super().connection_made(cast(asyncio.Transport, self.lingering))
        if not self.room.enter(self):
            transport.write(_BUSY)
            transport.close()
            return
        self._watch(self.conn.their_state is h11.IDLE)

    def data_received(self, data: bytes) -> None:
        if self.lingering.discards(data):
            return
        super().data_received(data)
        self._watch(self.conn.their_state is h11.IDLE or self._is_answered_early())
        self._note_idle()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch(self._is_answered_early())
        self._note_idle()

    def _note_idle(self) -> None:
        self.room.note(self, is_idle=self.cycle is None or self.cycle.response_complete)

    def pause_writing(self) -> None:
        super().pause_writing()
        # Aborted and not closed, which would wait for the client to read what is left.
        self._unread = self.loop.call_later(self.read_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._forget_unread()

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.lingering.forget_client()
        self._watch(False)
        self._forget_unread()
        self.room.leave(self)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer 400 in the middle of a body as well, where uvicorn would leave it to the app and close."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            super().send_400_response(msg)
            return
        # As uvicorn does at a disconnect: an app that waits for more of the body is told that none will come.
        cycle.disconnected = True
        if cycle.response_started:
            self.transport.close()
        else:
            super().send_400_response(msg)
        cycle.message_event.set()

    def _is_amid_body(self) -> bool:
        return self.conn.their_state is h11.SEND_BODY

    def _is_answered_early(self) -> bool:
        return self.conn.their_state is h11.SEND_BODY and self.conn.our_state in (h11.DONE, h11.MUST_CLOSE)

    def _watch(self, is_awaited: bool) -> None:
        """Start or stop the deadline. It runs from the beginning: more bytes do not move it."""
        if not is_awaited and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        elif is_awaited and self._deadline is None:
            self._deadline = self.loop.call_later(self.head_timeout_s, self.lingering.close_now)


class DrainingServer(uvicorn.Server):
    """On a signal, sets ``stopping`` so that open calls end, and stops when they have."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event) -> None:
        super().__init__(config)
        self._stopping = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(_BACKLOG)  # again, since uvicorn has set it to _ACCEPTED_AT_ONCE

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Not uvicorn's own, which raises the signal again at its end and kills the process before jobs are put back.
        # Through the loop, since a signal handler may run between any two instructions.
        asyncio.get_running_loop().call_soon_threadsafe(self._stopping.set)
        self.force_exit = self.should_exit and sig == signal.SIGINT  # Ctrl-C a second time
        self.should_exit = True


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ConfigError.

    The protocol is named because asyncio disables Nagle's algorithm only where it sees TCP; otherwise every answer of
    two packets waits 40 ms.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # Otherwise a restart would have to wait for old connections to leave TIME_WAIT.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as exc:
        listener.close()
        raise ConfigError(
            [f"{host} port {port} cannot be used: {exc.strerror}"],
            next_action="Name another port or host, or end what listens there; then start again.",
        ) from exc
    return listener


async def listen(
    app: ASGIApp,
    listener: socket.socket,
    stopping: asyncio.Event,
    *,
    drain_s: float,
    connections: int = MAX_CONNECTIONS,
    protocol: type[ImpatientProtocol] = ImpatientProtocol,
) -> None:
    """Serve until SIGTERM or SIGINT, which sets ``stopping``; open calls then have ``drain_s`` to end.

    ``connections``: how many may be open at a time.
    """
    room = Room(connections)
    asyncio.get_running_loop().set_exception_handler(room.note_exhaustion)
    config = uvicorn.Config(
        app,
        # uvicorn makes the protocols itself and passes them nothing of ours, so the room is on a class.
        http=type("RoomyProtocol", (protocol,), {"room": room}),
        backlog=_ACCEPTED_AT_ONCE,
        ws="none",
        # "auto" would take an error at the start for an app without lifespan, and serve anyway.
        lifespan="on",
        log_config=None,
        # Guarded logs without queries, which may contain a token.
        access_log=False,
        server_header=False,
        # Anybody can send X-Forwarded-For, and so choose whose wrong tokens are slowed down.
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(drain_s)),
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
    )
    await DrainingServer(config, stopping).serve([listener])
