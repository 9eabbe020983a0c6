"""Wiring: which service answers under which path."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from ring_mcp.sandbox.control import Control, answer_sandbox_refusal
from ring_mcp.sandbox.drawing.studio import Studio
from ring_mcp.sandbox.filebase.uploads import Ringbase, RingbaseRefusal, answer_ringbase_refusal
from ring_mcp.sandbox.gate.gate import Gate
from ring_mcp.sandbox.google.account import GoogleAccount
from ring_mcp.sandbox.google.images import GoogleImages
from ring_mcp.sandbox.google.interactions import GoogleInteractions
from ring_mcp.sandbox.google.replies import GoogleRefusal, answer_google_refusal
from ring_mcp.sandbox.media_files import MediaFiles
from ring_mcp.sandbox.state.settings import SandboxRefusal
from ring_mcp.sandbox.state.state import SandboxState
from ring_mcp.sandbox.xai.account import XaiAccount
from ring_mcp.sandbox.xai.images import XaiImages
from ring_mcp.sandbox.xai.replies import BareRefusal, XaiRefusal, answer_refusal
from ring_mcp.sandbox.xai.videos import XaiVideos

XAI_PATH = "/xai/v1"
GOOGLE_PATH = "/google/v1beta"
RINGBASE_PATH = "/ringbase"


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

    app = Starlette(
        routes=_routes(state, studio),
        lifespan=lifespan,
        exception_handlers={
            XaiRefusal: answer_refusal,
            BareRefusal: answer_refusal,
            GoogleRefusal: answer_google_refusal,
            RingbaseRefusal: answer_ringbase_refusal,
            SandboxRefusal: answer_sandbox_refusal,
        },
    )
    app.router.redirect_slashes = False
    app.state.sandbox = state
    return Gate(app, state)


def _routes(state: SandboxState, studio: Studio) -> list[BaseRoute]:
    xai: list[BaseRoute] = [
        *XaiAccount(state).routes(),
        *XaiImages(state, studio).routes(),
        *XaiVideos(state, studio).routes(),
    ]

    async def index(_: Request) -> Response:
        services = {"xai": f"{state.base_url}{XAI_PATH}", "google": f"{state.base_url}{GOOGLE_PATH}"}
        return JSONResponse({"sandbox": True, **services, "control": "/control/faults"})

    return [
        Route("/", index),
        Mount(XAI_PATH, routes=xai),
        *(Mount(f"/google/{version}", routes=_google(state, studio, version)) for version in ("v1", "v1beta")),
        Mount(RINGBASE_PATH, routes=Ringbase(state).routes()),
        Mount("/control", routes=Control(state).routes()),
        *MediaFiles(state).routes(),
    ]


def _google(state: SandboxState, studio: Studio, version: str) -> list[BaseRoute]:
    return [
        *GoogleImages(state, studio, version).routes(),
        *GoogleInteractions(state, studio, version).routes(),
        *GoogleAccount(state, version).routes(),
    ]
