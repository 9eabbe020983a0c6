"""Duration and outcome of MCP requests: OpenTelemetry's metric for MCP servers, and the boundary of errors."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeVar

from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp_types import INTERNAL_ERROR, CallToolResult

from ring_mcp import telemetry
from ring_mcp.metrics import OPERATION_DURATION, OTHER
from ring_mcp.tools.envelope import log_internal

Params = TypeVar("Params")
Result = TypeVar("Result")
Handler = Callable[[ServerRequestContext[Any, Any], Params], Awaitable[Result]]

METHODS = frozenset(
    {
        *("initialize", "ping", "server/discover", "tools/call", "tools/list", "prompts/get", "prompts/list"),
        *("resources/list", "resources/read", "resources/templates/list", "completion/complete", "logging/setLevel"),
        *("tasks/get", "tasks/cancel", "tasks/result", "tasks/list", "subscriptions/listen"),
    }
)
"""Methods with a series of their own; all others share one."""


class MeasuredOperations(ServerMiddleware[Any]):
    """Measures each request's duration and outcome. ``tools`` have a series each."""

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
        # Cancelled calls are measured, too: CancelledError is no Exception.
        except BaseException as exc:
            error = type(exc).__name__
            raise
        finally:
            # Names come from clients: a series for each would fill the collector's memory.
            method = ctx.method if ctx.method in METHODS else OTHER
            name = ctx.params.get("name") if ctx.params and ctx.method == "tools/call" else None
            tool = "" if name is None else name if isinstance(name, str) and name in self._tools else OTHER
            # The words of OpenTelemetry's network.transport.
            transport = "pipe" if ctx.request is None else "tcp"
            seconds = time.monotonic() - started_s
            telemetry.count(OPERATION_DURATION, method, tool, error, transport, amount=seconds)


def hide_errors(handler: Handler[Params, Result]) -> Handler[Params, Result]:
    """The handler of a request, with the one error boundary of all but a tool's call: the SDK would send the text."""

    async def handle(ctx: ServerRequestContext[Any, Any], params: Params) -> Result:
        try:
            return await handler(ctx, params)
        except MCPError:
            raise
        except Exception as exc:  # whatever it is: the id of its traceback in the log is all that a client gets
            incident = log_internal(exc, ctx.method)
            raise MCPError(code=INTERNAL_ERROR, message=f"internal error, request {incident}") from exc

    return handle
