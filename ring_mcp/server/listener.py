"""uvicorn, tightened: a client that is slow with its request is let go, and a stop gives every caller its handle."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from ring_mcp.errors import ConfigError

logger = logging.getLogger(__name__)

HEAD_TIMEOUT_S = 10.0
_KEEP_ALIVE_S = 15
_BACKLOG = 1024
_MAX_HEAD_BYTES = 64 * 1024


class ImpatientProtocol(H11Protocol):
    """Closes a connection whose first request has not begun within ``head_timeout_s``; later ones have keep-alive."""

    head_timeout_s = HEAD_TIMEOUT_S

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(self.head_timeout_s, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_timer.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if self.cycle is None:
            self.transport.close()


class DrainingServer(uvicorn.Server):
    """Before it waits for open calls, it tells the app that they should come to an end."""

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._on_stop()


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
        raise ConfigError([f"{host} port {port} cannot be listened on: {exc.strerror}"]) from exc
    return listener


async def listen(app: ASGIApp, listener: socket.socket, *, drain_s: float, on_stop: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; open calls have ``drain_s`` to end."""
    config = uvicorn.Config(
        app,
        http=ImpatientProtocol,
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
    await DrainingServer(config, on_stop).serve([listener])
