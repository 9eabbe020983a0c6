"""Tools are kept under their names, and made when somebody needs them."""

from __future__ import annotations

from pathlib import Path

from ring_mcp.app import open_app
from ring_mcp.config import load_config
from ring_mcp.server.toolbox import Toolbox


async def test_each_tool_is_kept_under_its_own_name(tmp_path: Path) -> None:
    async with open_app(load_config({"RING_STATE_DIR": str(tmp_path)}, folder=tmp_path)) as app:
        tools = Toolbox(app)
        assert list(tools) == [tool.name for tool in tools.values()]
        assert tools["ring-spend"] is tools["ring-spend"]
