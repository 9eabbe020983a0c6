"""A server of the tests: the product's own parts with short limits, and with images that crash.

``python odd_server.py``; the prompt "crash" raises what no error tree has.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import sys
from typing import Any

from ring_mcp.app import open_app
from ring_mcp.conductors.image import ImageConductor
from ring_mcp.config import load_config
from ring_mcp.server.http import build_http_app
from ring_mcp.server.listener import ImpatientProtocol, bind, listen
from ring_mcp.storage.links import FileLinks, load_secret

LIMIT_S = 0.4
SECRET_TEXT = "postgres://user:hunter2@db/ring"


class Crashing:
    """The real conductor but for one prompt."""

    def __init__(self, real: ImageConductor) -> None:
        self._real = real

    async def generate(self, request: Any, **options: Any) -> Any:
        if request.prompt == "crash":
            raise RuntimeError(SECRET_TEXT)
        return await self._real.generate(request, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Hasty(ImpatientProtocol):
    head_timeout_s = LIMIT_S


async def main() -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    config = load_config()
    listener = bind("127.0.0.1", 0)
    with contextlib.closing(listener):
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        links = FileLinks(url, load_secret(config.state_path / "files.secret"))
        async with open_app(config, links=links) as app:
            odd: Any = Crashing(app.images)
            stopping = asyncio.Event()
            served = build_http_app(dataclasses.replace(app, images=odd), links, stopping, body_timeout_s=LIMIT_S)
            sys.stderr.write(f"ring-mcp listens on {url}: with short limits\n")
            sys.stderr.flush()
            await listen(served, listener, stopping, drain_s=1, protocol=Hasty)


if __name__ == "__main__":
    asyncio.run(main())
