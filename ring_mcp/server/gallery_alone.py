"""The pages without a server around them: for one person, on this machine, read-only. Nothing of MCP is served."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount, Route

from ring_mcp.clock import Clock
from ring_mcp.config import Config
from ring_mcp.ledger.base import Ledger
from ring_mcp.server.files import Files
from ring_mcp.server.gallery import GALLERY_PATH, GalleryPages
from ring_mcp.server.gallery_doors import OnceDoor
from ring_mcp.server.gallery_events import Events
from ring_mcp.server.listener import bind, listen
from ring_mcp.server.middleware import BodyLimit, Guarded, KnownNames
from ring_mcp.storage.base import Links, Storage
from ring_mcp.storage.links import FILES_PATH, SECRET_FILE, FileLinks, load_secret
from ring_mcp.tools.job_answers import Previews
from ring_mcp.web.gallery import Gallery

HOST = "127.0.0.1"
_MAX_BODY_BYTES = 8192
_BODY_TIMEOUT_S = 10.0
_DRAIN_S = 1.0


async def serve_alone(
    config: Config,
    ledger: Ledger,
    open_files: Callable[[Links], Storage],
    clock: Clock,
    *,
    actor: str,
    port: int,
    announce: Callable[[str], Coroutine[Any, Any, None]],
) -> None:
    """Serve until SIGTERM or SIGINT. ``announce`` is given the address that lets in once, when it is listened to.

    Raises ConfigError if the port cannot be used, StorageError.
    """
    listener = bind(HOST, port)
    with contextlib.closing(listener):
        own_url = f"http://{HOST}:{listener.getsockname()[1]}"
        links = FileLinks(own_url, load_secret(config.state_path / SECRET_FILE))
        storage, door, stopping = open_files(links), OnceDoor(actor), asyncio.Event()
        gallery = Gallery(
            ledger=ledger,
            storage=storage,
            previews=Previews(config.state_path / "previews"),
            links=links,
            caps=config.caps,
            clock=clock,
            sandbox=bool(config.sandbox),
            root=GALLERY_PATH,
        )
        pages = GalleryPages(gallery, door, Events(gallery, stopping), sandbox=bool(config.sandbox))
        app = Starlette(
            routes=[
                Route("/", pages.lead_here),
                Route(GALLERY_PATH, pages),
                Route(f"{GALLERY_PATH}/{{rest:path}}", pages),
                Mount(FILES_PATH, Files(storage, links)),
            ],
            middleware=[
                Middleware(Guarded),
                Middleware(KnownNames, hosts=(), origins=()),
                Middleware(BodyLimit, max_bytes=_MAX_BODY_BYTES, timeout_s=_BODY_TIMEOUT_S),
            ],
        )
        telling = asyncio.create_task(announce(f"{own_url}{GALLERY_PATH}/open?once={door.once}"))
        try:
            await listen(app, listener, stopping, drain_s=_DRAIN_S)
            await telling
        finally:
            telling.cancel()
            await storage.aclose()
