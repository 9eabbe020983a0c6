"""Local storage over HTTP: ``/files/{signature}/{key}``.

The signature is made from the key with a secret of this installation: whoever has the URL may read the file, nobody can
guess one, and there is no listing.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import tempfile
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from ring_mcp.errors import StorageError
from ring_mcp.storage.base import Storage

FILES_PATH = "/files/"
_SIGNATURE_CHARS = 32
_SECRET_CHARS = 64
_HEADERS = {
    "cache-control": "public, max-age=31536000, immutable",
    # A browser shows a picture or plays a clip by a little page of its own, which these let it do; and nothing else.
    "content-security-policy": "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; "
    "frame-ancestors 'none'",
}
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


class FileLinks:
    """Makes and reads the addresses. ``base_url`` is where clients reach this server."""

    def __init__(self, base_url: str, secret: bytes) -> None:
        self.host = urlsplit(base_url).netloc
        self._prefix = base_url.rstrip("/") + FILES_PATH
        self._secret = secret

    def url_of(self, key: str) -> str:
        return f"{self._prefix}{self._signature(key)}/{quote(key)}"

    def key_of(self, url: str) -> str | None:
        """The key behind one of our own addresses; None for any other."""
        return self.key_of_path(unquote(url.removeprefix(self._prefix))) if url.startswith(self._prefix) else None

    def key_of_path(self, path: str) -> str | None:
        """The key behind ``{signature}/{key}``, percent signs decoded, if the signature is right."""
        signature, _, key = path.partition("/")
        return key if hmac.compare_digest(signature.encode(), self._signature(key).encode()) else None

    def _signature(self, key: str) -> str:
        return hmac.new(self._secret, key.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[
            :_SIGNATURE_CHARS
        ]


def load_secret(path: Path) -> bytes:
    """The installation's secret, made on first use, readable by its owner alone. Raises StorageError.

    It appears under its name whole or not at all: with half a secret, or none, anybody could sign.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            descriptor, name = tempfile.mkstemp(prefix=".secret-", dir=path.parent)  # mode 0600
            new = Path(name)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(secrets.token_hex(_SECRET_CHARS // 2).encode())
                    file.flush()
                    os.fsync(file.fileno())
                with contextlib.suppress(FileExistsError):  # another process was quicker
                    os.link(new, path)
            finally:
                new.unlink(missing_ok=True)
        secret = path.read_bytes().strip()
    except OSError as exc:
        raise StorageError(
            f"the secret of the file links cannot be kept in {path.parent}: {exc.strerror}",
            billed="no",
            next_action="Point RING_STATE_DIR to a writable folder.",
        ) from exc
    if len(secret) < _SECRET_CHARS:
        raise StorageError(
            f"the secret of the file links is damaged: {path}",
            billed="no",
            next_action="Restore this file, or remove it: a new one is made, and old links stop working.",
        )
    return secret


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
            headers=_HEADERS,
        )
