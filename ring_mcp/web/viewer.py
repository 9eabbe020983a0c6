"""The viewer of MCP Apps: the cards of the pages in a chat, as one file that needs nothing beside itself."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ring_mcp.tools.resources import Content
from ring_mcp.web.pages import render_file

VIEWER_TYPE = "text/html;profile=mcp-app"
"""As the extension io.modelcontextprotocol/ui wants it (specification of 2026-01-26)."""

_STATIC = Path(__file__).parent / "static"


def read_viewer(origins: Sequence[str]) -> Content:
    """``origins``: from where a host may let it load media; files without an address are read in pieces."""
    ui: dict[str, Any] = {"prefersBorder": True}
    # An empty list says no more than none: a host then lets it load nothing.
    if origins:
        ui["csp"] = {"resourceDomains": list(origins)}
    return Content(mime_type=VIEWER_TYPE, text=_render(), meta={"ui": ui})


@functools.cache
def _render() -> str:
    styles = "".join((_STATIC / name).read_text(encoding="utf-8") for name in ("gallery.css", "viewer.css"))
    script = (_STATIC / "viewer.js").read_text(encoding="utf-8")
    assert "</" not in styles, "it would end the element that it stands in"
    assert "</" not in script, "it would end the element that it stands in"
    return render_file("viewer", styles=styles, script=script)
