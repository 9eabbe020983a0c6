"""The older transport: one long GET for each client, which posts its messages to ``/messages/``."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import mcp_types as types
from mcp import MCPError
from mcp.server import Server, ServerRequestContext
from mcp.server.context import CallNext, HandlerResult
from mcp.server.runner import serve_loop
from mcp.server.sse import SseServerTransport
from mcp.server.transport_security import TransportSecuritySettings
from sse_starlette.sse import AppStatus
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from ring_mcp.server.middleware import ACTOR_KEY
from ring_mcp.server.rate_limit import Slots, TooMany

STREAM_PATH = "/sse"
MESSAGES_PATH = "/messages/"

_LAST_WORDS_S = 0.2
"""How long an answer may take from the end of its call to the wire."""


class Sse:
    """The streams of this process. A call over a stream takes one of ``calls``, as a separate request would."""

    def __init__(self, server: Server[Any], calls: Slots, *, max_body_bytes: int) -> None:
        # Host and Origin are checked for every route by KnownNames, not a second time.
        unchecked = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        transport = SseServerTransport(MESSAGES_PATH, unchecked, max_body_bytes)
        self._server = server
        self._calls = calls
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._streams: set[anyio.CancelScope] = set()
        self._transport = transport
        self.post_message = transport.handle_post_message
        # On the one server that /mcp has as well: ``_came_here`` tells the calls apart.
        server.middleware.append(self._count)
        # sse_starlette would cut all streams at once on a signal, even in the middle of an answer: ``end`` does it.
        AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = anyio.CancelScope()
        self._streams.add(stream)
        try:
            with stream:
                async with self._transport.connect_sse(scope, receive, send) as (reading, writing):
                    # Not server.run: that would enter the server's lifespan anew for each stream.
                    await serve_loop(self._server, reading, writing, lifespan_state={})
        finally:
            self._streams.discard(stream)
        # The cancelled transport cannot write the end of its own answer any more.
        if stream.cancelled_caught:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def end(self) -> None:
        """The server stops: close the streams once open calls have their answers."""
        await self._idle.wait()
        await asyncio.sleep(_LAST_WORDS_S)
        for stream in list(self._streams):
            stream.cancel()

    async def _count(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        request = ctx.request
        if ctx.method != "tools/call" or not isinstance(request, Request) or not _came_here(request):
            return await call_next(ctx)
        self._running += 1
        self._idle.clear()
        try:
            with self._calls.take(request.scope[ACTOR_KEY]):
                return await call_next(ctx)
        except TooMany as exc:
            # The POST was answered 202 already: a refusal can only come as the reply, over the stream.
            raise MCPError(code=types.INTERNAL_ERROR, message=f"{exc}; try again later") from exc
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()


def _came_here(request: Request) -> bool:
    return str(request.scope["path"]).startswith(MESSAGES_PATH)
