"""xAI as the sandbox plays it: where it answers, with which key, and how it says no."""

from __future__ import annotations

from starlette.routing import BaseRoute, Mount

from ring_mcp.sandbox.drawing.studio import Studio
from ring_mcp.sandbox.services import Service
from ring_mcp.sandbox.state.settings import DEFAULT_XAI_KEY
from ring_mcp.sandbox.state.state import SandboxState
from ring_mcp.sandbox.xai.account import XaiAccount
from ring_mcp.sandbox.xai.images import XaiImages
from ring_mcp.sandbox.xai.replies import BareRefusal, XaiRefusal, answer_refusal
from ring_mcp.sandbox.xai.videos import XaiVideos

PATH = "/xai/v1"


def routes(state: SandboxState, studio: Studio) -> list[BaseRoute]:
    parts = (XaiAccount(state), XaiImages(state, studio), XaiVideos(state, studio))
    return [Mount(PATH, routes=[route for part in parts for route in part.routes()])]


SERVICE = Service(
    name="xai",
    path=PATH,
    key=DEFAULT_XAI_KEY,
    routes=routes,
    refusals={XaiRefusal: answer_refusal, BareRefusal: answer_refusal},
)
