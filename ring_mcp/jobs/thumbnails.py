"""The thumbnail of a clip: drawn, stored and recorded with it. A failure is a warning and never loses the clip.

The object key and the audit row are made from the job's id, so that a repetition after a crash changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ring_mcp.domain import Asset, AuditRecord, Job, MediaFile, Thumbnail, VideoPlan
from ring_mcp.errors import InvalidRequest, RingError
from ring_mcp.extras import install_line
from ring_mcp.jobs.inputs import MediaInputs
from ring_mcp.ledger.audit import THUMBNAIL_SOURCE, thumbnail_row
from ring_mcp.media.canvases import CANVASES, nearest_canvas
from ring_mcp.media.decoding import Decoders, can_read_clips
from ring_mcp.media.identify import hash_file
from ring_mcp.media.natives import Natives, Undecodable
from ring_mcp.storage.base import Storage
from ring_mcp.storage.keys import storage_key

logger = logging.getLogger(__name__)

_FETCH_LIMIT_S = 10.0
_MAX_FRAME_BYTES, _MAX_CLIP_BYTES = 10 * 1024**2, 50 * 1024**2
"""The most that is fetched for a thumbnail, which is a courtesy."""

_MADE, _NOT_MADE = _ABOUT = ("thumbnail", "no thumbnail was made")


class _NotMade(Exception):
    """The text says why."""


class Thumbnails:
    """``prefix``: the first folders of the storage key. ``font``: a file with characters that Noto Sans lacks.
    ``limit_s``: how long a finished clip waits for its thumbnail.
    """

    def __init__(
        self,
        inputs: MediaInputs,
        storage: Storage,
        decoders: Decoders,
        *,
        spool: Path,
        prefix: str,
        font: Path | None,
        limit_s: float = 30.0,
    ) -> None:
        self._inputs = inputs
        self._storage = storage
        self._decoders = decoders
        self._spool = spool
        self._limit_s = limit_s
        self._prefix = prefix
        self._font = font.expanduser() if font else None

    async def add(self, job: Job, clip: MediaFile, name: str = "") -> tuple[Job, Sequence[AuditRecord]]:
        """The job with its thumbnail and the audit row of that; or with a warning that says why there is none.

        Unchanged if no thumbnail was asked for. ``name`` tells the thumbnails of one job apart: the one made with the
        clip has none.
        """
        plan = job.plan
        if not isinstance(plan, VideoPlan) or plan.thumbnail is None:
            return job, ()
        try:
            async with asyncio.timeout(self._limit_s):
                asset, canvas, warnings = await self._make(job, plan, plan.thumbnail, clip, name)
        except (_NotMade, RingError) as exc:
            return _without(job, str(exc)), ()
        except TimeoutError:
            return _without(job, "it was not there in time"), ()
        except Exception as exc:  # a courtesy: whatever breaks in it, the clip is paid for and stays
            logger.exception("job %s: no thumbnail", job.id)
            return _without(job, f"internal error ({type(exc).__name__})"), ()
        finally:
            await asyncio.to_thread(self._clean_up, job)
        made = plan.model_copy(update={"made_thumbnail": asset})
        told = tuple(f"{_MADE}: {warning}" for warning in warnings)
        return replace(job, plan=made, warnings=(*job.warnings, *told)), [thumbnail_row(job, made, asset, canvas)]

    async def draw_again(self, job: Job, spec: Thumbnail) -> tuple[Job, Sequence[AuditRecord]]:
        """A finished job with a new thumbnail and its audit row; or with a warning that says why there is none.

        Object key and row are made from the job and from ``spec``, so earlier thumbnails stay.
        """
        assert isinstance(job.plan, VideoPlan), "only clips have thumbnails"
        plan = job.plan.model_copy(update={"thumbnail": spec, "made_thumbnail": None})
        job = replace(job, plan=plan, warnings=tuple(w for w in job.warnings if not w.startswith(_ABOUT)))
        try:
            clip = await self._fetch_stored_clip(job)
        except (RingError, OSError) as exc:  # TimeoutError is one, without a text
            await asyncio.to_thread(self._clean_up, job)
            return _without(job, f"the clip cannot be read ({str(exc) or 'it took too long'})"), ()
        return await self.add(job, clip, f"-{hashlib.sha256(spec.model_dump_json().encode()).hexdigest()[:8]}")

    async def _fetch_stored_clip(self, job: Job) -> MediaFile:
        if not job.assets:
            raise InvalidRequest("no copy of it was kept")
        asset = job.assets[0]
        address = await self._storage.address(asset.url, asset.key)
        async with asyncio.timeout(self._limit_s):
            path = await self._inputs.fetch_stored(address.url, self._path(job, "stored.clip"), _MAX_CLIP_BYTES)
        return MediaFile(
            path=path,
            size_bytes=asset.size_bytes,
            sha256=asset.sha256,
            content_type=asset.content_type,
            extension=path.suffix.removeprefix("."),
            width_px=asset.width_px,
            height_px=asset.height_px,
        )

    async def _make(
        self, job: Job, plan: VideoPlan, spec: Thumbnail, clip: MediaFile, name: str
    ) -> tuple[Asset, str, Sequence[str]]:
        canvas = spec.aspect_ratio or _shape(plan, clip)
        target = self._path(job, "thumbnail.png")
        warnings = await self._draw(job, plan, spec, clip, canvas, target)
        width_px, height_px = CANVASES[canvas]
        size_bytes, sha256 = await asyncio.to_thread(hash_file, target)
        media = MediaFile(
            path=target,
            size_bytes=size_bytes,
            sha256=sha256,
            content_type="image/png",
            extension="png",
            width_px=width_px,
            height_px=height_px,
        )
        folder = f"{self._prefix}/{plan.purpose}"
        key = storage_key(folder, "thumbnails", job.created_at, None, f"{job.id}{name}", media.extension)
        metadata = {"source": THUMBNAIL_SOURCE, "template": spec.template, "purpose": plan.purpose, "jobId": job.id}
        stored = await self._storage.put(key, media, metadata)
        asset = Asset(
            index=0,
            url=stored.url,
            key=stored.key,
            size_bytes=media.size_bytes,
            content_type=media.content_type,
            sha256=media.sha256,
            record_id=str(uuid.uuid5(uuid.UUID(job.id), f"thumbnail{name}")),
            file_id=stored.file_id,
            local_path=stored.local_path,
            width_px=width_px,
            height_px=height_px,
            content_credentials="absent",  # a drawing of ours has none, whatever it was drawn on
        )
        return asset, canvas, warnings

    async def _draw(
        self, job: Job, plan: VideoPlan, spec: Thumbnail, clip: MediaFile, canvas: str, target: Path
    ) -> Sequence[str]:
        """Draw on the first frame that the clip was made from, else on the clip's own first picture. Returns warnings.

        Raises RingError, or _NotMade.
        """
        frame_asset, url = plan.made_frame, plan.image_url
        reasons = []
        if url is not None or frame_asset is not None:
            try:
                if frame_asset is not None:
                    url = (await self._storage.address(frame_asset.url, frame_asset.key)).url
                async with asyncio.timeout(_FETCH_LIMIT_S):
                    frame = await self._inputs.fetch_stored(
                        url or "", self._path(job, "frame.picture"), _MAX_FRAME_BYTES
                    )
                # A caller's file may crash its decoder or keep it busy: results have one of their own.
                decoder = self._decoders.results if frame_asset is not None else self._decoders.given
                made = await decoder.run(_write_thumbnail, spec, frame, canvas, target, self._font)
                if made is not None:
                    return made
                reasons.append("the first frame cannot be decoded")
            except RingError as exc:
                reasons.append(f"the first frame cannot be read ({exc.message})")
            except Undecodable as exc:
                reasons.append(f"the first frame cannot be used ({exc})")
            except OSError as exc:  # TimeoutError is one, without a text
                reasons.append(f"the first frame cannot be read ({exc.strerror or 'it took too long'})")
        if not can_read_clips():
            missing = f"the first picture of a clip needs an extra: {install_line('video')}"
            raise _NotMade("; ".join([*reasons, missing]))
        poster = self._path(job, "frame.jpg")
        try:
            made = await self._decoders.results.run(
                _write_poster_thumbnail, clip.path, poster, spec, canvas, target, self._font
            )
        except Undecodable as exc:
            raise _NotMade("; ".join([*reasons, f"the clip's first picture cannot be used ({exc})"])) from exc
        if made is None:
            raise _NotMade("; ".join([*reasons, "the clip's first picture cannot be decoded"]))
        return [*(f"{reason}: it shows the clip's own" for reason in reasons), *made]

    def _path(self, job: Job, name: str) -> Path:
        return self._spool / f"{job.id}-{name}"

    def _clean_up(self, job: Job) -> None:
        for name in ("thumbnail.png", "frame.picture", "frame.jpg", "stored.clip"):
            with contextlib.suppress(OSError):
                self._path(job, name).unlink()


def _write_thumbnail(
    natives: Natives, spec: Thumbnail, background: Path, canvas: str, target: Path, font: Path | None
) -> Sequence[str] | None:
    return natives.write_thumbnail(spec, background, canvas, target, font=font)


def _write_poster_thumbnail(
    natives: Natives, clip: Path, poster: Path, spec: Thumbnail, canvas: str, target: Path, font: Path | None
) -> Sequence[str] | None:
    if not natives.write_poster(clip, poster):
        return None
    return natives.write_thumbnail(spec, poster, canvas, target, font=font)


def _shape(plan: VideoPlan, clip: MediaFile) -> str:
    """The canvas nearest to the clip's size, as measured or else as requested."""
    if clip.width_px and clip.height_px:
        return nearest_canvas(clip.width_px, clip.height_px)
    width, height = (plan.aspect_ratio or "16:9").split(":")
    return nearest_canvas(float(width), float(height))


def _without(job: Job, reason: str) -> Job:
    return replace(job, warnings=(*job.warnings, f"{_NOT_MADE}: {reason}"))
