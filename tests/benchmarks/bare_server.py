"""The yardstick: the SDK's lowlevel server with one empty tool, on the transport and listener that ring-mcp uses."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any

import mcp_types as types
from mcp.server import Server, ServerRequestContext
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.routing import Route

from ring_mcp.server.http import McpEndpoint
from ring_mcp.server.listener import bind, listen


async def nothing(ctx: ServerRequestContext[Any], params: types.CallToolRequestParams) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text="nothing")])


async def main() -> None:
    endpoint = McpEndpoint(StreamableHTTPSessionManager(Server("bare", on_call_tool=nothing), stateless=True))

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with endpoint.manager.run():
            yield

    listener = bind("127.0.0.1", 0)
    sys.stderr.write(f"listens on http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stderr.flush()
    app = Starlette(routes=[Route("/mcp", endpoint, methods=["POST"])], lifespan=lifespan)
    await listen(app, listener, asyncio.Event(), drain_s=1)


if __name__ == "__main__":
    asyncio.run(main())
