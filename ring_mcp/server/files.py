"""Local storage over HTTP: ``/files/{signature}/{key}``.

The signature is made from the key with a secret of this installation: whoever has the URL may read the file, nobody can
guess one, and there is no listing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from urllib.parse import quote, unquote

from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from ring_mcp.errors import StorageError
from ring_mcp.storage.base import Storage

FILES_PATH = "/files/"
_SIGNATURE_CHARS = 32
_TYPES = {
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
}


class FileLinks:
    """Makes and reads the addresses. ``base_url`` is where clients reach this server."""

    def __init__(self, base_url: str, secret: bytes) -> None:
        self._prefix = base_url.rstrip("/") + FILES_PATH
        self._secret = secret

    def url_of(self, key: str) -> str:
        return f"{self._prefix}{self._signature(key)}/{quote(key)}"

    def key_of(self, url: str) -> str | None:
        """The key behind one of our own addresses; None for any other."""
        return self.key_of_path(url.removeprefix(self._prefix)) if url.startswith(self._prefix) else None

    def key_of_path(self, path: str) -> str | None:
        """The key behind ``{signature}/{key}`` if the signature is right."""
        signature, _, quoted = path.partition("/")
        key = unquote(quoted)
        return key if hmac.compare_digest(signature.encode(), self._signature(key).encode()) else None

    def _signature(self, key: str) -> str:
        return hmac.new(self._secret, key.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[
            :_SIGNATURE_CHARS
        ]


def load_secret(path: Path) -> bytes:
    """The installation's secret, made on first use, readable by its owner alone. Raises StorageError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_bytes()
        with os.fdopen(descriptor, "wb") as file:
            secret = secrets.token_hex(32).encode()
            file.write(secret)
        return secret
    except OSError as exc:
        raise StorageError(
            f"the secret of the file links cannot be kept in {path.parent}: {exc.strerror}",
            billed="no",
            next_action="Point RING_STATE_DIR to a writable folder.",
        ) from exc


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
        path = scope["path"].removeprefix(scope.get("root_path", "")).removeprefix(FILES_PATH).lstrip("/")
        key = self._links.key_of_path(path)
        file = None if key is None else self._storage.local_path(self._links.url_of(key))
        if file is None or not file.is_file():
            return PlainTextResponse("Not Found", 404)
        return FileResponse(
            file,
            media_type=_TYPES.get(file.suffix, "application/octet-stream"),
            headers={"cache-control": "public, max-age=31536000, immutable"},
        )
