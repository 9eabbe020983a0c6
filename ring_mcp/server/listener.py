"""uvicorn, tightened: a client that is slow with its request is let go, and a stop gives every caller its handle."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from types import FrameType

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from ring_mcp.errors import ConfigError

logger = logging.getLogger(__name__)

HEAD_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
_KEEP_ALIVE_S = 15
_BACKLOG = 1024
_MAX_HEAD_BYTES = 64 * 1024


class ImpatientProtocol(H11Protocol):
    """Closes a connection on which the head of a request takes longer than ``head_timeout_s`` to arrive.

    The same for the rest of a body when its answer has been given already. Before the next request there is uvicorn's
    keep-alive limit, and the app has its own for a body that it reads. A client that does not take what is sent to it
    for ``read_timeout_s``, so that the buffer stays full, is let go as well.
    """

    head_timeout_s = HEAD_TIMEOUT_S
    read_timeout_s = READ_TIMEOUT_S
    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch(self.conn.their_state is h11.IDLE)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch(self.conn.their_state is h11.IDLE or self._is_answered_early())

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch(self._is_answered_early())

    def pause_writing(self) -> None:
        super().pause_writing()
        # Not closed: that would wait for the client to read what is left.
        self._unread = self.loop.call_later(self.read_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._forget_unread()

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch(False)
        self._forget_unread()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Also in the middle of a body, where uvicorn leaves the app to answer on a connection that is closed."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            super().send_400_response(msg)
            return
        cycle.disconnected = True
        if cycle.response_started:
            self.transport.close()
        else:
            super().send_400_response(msg)
        cycle.message_event.set()

    def _is_answered_early(self) -> bool:
        return self.conn.their_state is h11.SEND_BODY and self.conn.our_state in (h11.DONE, h11.MUST_CLOSE)

    def _watch(self, is_awaited: bool) -> None:
        """The clock runs from the first moment on; more bytes do not set it back."""
        if not is_awaited and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        elif is_awaited and self._deadline is None:
            self._deadline = self.loop.call_later(self.head_timeout_s, self.transport.close)


class DrainingServer(uvicorn.Server):
    """On a signal it tells the app that open calls should come to an end, and stops when they have."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event) -> None:
        super().__init__(config)
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Not uvicorn's own, which raises the signal again at its end: that kills the process before jobs are put down.
        asyncio.get_running_loop().call_soon_threadsafe(self._stopping.set)
        self.force_exit = self.should_exit and sig == signal.SIGINT  # Ctrl-C a second time
        self.should_exit = True


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ConfigError.

    The protocol is named: asyncio turns Nagle's algorithm off only where it sees TCP, and with it on every answer in
    two packets waits 40 ms.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as exc:
        listener.close()
        raise ConfigError([f"{host} port {port} cannot be used: {exc.strerror}"]) from exc
    return listener


async def listen(
    app: ASGIApp,
    listener: socket.socket,
    stopping: asyncio.Event,
    *,
    drain_s: float,
    protocol: type[ImpatientProtocol] = ImpatientProtocol,
) -> None:
    """Serve until SIGTERM or SIGINT, which sets ``stopping``; open calls then have ``drain_s`` to end."""
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(drain_s)),
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
    )
    await DrainingServer(config, stopping).serve([listener])
