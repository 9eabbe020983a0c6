"""The judged server: the product's own app and listener, its own MCP server with the suite's fixtures, no tokens.

The suite cannot send a header, so this build asks for none, and therefore listens on loopback alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys

from ring_mcp.app import open_app
from ring_mcp.config import Config, load_config
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.server.http import build_http_app, build_mcp
from ring_mcp.server.listener import bind, listen
from ring_mcp.storage.links import FileLinks, load_secret
from tests.conformance.fixtures import add_fixtures


async def main() -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    with SandboxServer() as sandbox:
        # Its own, so that the fixtures can say how long a clip takes. Clips are made by the vendor that can cancel one.
        os.environ.update(RING_SANDBOX=sandbox.url, VIDEO_GEN_POLL_INTERVAL_MS="200")
        await serve(load_config(), sandbox)


async def serve(config: Config, sandbox: SandboxServer) -> None:
    listener = bind("127.0.0.1", 0)
    with contextlib.closing(listener):
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        links = FileLinks(url, load_secret(config.state_path / "files.secret"))
        async with open_app(config, links=links) as app:
            stopping, server = asyncio.Event(), build_mcp(app)
            add_fixtures(server, sandbox)
            sys.stdout.write(url + "\n")
            sys.stdout.flush()
            await listen(build_http_app(app, links, stopping, server=server), listener, stopping, drain_s=1)


if __name__ == "__main__":
    asyncio.run(main())
