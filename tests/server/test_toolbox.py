"""Tools are kept under their names, and made when somebody needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from mcp import Client

from ring_mcp.app import App, open_app
from ring_mcp.config import load_config
from ring_mcp.server.http import build_mcp
from ring_mcp.server.toolbox import Toolbox


async def test_each_tool_is_kept_under_its_own_name(tmp_path: Path) -> None:
    async with open_app(load_config({"RING_STATE_DIR": str(tmp_path)}, folder=tmp_path)) as app:
        tools = Toolbox(app)
        assert list(tools) == [tool.name for tool in tools.values()]
        assert tools["ring-spend"] is tools["ring-spend"]


class Lent:
    """An App as long as it is lent."""

    def __init__(self, app: App) -> None:
        self._app: App | None = app

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)

    def take_back(self) -> None:
        self._app = None


async def test_a_server_of_many_callers_has_described_its_tools_before_the_first(tmp_path: Path) -> None:
    async with open_app(load_config({"RING_STATE_DIR": str(tmp_path)}, folder=tmp_path)) as app:
        lent = Lent(app)
        server = build_mcp(cast("App", lent))
        lent.take_back()
        async with Client(server) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == list(Toolbox(app))
