"""``GET /models`` and ``GET /models/{model}``: which models there are, a page at a time."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ring_mcp.sandbox.google import calls
from ring_mcp.sandbox.google.catalogue import GEMINI_IMAGE_MODELS, IMAGEN_PRICES, OMNI_MODELS
from ring_mcp.sandbox.google.replies import invalid, model_unknown
from ring_mcp.sandbox.state.state import SandboxState

DEFAULT_PAGE, LARGEST_PAGE = 50, 1000


class GoogleAccount:
    """The free endpoints of one API version."""

    def __init__(self, state: SandboxState, version: str) -> None:
        self._state = state
        self._version = version

    def routes(self) -> list[Route]:
        return [
            Route("/models", self.models, methods=["GET"]),
            # Veo and the like are gone (provider reference 3.4), and tell so in words of their own; methods that are
            # served stand before it.
            Route("/models/{model}:{method}", self.answer_gone, methods=["POST"]),
            Route("/models/{model}", self.model, methods=["GET"]),
        ]

    async def models(self, request: Request) -> Response:
        calls.check_key(request, self._state)
        entries = self._entries()
        size, start = _page(request)
        body: dict[str, Any] = {"models": entries[start : start + size]}
        if start + size < len(entries):
            body["nextPageToken"] = base64.urlsafe_b64encode(str(start + size).encode()).decode()
        return JSONResponse(body)

    async def model(self, request: Request) -> Response:
        calls.check_key(request, self._state)
        name = request.path_params["model"]
        for entry in self._entries():
            if entry["name"] == f"models/{name}":
                return JSONResponse(entry)
        raise model_unknown(name, self._version, "getModel")

    async def answer_gone(self, request: Request) -> Response:
        """Methods that nothing serves any more, like ``:predictLongRunning``."""
        calls.check_key(request, self._state)
        raise model_unknown(request.path_params["model"], self._version, request.path_params["method"])

    def _entries(self) -> list[dict[str, Any]]:
        entries = [_entry(model.id, model.title, "generateContent") for model in GEMINI_IMAGE_MODELS.values()]
        entries += [_entry(model.id, model.title, "createInteraction") for model in OMNI_MODELS.values()]
        if self._state.settings.google_imagen:
            entries += [_entry(name, name, "predict") for name in IMAGEN_PRICES]
        return entries


def _page(request: Request) -> tuple[int, int]:
    """How many, and from which on."""
    try:
        size = int(request.query_params.get("pageSize", 0)) or DEFAULT_PAGE
        token = request.query_params.get("pageToken", "")
        start = int(base64.urlsafe_b64decode(token)) if token else 0
    except (ValueError, binascii.Error) as exc:
        raise invalid("Invalid page size or page token.") from exc
    if size < 0 or start < 0:
        raise invalid("Page size must not be negative.")
    return min(size, LARGEST_PAGE), start


def _entry(name: str, title: str, method: str) -> dict[str, Any]:
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": title,
        "description": f"{title}, as the sandbox plays it",
        "inputTokenLimit": 131072,
        "outputTokenLimit": 32768,
        "supportedGenerationMethods": [method],
    }
