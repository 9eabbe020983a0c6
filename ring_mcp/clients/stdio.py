"""The other end of the wire: an MCP session with a ring-mcp that runs as a stdio subprocess, as an agent has it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp import Client, MCPError, StdioServerParameters
from mcp.shared.dispatcher import ProgressFnT

from ring_mcp.errors import RingError


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolReply:
    """``content`` is the structured envelope; ``text`` is what the model reads."""

    is_error: bool
    text: str
    content: dict[str, Any]


class ToolSession:
    """An open session. ``protocol_version`` is what client and server agreed on."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.protocol_version = str(client.protocol_version)

    async def tool_names(self) -> list[str]:
        return [tool.name for tool in (await self._client.list_tools()).tools]

    async def call(self, tool: str, arguments: Mapping[str, Any], on_progress: ProgressFnT | None = None) -> ToolReply:
        result = await self._client.call_tool(tool, dict(arguments), progress_callback=on_progress)
        text = "\n".join(block.text for block in result.content if block.type == "text")
        return ToolReply(is_error=bool(result.is_error), text=text, content=dict(result.structured_content or {}))


@contextlib.asynccontextmanager
async def stdio_session(environment: Mapping[str, str], folder: Path) -> AsyncIterator[ToolSession]:
    """Start ``python -m ring_mcp`` in ``folder`` with this environment and open a session with it."""
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "ring_mcp"], env=dict(environment), cwd=str(folder)
    )
    async with contextlib.AsyncExitStack() as stack:
        try:
            client = await stack.enter_async_context(Client(server))
        # With a star: the SDK's client works in a task group, whose errors come in groups.
        except* (MCPError, OSError) as group:
            raise RingError("the server did not start; its own message is above") from group
        yield ToolSession(client)
