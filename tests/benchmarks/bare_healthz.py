"""The yardstick for ``/healthz``: uvicorn and Starlette as they come, with that one route and nobody else who asks."""

from __future__ import annotations

import socket
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def alive(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sys.stderr.write(f"ring-mcp listens on http://127.0.0.1:{listener.getsockname()[1]}: not really\n")
        sys.stderr.flush()
        config = uvicorn.Config(Starlette(routes=[Route("/healthz", alive)]), http="h11", log_level="error")
        uvicorn.Server(config).run([listener])
