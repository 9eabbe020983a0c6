"""One app on one port: MCP over Streamable HTTP and SSE, Ring's gateway, the files of local storage, and the pages.

Streamable HTTP is served without sessions, so that several processes can be behind one balancer; both protocol eras
come from the SDK. When a client detaches, its job goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

from mcp.server import Server, ServerRequestContext
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from ring_mcp.app import App
from ring_mcp.clock import SystemClock
from ring_mcp.errors import Unauthorized
from ring_mcp.reporting import Reporting
from ring_mcp.server.auth import Callers, ServiceTokens, WrongTokens
from ring_mcp.server.authenticated import Authenticated
from ring_mcp.server.files import Files
from ring_mcp.server.gallery import GALLERY_PATH, GalleryPages, is_gallery
from ring_mcp.server.gallery_doors import TokenDoor
from ring_mcp.server.gallery_events import Events
from ring_mcp.server.gateway import PREFIX, Gateway
from ring_mcp.server.mcp import serve_app
from ring_mcp.server.metrics import PATH as METRICS_PATH
from ring_mcp.server.metrics import MetricsEndpoint
from ring_mcp.server.middleware import ACTOR_KEY, BodyLimit, Guarded, KnownNames
from ring_mcp.server.rate_limit import MAX_STREAMS, Paced, Slots
from ring_mcp.server.sse import MESSAGES_PATH, STREAM_PATH, Sse
from ring_mcp.server.stray_posts import answer_strays
from ring_mcp.storage.links import FILES_PATH, FileLinks
from ring_mcp.web.gallery import Gallery

BODY_TIMEOUT_S = 30.0
GATEWAY_WAIT_S = 280.0
"""How long a request to the gateway waits by default, at most: Node's fetch gives up after 300 s without the head of an
answer, and by then the clip is paid for."""


def build_mcp(app: App) -> Server[dict[str, Any]]:
    """The MCP server that identifies callers by the token of their request."""
    return serve_app(app, identify=actor_of_request, at_once=True)


def build_http_app(
    app: App,
    links: FileLinks,
    stopping: asyncio.Event,
    *,
    reporting: Reporting | None = None,
    server: Server[dict[str, Any]] | None = None,
    body_timeout_s: float = BODY_TIMEOUT_S,
    max_streams: int = MAX_STREAMS,
    is_closed: bool = False,
) -> Starlette:
    """The Starlette app over an open App. When ``stopping`` is set, waiting callers get the handles of their jobs.

    ``is_closed``: nobody is served without a token, even if no tokens exist. ``reporting``: what /metrics shows; None:
    no such route. ``server`` replaces ``build_mcp(app)``: the conformance suite has tools of its own.
    """
    config = app.config
    server = server or build_mcp(app)
    calls, streams = Slots(config.max_open_calls, "calls"), Slots(max_streams, "streams")
    mcp = McpEndpoint(
        # json_response stays off: it would drop progress, and not notice that a client has left.
        StreamableHTTPSessionManager(
            server,
            stateless=True,
            # KnownNames checks Host and Origin for every route.
            security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
            max_request_body_size=config.max_body_bytes,
        )
    )
    sse = Sse(server, calls, max_body_bytes=config.max_body_bytes)
    gateway = Gateway(
        app,
        image_wait_s=min(GATEWAY_WAIT_S, config.image_gen_poll_timeout_ms / 1000),
        video_wait_s=min(GATEWAY_WAIT_S, config.video_gen_poll_timeout_ms / 1000),
    )

    measured = None if reporting is None else MetricsEndpoint(reporting, config.metrics_token)
    tokens = ServiceTokens(config.service_tokens, config.actor_id)
    callers, wrong_tokens = Callers(tokens, app.team, is_closed=is_closed), WrongTokens()
    pages = open_pages(app, links, callers, wrong_tokens, stopping)

    def slots_of(path: str) -> Slots | None:
        if path.startswith(MESSAGES_PATH):
            return None  # answered at once; Sse takes a slot for the call inside
        return streams if path == STREAM_PATH else calls

    async def stop() -> None:
        await stopping.wait()
        # This first: it returns every waiting call's job, and ``sse.end`` waits until those calls have answered.
        app.watch.close()
        await sse.end()

    async def ready(request: Request) -> JSONResponse:
        obstacles = ("the server is stopping",) if stopping.is_set() else await app.health.list_obstacles()
        # A stopping server is not ready although it still answers: a balancer sends calls elsewhere in time.
        return JSONResponse({"ready": not obstacles, "reasons": list(obstacles)}, 503 if obstacles else 200)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        stopper = asyncio.create_task(stop())
        try:
            async with mcp.manager.run():
                yield
        finally:
            stopper.cancel()

    # Our own pages: behind a proxy on another port their origin differs from Host.
    origins = (*config.allowed_origins, *own_origins(config.public_base_url))
    starlette = Starlette(
        routes=[
            # A GET gets 405, which tells clients of 2025 that there is no stream. Both paths, since nothing redirects.
            Route("/mcp", mcp, methods=["POST"]),
            Route("/mcp/", mcp, methods=["POST"]),
            Route(STREAM_PATH, sse, methods=["GET"]),
            Mount(MESSAGES_PATH, sse.post_message),
            *gateway.routes(),
            # Without methods: Files and the pages handle methods themselves.
            Mount(FILES_PATH, Files(app.storage, links)),
            Route("/", pages.lead_here, methods=["GET", "POST"]),
            Route(GALLERY_PATH, pages),
            Route(f"{GALLERY_PATH}/{{rest:path}}", pages),
            Route("/healthz", _alive, methods=["GET"]),
            Route("/readyz", ready, methods=["GET"]),
            *([] if measured is None else [Route(METRICS_PATH, measured.answer, methods=["GET"])]),
        ],
        middleware=[
            # Outermost, so that refusals of all other layers are logged and carry the headers, too.
            Middleware(Guarded),
            Middleware(KnownNames, hosts=(links.host, *config.allowed_hosts), origins=origins),
            Middleware(
                # Before Authenticated: a preflight never carries a token.
                CORSMiddleware,
                allow_origins=[origin.rstrip("/") for origin in config.allowed_origins],
                allow_methods=("GET", "POST"),
                # Versions of the protocol have headers of their own (Mcp-Method, Mcp-Name), which preflights ask for.
                allow_headers=("*",),
                # Scripts see no other headers. No allow_credentials: cookies open only the gallery.
                expose_headers=("mcp-protocol-version", "retry-after", "www-authenticate", "x-request-id"),
            ),
            Middleware(BodyLimit, max_bytes=config.max_body_bytes, timeout_s=body_timeout_s),
            Middleware(
                Authenticated,
                callers=callers,
                team=app.team,
                is_open=is_open,
                ring=PREFIX,
                wrong_tokens=wrong_tokens,
            ),
            Middleware(
                Paced,
                per_minute=config.max_calls_per_minute,
                slots_of=slots_of,
                is_open=is_open,
            ),
        ],
        # Ring's clients read the envelope of every answer, even for an unknown path.
        exception_handlers={HTTPException: _not_served},
        lifespan=lifespan,
    )
    # A redirect would name the scheme that this process sees: behind a TLS proxy, tokens would go out in the clear.
    starlette.router.redirect_slashes = False
    return starlette


def is_open(path: str) -> bool:
    """Paths that need no bearer token here: probes; files, whose addresses are secret; metrics and pages, which check
    access themselves; ``/``, which leads to the pages."""
    return path in ("/", "/healthz", "/readyz", METRICS_PATH) or path.startswith(FILES_PATH) or is_gallery(path)


def open_pages(
    app: App, links: FileLinks, callers: Callers, wrong_tokens: WrongTokens, stopping: asyncio.Event
) -> GalleryPages:
    """The pages over an open App. Servers of one database derive the key of their cookies from its address."""
    config = app.config
    base = urlsplit(config.public_base_url or "")
    prefix = base.path.rstrip("/")
    secret = config.database_url.get_secret_value().encode() if config.database_url else links.secret
    gallery = Gallery(
        ledger=app.ledger,
        storage=app.storage,
        previews=app.previews,
        links=links,
        caps=config.caps,
        clock=SystemClock(),
        sandbox=bool(config.sandbox),
        root=prefix + GALLERY_PATH,
        prefix=prefix,
        read=app.watch.read,
    )
    return GalleryPages(
        gallery,
        TokenDoor(callers, secret),
        Events(gallery, stopping),
        wrong_tokens=wrong_tokens,
        own_origin=next(iter(own_origins(config.public_base_url)), None),
        sandbox=bool(config.sandbox),
    )


async def actor_of_request(ctx: ServerRequestContext[Any]) -> str:
    """The actor whom the token of this MCP request names. Raises Unauthorized."""
    request = ctx.request
    actor = request.scope.get(ACTOR_KEY) if isinstance(request, Request) else None
    if not isinstance(actor, str):
        raise Unauthorized("Missing Bearer token")
    return actor


class McpEndpoint:
    """Streamable HTTP, both protocol eras; without sessions there is nothing to GET or DELETE.

    A route takes an object like this one as a bare ASGI app.
    """

    def __init__(self, manager: StreamableHTTPSessionManager) -> None:
        self.manager = manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await answer_strays(self.manager.asgi_app, scope, receive, send)


async def _alive(request: Request) -> PlainTextResponse:
    # Does not ask the ledger: a restart, which follows a failure here, would not bring it back.
    return PlainTextResponse("ok")


async def _not_served(request: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, HTTPException)
    headers = dict(exc.headers or {})
    return JSONResponse({"success": False, "error": str(exc.detail)}, exc.status_code, headers)


def own_origins(public_base_url: str | None) -> list[str]:
    """The origin of pages that are served under this address, if there is one."""
    base = urlsplit(public_base_url or "")
    return [f"{base.scheme}://{base.netloc}"] if base.netloc else []
