"""``/metrics`` for Prometheus, and how long requests of MCP clients took."""

from __future__ import annotations

import hmac
import ipaddress
import time
from collections.abc import Collection
from typing import Any

from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp_types import CallToolResult
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ring_mcp import telemetry
from ring_mcp.errors import ConfigError
from ring_mcp.metrics import OPERATION_DURATION, OTHER
from ring_mcp.reporting import Reporting
from ring_mcp.server.auth import LEAST_CHARS, WrongTokens
from ring_mcp.server.middleware import Guarded, KnownNames

PATH = "/metrics"
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FORWARDED = ("x-forwarded-for", "forwarded", "x-real-ip")

METHODS = frozenset(
    {
        *("initialize", "ping", "server/discover", "tools/call", "tools/list", "prompts/get", "prompts/list"),
        *("resources/list", "resources/read", "resources/templates/list", "completion/complete", "logging/setLevel"),
        *("tasks/get", "tasks/cancel", "tasks/result", "tasks/list", "subscriptions/listen"),
    }
)
"""What has a series of its own; whatever else a client calls is one more."""


class MetricsEndpoint:
    """With a token for whoever has it; without one for this machine alone, and for nobody behind a proxy on it."""

    def __init__(self, reporting: Reporting, token: SecretStr | None) -> None:
        self._reporting = reporting
        self._wrong_tokens = WrongTokens()
        self._token = token.get_secret_value().strip().encode() if token is not None else None

    async def answer(self, request: Request) -> Response:
        if not self._may_read(request):
            address = request.client.host if request.client is not None else ""
            if self._token is not None and not await self._wrong_tokens.slow_down(address):
                return JSONResponse({"success": False, "error": "too many wrong tokens"}, 429, {"retry-after": "1"})
            needed = "this address needs the token of RING_METRICS_TOKEN"
            return JSONResponse({"success": False, "error": needed}, 401, {"www-authenticate": "Bearer"})
        return PlainTextResponse(await self._reporting.to_text(), media_type=_CONTENT_TYPE)

    def _may_read(self, request: Request) -> bool:
        if self._token is not None:
            scheme, _, given = request.headers.get("authorization", "").strip().partition(" ")
            return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), self._token)
        return is_loopback(request) and not any(name in request.headers for name in _FORWARDED)


def is_loopback(request: Request) -> bool:
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def build_metrics_app(reporting: Reporting, token: SecretStr | None) -> Starlette:
    """For a process that serves nothing else. Without a token for callers on this machine who name it so."""
    known = [] if token is not None else [Middleware(KnownNames, hosts=(), origins=())]
    endpoint = MetricsEndpoint(reporting, token)
    return Starlette(routes=[Route(PATH, endpoint.answer, methods=["GET"])], middleware=[Middleware(Guarded), *known])


def check_metrics_token(token: SecretStr | None, host: str) -> None:
    """What a network may read needs a token that is hard to guess. Raises ConfigError."""
    if token is None or len(token.get_secret_value().strip()) < LEAST_CHARS:
        raise ConfigError([f"RING_METRICS_TOKEN: of {LEAST_CHARS} characters or more is needed to listen on {host}"])


class MeasuredOperations(ServerMiddleware[Any]):
    """Tells how long each request took, and how it ended. ``tools`` have a series each."""

    def __init__(self, tools: Collection[str]) -> None:
        self._tools = frozenset(tools)

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if not telemetry.is_measuring():
            return await call_next(ctx)
        started_s, error = time.monotonic(), ""
        try:
            result = await call_next(ctx)
            if isinstance(result, CallToolResult) and result.is_error:
                error = "tool_error"
            return result
        except MCPError as exc:
            error = str(exc.error.code)
            raise
        except BaseException as exc:
            error = type(exc).__name__
            raise
        finally:
            method = ctx.method if ctx.method in METHODS else OTHER
            name = ctx.params.get("name") if ctx.params and ctx.method == "tools/call" else None
            tool = "" if name is None else name if isinstance(name, str) and name in self._tools else OTHER
            transport = "tcp" if isinstance(ctx.request, Request) else "pipe"
            seconds = time.monotonic() - started_s
            telemetry.count(OPERATION_DURATION, method, tool, error, transport, amount=seconds)
