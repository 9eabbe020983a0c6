"""The last leg of every job: from the provider's temporary address to storage, ledger and preview.

Each output is fetched, measured, stored and recorded by itself, in order; what is stored stays stored. Object keys and
audit rows are made from the job's id, so that a repeated upload or write changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ring_mcp.clock import Clock
from ring_mcp.domain import (
    Asset,
    AuditRecord,
    Failure,
    ImagePlan,
    Job,
    JobState,
    MediaFile,
    Output,
    VideoPlan,
)
from ring_mcp.errors import JobExpired, ProviderBadReply, ProviderError, StorageError, StorageRefused
from ring_mcp.jobs.outcomes import PARK, Pause, back_off_s, end_job
from ring_mcp.jobs.record import JobRecord
from ring_mcp.jobs.sidecars import Sidecars
from ring_mcp.jobs.thumbnails import Thumbnails
from ring_mcp.ledger.audit import asset_row
from ring_mcp.media.clip import write_poster
from ring_mcp.media.identify import hash_file, identify
from ring_mcp.media.preview import make_preview
from ring_mcp.providers.base import Providers
from ring_mcp.storage.base import Storage
from ring_mcp.storage.keys import storage_key

logger = logging.getLogger(__name__)

_TRIES_BEFORE_LOST = 6
"""A file that is gone or unusable this often in a row (15 s) is lost; until then it may have been a passing fault."""

_GONE_FOR_GOOD = 410


class Storing:
    """``spool`` holds files under way, ``previews`` one small picture per finished job."""

    def __init__(
        self,
        providers: Providers,
        storage: Storage,
        clock: Clock,
        *,
        spool: Path,
        previews: Path | None,
        thumbnails: Thumbnails,
        sidecars: Sidecars | None = None,
    ) -> None:
        self._spool = spool
        self._providers = providers
        self._storage = storage
        self._clock = clock
        self._previews = previews
        self._thumbnails = thumbnails
        self._sidecars = sidecars

    async def store(self, record: JobRecord, tries: int) -> Pause | None:
        """Take every output as far as it gets. None: the job has ended; otherwise the pause before the next try.

        A job is parked when trying again cannot help until a person has changed something.
        """
        if isinstance(record.job.plan, VideoPlan) and not record.job.plan.persist:
            await record.write(self._finish(record.job))
            return None
        try:
            for index in self._missing(record.job):
                await self._store_one(record, index, tries)
            if not record.job.is_settled:
                await record.write(self._finish(record.job))
        except (ProviderError, StorageError) as exc:
            failure = Failure(
                code=exc.code, message=exc.message, billed="yes", retryable=exc.retryable, next_action=exc.next_action
            )
            if failure != record.job.failure:
                await record.write(replace(record.job, failure=failure))
            return PARK if isinstance(exc, StorageRefused) else Pause(back_off_s(tries, 0.5), failed=True)
        await asyncio.to_thread(self._clean_up, record.job)
        return None

    def _missing(self, job: Job) -> list[int]:
        stored = {asset.index for asset in job.assets}
        return [i for i, output in enumerate(job.outputs) if i not in stored and output.lost_because is None]

    async def _store_one(self, record: JobRecord, index: int, tries: int) -> None:
        try:
            media = await self._fetch(record.job, index)
        except (JobExpired, ProviderBadReply) as exc:
            if tries + 1 < _TRIES_BEFORE_LOST and exc.http_status != _GONE_FOR_GOOD:
                raise
            outputs = list(record.job.outputs)
            outputs[index] = outputs[index].model_copy(update={"lost_because": exc.message})
            await record.write(replace(record.job, outputs=tuple(outputs)))
            return
        job = record.job
        key = _key(job, index, media.extension)
        stored = await self._storage.put(key, media, self._metadata(job))
        asset = Asset(
            index=index,
            url=stored.url,
            key=stored.key,
            size_bytes=media.size_bytes,
            content_type=media.content_type,
            sha256=media.sha256,
            record_id=str(uuid.uuid5(uuid.UUID(job.id), str(index))),
            file_id=stored.file_id,
            local_path=stored.local_path,
            width_px=media.width_px,
            height_px=media.height_px,
            duration_s=media.duration_s,
        )
        if self._sidecars is not None:
            asset, warnings = await self._sidecars.keep(job, asset)
            job = replace(job, warnings=(*job.warnings, *warnings))
        after = replace(job, assets=(*job.assets, asset))
        records: Sequence[AuditRecord] = ()
        if not self._missing(after):
            await self._keep_preview(after)
            after, records = await self._thumbnails.add(after, media)
            after = self._finish(after)
        await record.write(after, [asset_row(after, asset), *records])

    def _metadata(self, job: Job) -> dict[str, str]:
        facts = {"source": job.plan.provider, "model": job.plan.model, "purpose": job.plan.purpose, "jobId": job.id}
        return {name: value for name, value in facts.items() if value}

    async def _fetch(self, job: Job, index: int) -> MediaFile:
        """The output as a measured file in the spool; a file that lies there completely is not fetched again."""
        path, output = self._path(job, index), job.outputs[index]
        expected = job.kind
        if await asyncio.to_thread(path.exists):
            size_bytes, sha256 = await asyncio.to_thread(hash_file, path)
        else:
            size_bytes, sha256 = await self._download(job, output, path)
        try:
            return await asyncio.to_thread(identify, path, size_bytes=size_bytes, sha256=sha256, expected=expected)
        except ProviderBadReply:
            path.unlink(missing_ok=True)  # what came was not the picture: ask again
            raise

    async def _download(self, job: Job, output: Output, path: Path) -> tuple[int, str]:
        if output.spool_path is not None:
            raise JobExpired("the result came inside the provider's answer and its file is gone", billed="yes")
        part = path.with_suffix(".part")
        try:
            self._spool.mkdir(parents=True, exist_ok=True, mode=0o700)  # the job may have begun on another machine
            done = await self._providers[job.kind, job.plan.provider].download(output, part)
            part.replace(path)
        except OSError as exc:
            raise StorageError(f"the spool folder {self._spool} cannot be written: {exc.strerror}") from exc
        return done.size_bytes, done.sha256

    def _path(self, job: Job, index: int) -> Path:
        spool_path = job.outputs[index].spool_path
        return Path(spool_path) if spool_path else self._spool / f"{job.id}-{index}.media"

    def _finish(self, job: Job) -> Job:
        """The job, ended: done if anything was stored or no copy was wanted. The cost is settled either way."""
        now = self._clock.now()
        lost = [
            f"output {i + 1} of {len(job.outputs)} is lost: {output.lost_because}"
            for i, output in enumerate(job.outputs)
            if output.lost_because is not None
        ]
        if job.assets or not lost:
            return replace(end_job(job, JobState.DONE, now), warnings=(*job.warnings, *lost), progress=100)
        failure = Failure(code="expired", message="; ".join(lost), billed="yes", next_action=JobExpired.next_action)
        return end_job(job, JobState.EXPIRED, now, failure=failure)

    async def _keep_preview(self, job: Job) -> None:
        """A preview is a courtesy: whatever goes wrong with it is logged and nothing else."""
        if self._previews is None:
            return
        paths = [self._path(job, i) for i, output in enumerate(job.outputs) if output.lost_because is None]
        try:
            await asyncio.to_thread(_write_preview, job, paths, self._previews / f"{job.id}.jpg")
        except OSError as exc:
            logger.warning("job %s: no preview: %s", job.id, exc.strerror)

    def _clean_up(self, job: Job) -> None:
        for index in range(len(job.outputs)):
            with contextlib.suppress(OSError):
                self._path(job, index).unlink(missing_ok=True)


def _key(job: Job, index: int, extension: str) -> str:
    """Ring's storage keys: made from the job, so that a repeated upload has the same one."""
    plan = job.plan
    if isinstance(plan, ImagePlan):
        return storage_key(plan.storage_prefix, plan.purpose, job.created_at, index, job.id, extension)
    folder = f"{plan.storage_prefix}/{plan.purpose}/{plan.quality_mode}"
    return storage_key(folder, plan.generation_kind, job.created_at, None, job.id, extension)


def _write_preview(job: Job, paths: list[Path], preview: Path) -> None:
    preview.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    poster = preview.with_suffix(".poster")
    try:
        if job.kind == "video":
            paths = [poster] if write_poster(paths[0], poster) else []
        content = make_preview(paths) if paths else None
        if content is not None:
            preview.write_bytes(content)
    finally:
        poster.unlink(missing_ok=True)
