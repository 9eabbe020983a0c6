"""Wiring: which service answers under which path."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from ring_mcp.sandbox.control import Control, answer_sandbox_refusal
from ring_mcp.sandbox.drawing.studio import Studio
from ring_mcp.sandbox.gate.gate import Gate
from ring_mcp.sandbox.media_files import MediaFiles
from ring_mcp.sandbox.services import SERVICES, Answer
from ring_mcp.sandbox.state.settings import SandboxRefusal
from ring_mcp.sandbox.state.state import SandboxState


def create_app(state: SandboxState) -> ASGIApp:
    """The whole sandbox as one ASGI application over a state that is open."""
    folder = state.folder / "made"
    folder.mkdir(exist_ok=True)
    studio = Studio(folder)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            studio.close()

    refusals: dict[Any, Answer] = {SandboxRefusal: answer_sandbox_refusal}
    for service in SERVICES.values():
        refusals |= service.refusals
    app = Starlette(routes=_routes(state, studio), lifespan=lifespan, exception_handlers=refusals)
    # No redirect for a slash too many: at xAI an unknown route is a bare 404 (provider reference 1.9).
    app.router.redirect_slashes = False
    app.state.sandbox = state
    # Outside of the app, so that a fault stands in place of whatever the app would say, its own errors included.
    return Gate(app, state)


def _routes(state: SandboxState, studio: Studio) -> list[BaseRoute]:
    async def index(_: Request) -> Response:
        services = {service.name: f"{state.base_url}{service.path}" for service in SERVICES.values()}
        return JSONResponse({"sandbox": True, **services, "control": "/control/faults"})

    return [
        Route("/", index),
        *(route for service in SERVICES.values() for route in service.routes(state, studio)),
        Mount("/control", routes=Control(state).routes()),
        *MediaFiles(state).routes(),
    ]
