"""Provenance of an asset as a JSON file beside it, ``{key}.json``. Switched on by RING_SIDECAR.

The bytes of an asset are never touched, so what a provider wrote into them (C2PA, XMP) stays. The sidecar has the
prompt's hash instead of the prompt, and no key, token or signed address.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from ring_mcp import __version__
from ring_mcp.clock import to_iso
from ring_mcp.domain import Asset, ImagePlan, Job, MediaFile, Plan, VideoPlan
from ring_mcp.errors import LedgerError, StorageError
from ring_mcp.ledger.base import Ledger
from ring_mcp.storage.base import Storage

logger = logging.getLogger(__name__)

SCHEMA_VERSION = "1.1"
CONTENT_TYPE = "application/json"
_LIMIT_S = 15.0
"""How long an asset waits for its sidecar, which is a courtesy."""

Role = Literal["firstFrame", "image", "sourceVideo", "remasterOf"]
Found = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """What an asset was made from. What is not known is None."""

    role: Role
    url: str | None = None
    request_id: str | None = None
    record_id: str | None = None
    job_id: str | None = None
    sha256: str | None = None

    def fill_from_row(self, row: Found | None) -> Parent:
        """The parent with the facts of its audit row. Without a row it is not ours, and only the plain part of its
        address is kept."""
        if row is None:
            return replace(self, url=_plain(self.url) if self.url else None)
        names = {"url": "url", "request_id": "requestId", "record_id": "id", "job_id": "jobId", "sha256": "sha256"}
        facts: dict[str, Any] = {name: row[key] for name, key in names.items() if row.get(key) is not None}
        return replace(self, **facts)


def sidecar(job: Job, asset: Asset, parents: Sequence[Parent]) -> dict[str, Any]:
    """The file's content. The same job and asset always give the same one."""
    plan = job.plan
    value = {
        "schemaVersion": SCHEMA_VERSION,
        "generator": {"name": "ring-mcp", "version": __version__},
        "asset": {
            "url": asset.url,
            "key": asset.key,
            "fileId": asset.file_id,
            "recordId": asset.record_id,
            "sha256": asset.sha256,
            "size": asset.size_bytes,
            "contentType": asset.content_type,
            "width": asset.width_px,
            "height": asset.height_px,
            "duration": _number(asset.duration_s),
            "contentCredentials": asset.content_credentials,
        },
        "job": {
            "jobId": job.id,
            "kind": job.kind,
            "index": asset.index,
            "outputs": len(job.outputs),
            "createdAt": to_iso(job.created_at),
            "provider": plan.provider,
            "requestId": job.provider_request_id,
            "sandbox": job.sandbox or None,
        },
        "model": {"requested": plan.requested_model, "used": plan.model, "served": job.served_model},
        "prompt": {"sha256": hashlib.sha256(plan.prompt.encode("utf-8", "surrogatepass")).hexdigest()},
        "parameters": _parameters(plan),
        "cost": {"billedUsd": _number(job.billed_usd), "listUsd": _number(plan.list_usd)},
        "parents": [
            {
                "role": parent.role,
                "url": parent.url,
                "requestId": parent.request_id,
                "recordId": parent.record_id,
                "jobId": parent.job_id,
                "sha256": parent.sha256,
            }
            for parent in parents
        ],
    }
    told: dict[str, Any] = _without_unset(value)
    return told


def upload_metadata(job: Job) -> dict[str, str]:
    """Metadata for a storage that keeps some with a file: Ring's names, and the job's id. Unset ones are left out."""
    plan = job.plan
    facts = {"source": plan.provider, "model": plan.model, "purpose": plan.purpose, "jobId": job.id}
    if isinstance(plan, VideoPlan):
        facts |= {"qualityMode": plan.quality_mode, "generationKind": plan.generation_kind}
        facts |= {"requestId": job.provider_request_id or "", "clipId": plan.clip_id or ""}
    return {name: value for name, value in facts.items() if value}


def parents_of(plan: Plan) -> list[Parent]:
    """The inputs of the plan as parents of its asset, as far as the plan itself knows them."""
    if isinstance(plan, ImagePlan):
        return []
    found = []
    if (frame := plan.made_frame) is not None:
        found.append(Parent(role="firstFrame", url=frame.url, record_id=frame.record_id, sha256=frame.sha256))
    if plan.image_url is not None:
        found.append(Parent(role="image", url=plan.image_url))
    if plan.source_video_url is not None:
        role: Role = "sourceVideo" if plan.remaster_from_request_id is None else "remasterOf"
        found.append(Parent(role=role, url=plan.source_video_url, request_id=plan.remaster_from_request_id))
    elif plan.remaster_from_request_id is not None:
        found.append(Parent(role="remasterOf", request_id=plan.remaster_from_request_id))
    return found


class Sidecars:
    """Writes sidecars. ``spool``: the folder in which the file is made."""

    def __init__(self, storage: Storage, ledger: Ledger, spool: Path) -> None:
        self._storage = storage
        self._ledger = ledger
        self._spool = spool

    async def keep(self, job: Job, asset: Asset) -> tuple[Asset, tuple[str, ...]]:
        """Store the sidecar beside its asset. Returns the asset with its address, or as it was and a warning."""
        path = self._spool / f"{job.id}-{asset.index}.json"
        try:
            async with asyncio.timeout(_LIMIT_S):
                parents = [parent.fill_from_row(await self._row(job, parent)) for parent in parents_of(job.plan)]
                media = await asyncio.to_thread(_write, path, sidecar(job, asset, parents))
                stored = await self._storage.put(f"{asset.key}.json", media, {"jobId": job.id, "purpose": "sidecar"})
            return asset.model_copy(update={"sidecar_url": stored.url}), ()
        except StorageError as exc:
            reason = exc.message
        except TimeoutError:
            reason = "it took too long"
        except Exception:  # a courtesy: whatever breaks in it, the asset was paid for and is stored
            logger.exception("job %s: no sidecar for output %s", job.id, asset.index + 1)
            reason = "internal error"
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
        return asset, (f"output {asset.index + 1} is stored, its sidecar is not: {reason}",)

    async def _row(self, job: Job, parent: Parent) -> Found | None:
        """The parent's audit row, if it is one of this actor's own."""
        table = "generated_images" if parent.role in ("firstFrame", "image") else "generated_videos"
        found: Found | None = None
        # If the ledger is away, the parent counts as not found, and is named by its plain address.
        with contextlib.suppress(LedgerError):
            for name, value in (("id", parent.record_id), ("requestId", parent.request_id), ("url", parent.url)):
                if found is None and value is not None:
                    found = await self._ledger.find_record(table, job.actor_id, name, value)
        return found


def _parameters(plan: Plan) -> dict[str, Any]:
    shared = {"aspectRatio": plan.aspect_ratio, "resolution": plan.resolution, "purpose": plan.purpose}
    if isinstance(plan, VideoPlan):
        own = {"qualityMode": plan.quality_mode, "generationKind": plan.generation_kind, "duration": plan.duration_s}
        return {**shared, **own}
    return {**shared, "quality": plan.quality, "seed": plan.seed, "n": plan.n}


def _plain(url: str) -> str:
    """An address without what gives access (query, user, password); of a file on this machine only the name."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        return parts.path.rpartition("/")[2]
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _without_unset(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_unset(item) for key, item in value.items() if item is not None}
    return [_without_unset(item) for item in value] if isinstance(value, list) else value


def _write(path: Path, value: Mapping[str, Any]) -> MediaFile:
    content = (json.dumps(value, indent=2) + "\n").encode()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)  # a new file: the old one may have been linked elsewhere
    path.write_bytes(content)
    return MediaFile(
        path=path,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        content_type=CONTENT_TYPE,
        extension="json",
    )
