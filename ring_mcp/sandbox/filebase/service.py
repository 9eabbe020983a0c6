"""ring-filebase as the sandbox plays it: where it answers, with which token, and how it says no."""

from __future__ import annotations

from starlette.routing import BaseRoute, Mount

from ring_mcp.sandbox.drawing.studio import Studio
from ring_mcp.sandbox.filebase.uploads import Ringbase, RingbaseRefusal, answer_ringbase_refusal
from ring_mcp.sandbox.services import Service
from ring_mcp.sandbox.state.settings import DEFAULT_RINGBASE_TOKEN
from ring_mcp.sandbox.state.state import SandboxState

PATH = "/ringbase"


def routes(state: SandboxState, studio: Studio) -> list[BaseRoute]:
    return [Mount(PATH, routes=Ringbase(state).routes())]


SERVICE = Service(
    name="ringbase",
    path=PATH,
    key=DEFAULT_RINGBASE_TOKEN,
    routes=routes,
    refusals={RingbaseRefusal: answer_ringbase_refusal},
)
