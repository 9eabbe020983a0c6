"""Local storage over HTTP: anybody with the address of a file may read it; nothing is listed."""

from __future__ import annotations

from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from ring_mcp.storage.base import Storage
from ring_mcp.storage.links import FILES_PATH, FileLinks

_HEADERS = {
    "cache-control": "public, max-age=31536000, immutable",
    # Only what the little page needs in which a browser shows a picture or a clip.
    "content-security-policy": "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; "
    "frame-ancestors 'none'",
}
# Nothing that a browser would execute: anything else is a download (and "nosniff" keeps it one).
_TYPES = {
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".json": "application/json",
}


class Files:
    """The ASGI endpoint. Range requests, HEAD and conditional requests are Starlette's own."""

    def __init__(self, storage: Storage, links: FileLinks) -> None:
        self._storage = storage
        self._links = links

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._response(scope)(scope, receive, send)

    def _response(self, scope: Scope) -> Response:
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("Method Not Allowed", 405, {"allow": "GET, HEAD"})
        # Inside a Mount, Starlette leaves the whole path in place.
        path = scope["path"].removeprefix(scope.get("root_path", "")).removeprefix(FILES_PATH).lstrip("/")
        key = self._links.key_of_path(path)
        file = None if key is None else self._storage.local_path(self._links.url_of(key))
        if file is None or not file.is_file():
            # The same for a wrong signature and a missing file: guessing tells nothing.
            return PlainTextResponse("Not Found", 404)
        return FileResponse(
            file,
            media_type=_TYPES.get(file.suffix, "application/octet-stream"),
            headers=_HEADERS,
        )
