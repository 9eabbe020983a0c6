"""MCP Apps (extension io.modelcontextprotocol/ui, version 2026-01-26): which tools show the viewer, and to whom.

Clients that do not declare the extension see the tools as ever. If a client's capabilities are not known, because they
came with the handshake of an earlier HTTP request, the tools carry the viewer's address: hosts keep it from models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mcp_types as types
from mcp.server import ServerRequestContext

from ring_mcp.tools.resources import ASSET_TEMPLATE, PREVIEW_TEMPLATE, VIEWER_URI

APPS = "io.modelcontextprotocol/ui"
VIEWER_TYPE = "text/html;profile=mcp-app"
SHOWN = frozenset({"ring-image-create", "ring-video-create", "ring-job-get", "ring-script-run"})
"""The tools whose answers the viewer draws."""

VIEWER = types.Resource(
    uri=VIEWER_URI,
    name="viewer",
    title="Viewer",
    description="Shows what the tools made, in the chat.",
    mime_type=VIEWER_TYPE,
)
TEMPLATES = [
    types.ResourceTemplate(
        uri_template=PREVIEW_TEMPLATE,
        name="preview",
        description="A small JPEG of what a job made.",
        mime_type="image/jpeg",
    ),
    types.ResourceTemplate(
        uri_template=ASSET_TEMPLATE,
        name="asset",
        description="A piece of a stored file, by its bytes; _meta tells the size of the whole.",
    ),
]


def may_show(ctx: ServerRequestContext[Any], *, unknown: bool = True) -> bool:
    """Whether this client can show the viewer. ``unknown``: the answer if its capabilities are not known."""
    capabilities = ctx.session.client_capabilities
    if capabilities is None:
        return unknown
    declared = (capabilities.extensions or {}).get(APPS)
    return isinstance(declared, dict) and VIEWER_TYPE in (declared.get("mimeTypes") or ())


def list_tools(tools: Sequence[types.Tool], ttl_ms: int, *, with_viewer: bool) -> types.ListToolsResult:
    """The list of tools. ``with_viewer``: those in SHOWN carry the viewer's address, and caches may not share it."""
    if not with_viewer:
        return types.ListToolsResult(tools=list(tools), ttl_ms=ttl_ms, cache_scope="public")
    meta = {"ui": {"resourceUri": VIEWER_URI}}
    marked = [tool.model_copy(update={"meta": meta}) if tool.name in SHOWN else tool for tool in tools]
    return types.ListToolsResult(tools=marked, ttl_ms=ttl_ms, cache_scope="private")
