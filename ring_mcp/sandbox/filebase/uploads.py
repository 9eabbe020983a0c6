"""ring-filebase: multipart uploads under a service token, public flat URLs."""

from __future__ import annotations

import asyncio
import json
import shutil
import uuid
from pathlib import Path
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from ring_mcp.sandbox.state.state import SandboxState
from ring_mcp.sandbox.state.uploads import Upload
from ring_mcp.sandbox.wire import NOTES

ALLOWED_TYPES: dict[str, tuple[str, ...]] = {
    "image": ("image/",),
    "media": ("video/", "audio/"),
    "document": ("application/", "text/"),
    "other": ("",),
}
_COPY_BYTES = 1024 * 1024


class RingbaseRefusal(Exception):
    """An error answer of ring-filebase."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error


async def answer_ringbase_refusal(_: Request, exc: Exception) -> Response:
    """Starlette's handler for ``RingbaseRefusal``."""
    assert isinstance(exc, RingbaseRefusal)
    return JSONResponse({"success": False, "error": exc.error}, exc.status)


class Ringbase:
    """The upload service. Files go to disk as they arrive; only their facts are in memory."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        return [
            Route("/api/v1/health", self.health),
            Route("/api/v1/upload", self.upload, methods=["POST"]),
            Route("/api/v1/files/{file_id}/metadata", self.metadata),
            Route("/api/v1/files/{file_id}", self.delete, methods=["DELETE"]),
            Route("/files/{file_id}", self.serve),
        ]

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok", "service": "ring-filebase-api"})

    async def upload(self, request: Request) -> Response:
        self._check_token(request)
        if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            raise RingbaseRefusal(400, "Expected multipart/form-data")
        async with request.form(max_files=1, max_fields=20) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise RingbaseRefusal(400, "No file provided")
            # Every MIME type passes as "other".
            kind = str(form.get("type") or "other")
            mime_type = file.content_type or "application/octet-stream"
            request.scope[NOTES]["body"] = {"type": kind, "filename": file.filename, "contentType": mime_type}
            _check_type(kind, mime_type)
            metadata = _read_metadata(form.get("metadata"))
            path, size_bytes = await asyncio.to_thread(self._store, file)
        upload = Upload(path, file.filename or "", kind, mime_type, size_bytes, metadata)
        self._state.uploads.add(upload)
        return JSONResponse(
            {
                "success": True,
                "url": f"{self._state.base_url}/ringbase/files/{upload.id}",
                "fileId": upload.id,
                "metadata": {"size": size_bytes, "mimeType": mime_type},
            }
        )

    async def metadata(self, request: Request) -> Response:
        self._check_token(request)
        return JSONResponse({"success": True, "file": self._find(request).as_json()})

    async def delete(self, request: Request) -> Response:
        self._check_token(request)
        self._state.uploads.remove(self._find(request).id)
        return JSONResponse({"success": True})

    async def serve(self, request: Request) -> Response:
        upload = self._find(request)
        return FileResponse(upload.path, media_type=upload.mime_type)

    def _find(self, request: Request) -> Upload:
        upload = self._state.uploads.find(request.path_params["file_id"])
        if upload is None:
            raise RingbaseRefusal(404, "File not found")
        return upload

    def _check_token(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or token.strip() not in self._state.settings.ringbase_tokens:
            raise RingbaseRefusal(401, "Invalid ServiceAccount token")

    def _store(self, file: UploadFile) -> tuple[Path, int]:
        folder = self._state.folder / "uploads"
        folder.mkdir(exist_ok=True)
        path = folder / uuid.uuid4().hex
        file.file.seek(0)
        with path.open("wb") as target:
            shutil.copyfileobj(file.file, target, _COPY_BYTES)
        return path, path.stat().st_size


def _check_type(kind: str, mime_type: str) -> None:
    allowed = ALLOWED_TYPES.get(kind)
    if allowed is None:
        raise RingbaseRefusal(400, f"Invalid type: {kind}. Allowed: {', '.join(ALLOWED_TYPES)}")
    if not mime_type.startswith(allowed):
        wanted = ", ".join(f"{prefix}*" for prefix in allowed)
        raise RingbaseRefusal(400, f"Invalid file type for {kind}. Allowed: {wanted}; got: {mime_type}")


def _read_metadata(value: object) -> dict[str, Any]:
    if not value:
        return {}
    try:
        metadata = json.loads(str(value))
    except ValueError as exc:
        raise RingbaseRefusal(400, "Invalid metadata: not JSON") from exc
    if not isinstance(metadata, dict):
        raise RingbaseRefusal(400, "Invalid metadata: not an object")
    return metadata
