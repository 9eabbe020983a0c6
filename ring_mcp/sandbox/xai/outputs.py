"""Where results go: temporary URLs, files that ``storage_options`` keep, the caller's own upload URLs."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ring_mcp.sandbox.state.media import MediaItem
from ring_mcp.sandbox.state.state import SandboxState
from ring_mcp.sandbox.xai.fields import Fields
from ring_mcp.sandbox.xai.replies import invalid

# Provider reference 1.2.
LONGEST_STORAGE_S = 2592000
SHORTEST_PUBLIC_URL_S = 3600


@dataclass(frozen=True)
class StorageOptions:
    """``storage_options`` of a request. ``public_url_s`` is None when no public URL is wanted, 0 for no limit."""

    filename: str
    expires_after_s: int | None = None
    public_url_s: int | None = None


def read_storage(fields: Fields) -> StorageOptions | None:
    """``storage_options``: the file name is needed, times have limits."""
    options = fields.child("storage_options")
    if options is None:
        return None
    filename = options.require_text("filename")
    expires_after_s = options.whole("expires_after", 0, 1, LONGEST_STORAGE_S) or None
    public_url = options.raw("public_url")
    public_url_s: int | None = None
    if isinstance(public_url, dict):
        nested = options.require_child("public_url")
        public_url_s = nested.whole("expires_after", 0, SHORTEST_PUBLIC_URL_S, LONGEST_STORAGE_S)
    elif options.flag("public_url"):
        public_url_s = 0
    return StorageOptions(filename, expires_after_s, public_url_s)


def read_upload_urls(fields: Fields, count: int) -> list[str]:
    """``output.upload_urls``: one for each picture."""
    output = fields.child("output")
    urls = output.texts("upload_urls") if output else []
    if urls and len(urls) != count:
        raise invalid(f"output.upload_urls must have {count} entries, got {len(urls)}.")
    return urls


def media_url(state: SandboxState, item: MediaItem) -> str:
    return f"{state.base_url}/media/{item.name}"


def keep_file(
    state: SandboxState, path: Path, kind: Any, options: StorageOptions, *, fails: bool = False
) -> dict[str, Any]:
    """The part of an answer that tells where a file was kept: ``file_output`` or ``storage_error``."""
    if fails:
        return {"storage_error": {"code": "internal_error", "message": "The file could not be stored."}}
    file_id = f"file_{uuid.uuid4()}"
    # Without a limit it outlives every test.
    lives_s = float(options.expires_after_s or LONGEST_STORAGE_S * 12)
    now = int(time.time())
    output: dict[str, Any] = {"file_id": file_id, "filename": options.filename}
    if options.expires_after_s:
        output["expires_at"] = now + options.expires_after_s
    if options.public_url_s:
        lives_s = min(lives_s, options.public_url_s)
        output["public_url_expires_at"] = now + options.public_url_s
    item = state.media.publish(path, kind, ttl_s=lives_s, file_id=file_id)
    if options.public_url_s is not None:
        output["public_url"] = media_url(state, item)
    return {"file_output": output}
