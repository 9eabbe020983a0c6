"""Google as the sandbox plays it, in both versions of its API: where it answers, with which key, how it says no."""

from __future__ import annotations

from starlette.routing import BaseRoute, Mount

from ring_mcp.sandbox.drawing.studio import Studio
from ring_mcp.sandbox.google.account import GoogleAccount
from ring_mcp.sandbox.google.images import GoogleImages
from ring_mcp.sandbox.google.interactions import GoogleInteractions
from ring_mcp.sandbox.google.replies import GoogleRefusal, answer_google_refusal
from ring_mcp.sandbox.services import Service
from ring_mcp.sandbox.state.settings import DEFAULT_GOOGLE_KEY
from ring_mcp.sandbox.state.state import SandboxState


def routes(state: SandboxState, studio: Studio) -> list[BaseRoute]:
    return [
        Mount(
            f"/google/{version}",
            routes=[
                *GoogleImages(state, studio, version).routes(),
                *GoogleInteractions(state, studio, version).routes(),
                *GoogleAccount(state, version).routes(),
            ],
        )
        for version in ("v1", "v1beta")
    ]


SERVICE = Service(
    name="google",
    path="/google/v1beta",
    key=DEFAULT_GOOGLE_KEY,
    routes=routes,
    refusals={GoogleRefusal: answer_google_refusal},
)
