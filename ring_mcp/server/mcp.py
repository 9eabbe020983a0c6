"""The tool registry on the SDK's lowlevel Server: own schemas, own validation, own error texts.

The SDK would send the text of an escaped exception to the client, so nothing escapes: every failure leaves through
``tools.results``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mcp_types as types
from mcp import MCPError
from mcp.server import Server, ServerRequestContext

from ring_mcp import __version__
from ring_mcp.errors import RingError
from ring_mcp.tools.results import failure, internal_error, success
from ring_mcp.tools.tool import Caller, Tool

INSTRUCTIONS = """\
Makes images on the operator's own provider key and returns permanent URLs. Call ring-health first. ring-image-create \
costs money; dryRun: true tells the price. When an answer has a jobId and no URL, call ring-job-get with it instead of \
creating again."""

_TOOLS_TTL_MS = 300_000


def build_server(
    tools: Sequence[Tool[Any]], *, actor_id: str, authorize: Callable[[], None], links: bool
) -> Server[dict[str, Any]]:
    """A server with these tools. ``authorize`` raises Unauthorized for a caller that may not use any of them."""
    by_name = {tool.name: tool for tool in tools}
    listing = types.ListToolsResult(tools=[_listed(tool) for tool in tools], ttl_ms=_TOOLS_TTL_MS, cache_scope="public")

    async def list_tools(
        ctx: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return listing

    async def call_tool(ctx: ServerRequestContext[Any], params: types.CallToolRequestParams) -> types.CallToolResult:
        tool = by_name.get(params.name)
        if tool is None:
            raise MCPError(code=types.INVALID_PARAMS, message=f"Unknown tool: {params.name[:100]}")

        async def progress(percent: float, message: str) -> None:
            await ctx.session.report_progress(percent, 100, message)

        try:
            authorize()
            arguments = tool.arguments.parse(params.arguments)
            answer = await tool.handler(arguments, Caller(actor_id=actor_id, progress=progress))
            return success(answer, links=links)
        except RingError as exc:
            return failure(exc, **getattr(exc, "extra", {}))
        except Exception as exc:  # the one error boundary of a tool call
            return internal_error(exc, tool.name)

    return Server(
        "ring-mcp",
        version=__version__,
        title="ring-mcp: images on your own key",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _listed(tool: Tool[Any]) -> types.Tool:
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.arguments.input_schema(),
        output_schema=tool.output_schema(),
        annotations=tool.annotations,
    )
