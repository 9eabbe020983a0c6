"""The free endpoints of the emulated xAI: who the key is, and which models there are."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ring_mcp.sandbox.state.state import SandboxState
from ring_mcp.sandbox.xai import calls
from ring_mcp.sandbox.xai.catalogue import (
    IMAGE_MODELS,
    MAX_PROMPT_CHARACTERS,
    VIDEO_MODELS,
    ImageModel,
    VideoModel,
    find_image_model,
    find_video_model,
)
from ring_mcp.sandbox.xai.prices import IMAGE_PRICES
from ring_mcp.sandbox.xai.replies import model_unknown

USER_ID = "0e1f2a3b-0000-4000-8000-73616e64626f"
MADE_AT = "2026-01-01T00:00:00Z"


class XaiAccount:
    """``/me``, ``/api-key``, ``/models`` and the two lists, that of pictures with prices."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        return [
            Route("/me", self.key_facts),
            Route("/api-key", self.key_facts),
            Route("/models", self.models),
            Route("/image-generation-models", self.serve([image_entry(model) for model in IMAGE_MODELS])),
            Route("/image-generation-models/{model_id}", self.image_model),
            Route("/video-generation-models", self.serve([video_entry(model) for model in VIDEO_MODELS])),
            Route("/video-generation-models/{model_id}", self.video_model),
        ]

    async def key_facts(self, request: Request) -> Response:
        key = calls.check_key(request, self._state)
        settings = self._state.settings
        return JSONResponse(
            {
                "redacted_api_key": f"{key[:2]}...{key[-2:]}",
                "user_id": USER_ID,
                "name": "sandbox",
                "create_time": MADE_AT,
                "modify_time": MADE_AT,
                "modified_by": USER_ID,
                "team_id": calls.team_of(request, self._state),
                # The same for a key in every run, and no part of it.
                "api_key_id": str(uuid.uuid5(uuid.NAMESPACE_URL, key)),
                "acls": ["api-key:endpoint:*", "api-key:model:*"],
                "team_blocked": settings.team_blocked,
                "api_key_blocked": False,
                "api_key_disabled": False,
                "zdr_status": "zdr" if settings.zdr else "no_zdr",
            }
        )

    async def models(self, request: Request) -> Response:
        calls.check_key(request, self._state)
        entries = [image_entry(model) for model in IMAGE_MODELS] + [video_entry(model) for model in VIDEO_MODELS]
        return JSONResponse({"object": "list", "data": entries})

    def serve(self, entries: list[dict[str, Any]]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            calls.check_key(request, self._state)
            return JSONResponse({"models": entries})

        return answer

    async def image_model(self, request: Request) -> Response:
        calls.check_key(request, self._state)
        name = request.path_params["model_id"]
        served = find_image_model(name)
        if served is None:
            raise model_unknown(name)
        return JSONResponse(image_entry(served.model))

    async def video_model(self, request: Request) -> Response:
        calls.check_key(request, self._state)
        name = request.path_params["model_id"]
        model = find_video_model(name)
        if model is None:
            raise model_unknown(name)
        return JSONResponse(video_entry(model))


def image_entry(model: ImageModel) -> dict[str, Any]:
    """A model with its prices in ticks."""
    pricing = [
        {"quality": quality or "auto", "resolution": resolution, "price_per_image": price_ticks}
        for (name, quality), row in IMAGE_PRICES.items()
        if name == model.id
        for resolution, price_ticks in row.output_ticks.items()
    ]
    return _entry(model.id, model.created, model.aliases, ["image"]) | {
        "max_prompt_length": MAX_PROMPT_CHARACTERS,
        "image_price": pricing[0]["price_per_image"],
        "pricing": pricing,
    }


def video_entry(model: VideoModel) -> dict[str, Any]:
    """A model; the list of clips tells no prices."""
    return _entry(model.id, model.created, model.aliases, ["video"])


def _entry(model_id: str, created: int, aliases: tuple[str, ...], makes: list[str]) -> dict[str, Any]:
    return {
        "id": model_id,
        "fingerprint": "fp_sandbox",
        "created": created,
        "object": "model",
        "owned_by": "xai",
        "version": "1.0",
        "input_modalities": ["text", "image"],
        "output_modalities": makes,
        "aliases": list(aliases),
    }
