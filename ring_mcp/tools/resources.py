"""MCP resources: jobs (``ring://jobs/{jobId}``), ``ring://presets``, and the viewer with what
it shows: ``…/preview`` and ``…/asset/{n}?offset=&length=`` of a job, in pieces of bounded size."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ring_mcp.conductors.paid_calls import PaidCalls
from ring_mcp.domain import Asset, Job
from ring_mcp.errors import NotFound, StorageError
from ring_mcp.presets import Presets
from ring_mcp.storage.base import Storage
from ring_mcp.tools.brief import brief_data
from ring_mcp.tools.job_answers import Previews
from ring_mcp.tools.job_get import JobGetArguments

JOB_TEMPLATE = "ring://jobs/{jobId}"
PREVIEW_TEMPLATE = f"{JOB_TEMPLATE}/preview"
ASSET_TEMPLATE = f"{JOB_TEMPLATE}/asset/{{n}}{{?offset,length}}"
PRESETS_URI = "ring://presets"
VIEWER_URI = "ui://ring-mcp/viewer"
JSON_TYPE = "application/json"
SIZE_KEY = "ring-mcp/size"
"""In the ``_meta`` of a piece: how many bytes the whole file has."""

MAX_PIECE_BYTES = 384 * 1024
"""Base64 makes half a megabyte of it: hosts refuse answers of one. A multiple of three, so that pieces fit together."""

_JOB_PREFIX = "ring://jobs/"
# Digits are bounded, for what is matched becomes a number, and the address is a stranger's.
_FILE = re.compile(r"(ring://jobs/[^/?#]+)/(?:(preview)|asset/(\d{1,3})(?:\?offset=(\d{1,12})&length=(\d{1,12}))?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """``text`` or ``blob``, never both."""

    mime_type: str
    text: str | None = None
    blob: bytes | None = None
    meta: Mapping[str, Any] | None = None


class Resources:
    """Reading never waits, never spends, and never drives a job. ``viewer``: the one for this server's storage."""

    def __init__(
        self,
        calls: PaidCalls,
        presets: Presets,
        *,
        storage: Storage,
        previews: Previews,
        viewer: Callable[[], Content],
    ) -> None:
        self._calls = calls
        self._presets = presets
        self._storage = storage
        self._previews = previews
        self._viewer = viewer

    async def read(self, uri: str, actor_id: str) -> Content:
        """The resource at an address. Raises NotFound, InvalidRequest for what cannot be an id, and LedgerError."""
        if uri == PRESETS_URI:
            return Content(mime_type=JSON_TYPE, text=self._presets.model_dump_json(by_alias=True, exclude_none=True))
        if uri == VIEWER_URI:
            return self._viewer()
        if found := _FILE.fullmatch(uri):
            job = await self._find(found[1], actor_id, uri)
            if found[2]:
                return await self._read_preview(job, uri)
            return await self._read_piece(job, int(found[3]), int(found[4] or 0), int(found[5] or MAX_PIECE_BYTES), uri)
        job = await self._find(uri, actor_id, uri)
        shown = brief_data((await self._calls.show(job)).data())
        return Content(mime_type=JSON_TYPE, text=json.dumps(shown, ensure_ascii=False))

    async def _find(self, job_uri: str, actor_id: str, uri: str) -> Job:
        # A job's alone: the tool takes for it what is below it, too, and a resource is what its address says.
        if job_uri.startswith(_JOB_PREFIX) and "/" not in job_uri.removeprefix(_JOB_PREFIX).rstrip("/"):
            # Read as the tool's jobId, which takes this address: one rule, and its bounds, for both.
            with contextlib.suppress(NotFound):  # one text for all of them
                return await self._calls.find_own(JobGetArguments.parse({"jobId": job_uri}).ids[0], actor_id)
        raise NotFound(f"there is no resource {uri[:200]}")

    async def _read_preview(self, job: Job, uri: str) -> Content:
        picture = await asyncio.to_thread(self._previews.read, job.id)
        if picture is None:
            raise NotFound(f"there is no resource {uri[:200]}: no preview is kept of it")
        return Content(mime_type="image/jpeg", blob=picture)

    async def _read_piece(self, job: Job, number: int, offset: int, length: int, uri: str) -> Content:
        """At most MAX_PIECE_BYTES of a file on this machine; clients fetch other files by their own address."""
        asset = job.assets[number] if number < len(job.assets) else None
        path = await self._local_path(asset) if asset is not None else None
        if asset is None or path is None:
            raise NotFound(f"there is no resource {uri[:200]}", next_action="Open the address of the file.")
        try:
            # A disk, or a network behind it, may take its time, and others are served on this loop.
            size, piece = await asyncio.to_thread(_read_part, path, offset, min(length, MAX_PIECE_BYTES))
        except OSError:
            raise NotFound(f"there is no resource {uri[:200]}: its file is gone") from None
        return Content(mime_type=asset.content_type, blob=piece, meta={SIZE_KEY: size})

    async def _local_path(self, asset: Asset) -> Path | None:
        try:
            address = await self._storage.address(asset.url, asset.key)
        except StorageError:
            return None
        return Path(address.local_path) if address.local_path else self._storage.local_path(address.url)


def _read_part(path: Path, offset: int, length: int) -> tuple[int, bytes]:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(min(offset, size))
        return size, file.read(length)
