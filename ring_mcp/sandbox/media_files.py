"""``GET /media/{name}``: temporary URLs, with Range, until they expire."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from ring_mcp.sandbox.state.state import SandboxState


class MediaFiles:
    """Serves published files straight from disk."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        return [Route("/media/{name}", self.serve)]

    async def serve(self, request: Request) -> Response:
        item = self._state.media.find(request.path_params["name"])
        if item is None:
            return PlainTextResponse("Not Found", 404)
        # What a real address answers when it has expired is not known (provider reference 2.8), so that a setting says.
        if not self._state.media.is_live(item, self._state.settings.url_ttl_s):
            return PlainTextResponse("This URL has expired.", self._state.settings.expired_status)
        return FileResponse(item.path, media_type=item.content_type)


def picture_type(head: bytes) -> str | None:
    """What a picture is by its first bytes; None for what both services refuse (xAI takes JPEG, PNG and WebP)."""
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    found = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}
    return next((kind for signature, kind in found.items() if head.startswith(signature)), None)
