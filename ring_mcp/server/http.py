"""One app on one port: MCP over Streamable HTTP and SSE, Ring's gateway, and the files of local storage.

Streamable HTTP is served without sessions, so that several processes may stand behind one balancer; both protocol eras
come from the SDK. A client that goes away leaves its job running.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from mcp.server import Server, ServerRequestContext
from mcp.server.runner import serve_loop
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from ring_mcp.app import App
from ring_mcp.errors import Unauthorized
from ring_mcp.server.auth import ServiceTokens
from ring_mcp.server.files import FILES_PATH, FileLinks, Files
from ring_mcp.server.gateway import PREFIX, Gateway
from ring_mcp.server.mcp import build_server
from ring_mcp.server.network import ACTOR_KEY, Authenticated, BodyLimit, Guarded, KnownNames, Paced

BODY_TIMEOUT_S = 30.0
_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")


def build_http_app(app: App, links: FileLinks) -> Starlette:
    """The Starlette app over an open App. Its lifespan runs the MCP session manager and nothing else."""
    config = app.config
    server = build_server(app.tools(), app.resources(), identify=actor_of_request, links=config.result_links)
    # Host and Origin are checked for every route by KnownNames, not for the MCP ones a second time.
    unchecked = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    manager = StreamableHTTPSessionManager(
        server, stateless=True, security_settings=unchecked, max_request_body_size=config.max_body_bytes
    )
    sse = SseServerTransport("/messages/", unchecked, config.max_body_bytes)
    gateway = Gateway(
        app,
        image_wait_s=config.image_gen_poll_timeout_ms / 1000,
        video_wait_s=config.video_gen_poll_timeout_ms / 1000,
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with manager.run():
            yield

    hosts = (*_LOOPBACK_NAMES, *config.allowed_hosts) if not config.allowed_hosts else config.allowed_hosts
    return Starlette(
        routes=[
            Route("/mcp", McpEndpoint(manager)),
            Route("/sse", SseEndpoint(server, sse), methods=["GET"]),
            Mount("/messages/", sse.handle_post_message),
            *gateway.routes(),
            Mount(FILES_PATH.rstrip("/"), Files(app.storage, links)),
            Route("/healthz", _alive, methods=["GET"]),
        ],
        middleware=[
            Middleware(Guarded),
            Middleware(KnownNames, hosts=hosts, origins=config.allowed_origins),
            Middleware(BodyLimit, max_bytes=config.max_body_bytes, timeout_s=BODY_TIMEOUT_S),
            Middleware(
                Authenticated,
                tokens=ServiceTokens(config.service_tokens, config.actor_id),
                is_open=is_open,
                ring=PREFIX,
            ),
            Middleware(Paced, per_minute=config.max_calls_per_minute, max_open=config.max_open_calls, is_open=is_open),
        ],
        exception_handlers={HTTPException: _not_served},
        lifespan=lifespan,
    )


def is_open(path: str) -> bool:
    """What needs no token: liveness, and files, whose addresses are secrets themselves."""
    return path == "/healthz" or path.startswith(FILES_PATH)


def actor_of_request(ctx: ServerRequestContext[Any]) -> str:
    """Whom the token of this MCP request named."""
    request = ctx.request
    actor = request.scope.get(ACTOR_KEY) if isinstance(request, Request) else None
    if not isinstance(actor, str):
        raise Unauthorized("Missing Bearer token")
    return actor


class McpEndpoint:
    """Streamable HTTP, both protocol eras. (A route takes an object like this one as a bare ASGI app.)"""

    def __init__(self, manager: StreamableHTTPSessionManager) -> None:
        self._manager = manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._manager.asgi_app(scope, receive, send)


class SseEndpoint:
    """The older transport: one long GET a client, which posts its messages to ``/messages/``."""

    def __init__(self, server: Server[Any], transport: SseServerTransport) -> None:
        self._server = server
        self._transport = transport

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._transport.connect_sse(scope, receive, send) as (reading, writing):
            await serve_loop(self._server, reading, writing, lifespan_state={})


async def _alive(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


async def _not_served(request: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, HTTPException)
    headers = dict(exc.headers or {})
    return JSONResponse({"success": False, "error": str(exc.detail)}, exc.status_code, headers)
