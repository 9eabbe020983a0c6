"""The last steps of every job: from the provider's temporary address to storage, ledger and preview.

Outputs are fetched, measured, stored and recorded one by one, in order; what is stored stays stored. Object keys and
audit rows are made from the job's id, so that a repeated upload or write changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ring_mcp.clock import Clock
from ring_mcp.domain import Asset, AuditRecord, Failure, ImagePlan, Job, VideoPlan
from ring_mcp.errors import (
    JobExpired,
    LocalPolicy,
    MediaGone,
    ProviderBadReply,
    ProviderError,
    ProviderUnavailable,
    StorageError,
    StorageRefused,
    StorageUnclear,
)
from ring_mcp.files import sync_file
from ring_mcp.jobs.completion import complete
from ring_mcp.jobs.endings import Ending
from ring_mcp.jobs.events import step_of
from ring_mcp.jobs.fetching import Fetching, OnlyCopyGone, waits_for_storage
from ring_mcp.jobs.outcomes import Park, Pause, age_s, back_off_s, end_job, note_trouble, slow_look_s
from ring_mcp.jobs.previews import PreviewMaker
from ring_mcp.jobs.record import JobRecord
from ring_mcp.jobs.rendering import LOOKS_BEFORE_GONE, is_gone, pause_after_gone_s, with_fresh_addresses
from ring_mcp.jobs.sharing import Sharing
from ring_mcp.jobs.sidecars import Sidecars, upload_metadata
from ring_mcp.jobs.thumbnails import Thumbnails
from ring_mcp.ledger.audit import asset_row
from ring_mcp.media.decoding import Decoder
from ring_mcp.providers.base import Finished, Providers
from ring_mcp.storage.base import Storage
from ring_mcp.storage.keys import storage_key

MEDIA_GONE_AFTER_S = 48 * 3600.0
"""After how long an output counts as lost whose address serves nothing while the provider still calls the job done.
Longer than any provider keeps a result, which is a day or two."""

LET_GO_AFTER_S = 600.0
"""A result that could not be fetched or stored for so long is retried slowly from then on."""

NOTHING_IS_LOST_FOR_S = 60.0
"""After a start: a disk may come later than the server."""

FRAME_WITHIN_S = 10.0  # how long a result waits for the picture that its thumbnail is drawn on
PREVIEW_WITHIN_S = 30.0  # how long after its result a preview may still be made


class Storing:
    """``spool``: the folder of files in progress. ``previews`` makes one small picture for each finished job.
    ``sharing`` fetches pictures that callers gave to other machines, for thumbnails."""

    def __init__(
        self,
        providers: Providers,
        storage: Storage,
        clock: Clock,
        decoder: Decoder,
        *,
        spool: Path,
        sharing: Sharing,
        previews: PreviewMaker,
        thumbnails: Thumbnails,
        sidecars: Sidecars | None = None,
    ) -> None:
        self._fetching = Fetching(providers, decoder, spool, sharing)
        self._sharing = sharing
        self._providers = providers
        self._storage = storage
        self._clock = clock
        self._began_s = clock.monotonic()
        self._decoder = decoder
        self._previews = previews
        self._thumbnails = thumbnails
        self._sidecars = sidecars

    def warm(self) -> None:
        """Start the decoder while the provider still makes the output."""
        self._decoder.warm()

    async def store(self, record: JobRecord, tries: int) -> Pause | Park | None:
        """Take every output as far as it gets. Returns None if the job has ended, else the pause before the next try.

        A job is parked if retrying cannot help until a person has changed something.
        """
        try:
            return await self._store(record, tries)
        finally:  # even if the process ends just after the last write
            if record.job.is_settled:
                await self.leave(record)
            else:
                self._previews.drop(record.job.id)

    async def _store(self, record: JobRecord, tries: int) -> Pause | Park | None:
        if isinstance(record.job.plan, VideoPlan) and not record.job.plan.persist:
            await record.write(self._finish(record.job))
            return None
        trouble: ProviderError | None = None
        gone: list[int] = []
        for index in self._find_missing(record.job):
            try:
                await self._store_one(record, index)
            except OnlyCopyGone as exc:
                gone.append(index)
                trouble = trouble or exc
            except ProviderError as exc:  # the other outputs may be fetched all the same
                trouble = trouble or exc
            except StorageError as exc:  # the other outputs would meet the same error
                return await self._rest(record, exc, tries)
        if isinstance(trouble, OnlyCopyGone):
            return await self._lose_copies(record, trouble, gone, tries)
        if isinstance(trouble, MediaGone):
            return await self._look_again(record, trouble, tries)
        if trouble is not None:
            return await self._rest(record, trouble, tries)
        if not record.job.is_settled:
            await record.write(self._finish(record.job))
        return None

    async def _rest(self, record: JobRecord, exc: ProviderError | StorageError, tries: int) -> Pause | Park:
        """Note the failure and retry: soon, or slowly if somebody has to change something first."""
        # Whatever the error says of billing: the result is made and paid for.
        before = record.job.failure
        trouble = note_trouble(record.job, exc, record.now).model_copy(update={"billed": "yes"})
        if before is not None and before.code == ProviderBadReply.code and isinstance(exc, ProviderUnavailable):
            # What was cut off is counted, whatever breaks in between.
            trouble = before.model_copy(update={"message": trouble.message})
        if isinstance(exc, StorageUnclear):
            return Park(trouble, None)
        lasts_s = age_s(trouble, record.now)
        if isinstance(exc, StorageRefused | LocalPolicy) or lasts_s > LET_GO_AFTER_S:
            return Park(trouble, slow_look_s(lasts_s))
        is_news = before is None or (before.code, before.message) != (trouble.code, trouble.message)
        await record.note(replace(record.job, failure=trouble), write=is_news)
        return Pause(back_off_s(tries, 0.5), failed=True)

    async def _look_again(self, record: JobRecord, gone: MediaGone, tries: int) -> Pause | Park | None:
        """An address serves nothing: the provider may give a fresh one, or say that it has no such job any more.

        It is asked only when that happens again: most dead addresses come back in a moment.
        """
        job, now = record.job, record.now
        trouble = note_trouble(job, gone, now)
        if job.provider_request_id is None or job.failure is None:
            return await self._give_up_or_rest(record, gone, trouble, tries)
        try:
            answer = await self._providers[job.kind, job.plan.provider].check(job.plan, job.provider_request_id)
        except JobExpired as exc:
            denied = note_trouble(job, exc, now)
            if is_gone(denied, now):
                return await self._lose_missing(record, exc.message, tries)
            await record.write(replace(job, failure=denied))
            return Pause(pause_after_gone_s(denied.seen, 5.0), failed=True)
        except ProviderError as exc:
            return await self._rest(record, exc, tries)
        if isinstance(answer, Finished) and (fresh := with_fresh_addresses(job, answer)) != job.outputs:
            await record.write(replace(job, outputs=fresh))
        return await self._give_up_or_rest(record, gone, trouble, tries)

    async def _give_up_or_rest(
        self, record: JobRecord, gone: MediaGone, trouble: Failure, tries: int
    ) -> Pause | Park | None:
        if age_s(trouble, record.now) >= MEDIA_GONE_AFTER_S and trouble.seen >= LOOKS_BEFORE_GONE:
            return await self._lose_missing(record, gone.message, tries)
        return await self._rest(record, gone, tries)

    async def _lose_copies(
        self, record: JobRecord, trouble: OnlyCopyGone, gone: Sequence[int], tries: int
    ) -> Pause | Park | None:
        """Give up outputs whose only copies are gone, ten minutes after they were first missed and not soon after a
        start: somebody may be restoring the folder, or the disk is mounted late."""
        lasts_s = age_s(note_trouble(record.job, trouble, record.now), record.now)
        is_up = self._clock.monotonic() - self._began_s >= NOTHING_IS_LOST_FOR_S
        if is_up and list(gone) == self._find_missing(record.job) and lasts_s >= LET_GO_AFTER_S:
            return await self._lose_missing(record, trouble.message, tries)
        return await self._rest(record, trouble, tries)

    async def _lose_missing(self, record: JobRecord, reason: str, tries: int) -> Pause | Park | None:
        """Give up what is not stored. What was fetched of it before, and refused, is better than nothing."""
        for index in self._find_missing(record.job):
            try:
                if self._fetching.take_refused(record.job, index):
                    await self._store_one(record, index, is_last=True)
            except StorageError as exc:
                return await self._rest(record, exc, tries)
        if record.job.is_settled:
            return None
        missing = self._find_missing(record.job)
        outputs = [
            output.model_copy(update={"lost_because": reason}) if index in missing else output
            for index, output in enumerate(record.job.outputs)
        ]
        await record.write(self._finish(replace(record.job, outputs=tuple(outputs))))
        return None

    def _find_missing(self, job: Job) -> list[int]:
        stored = {asset.index for asset in job.assets}
        return [i for i, output in enumerate(job.outputs) if i not in stored and output.lost_because is None]

    async def _store_one(self, record: JobRecord, index: int, *, is_last: bool = False) -> None:
        is_whole = self._find_missing(record.job) == [index]
        beside = partial(self._begin_preview, record.job) if is_whole else None
        media = await self._fetching.fetch(record.job, index, is_last=is_last, beside=beside)
        job = record.job
        if media.doubt is not None:
            job = replace(job, warnings=(*job.warnings, f"output {index + 1} of {len(job.outputs)}: {media.doubt}"))
        key = _key(job, index, media.extension)
        with step_of("store", job):
            try:
                stored = await self._storage.put(key, media, upload_metadata(job))
            except StorageError:
                # The row will say that it was taken: a loss of power must not cut it after that.
                await asyncio.to_thread(sync_file, media.path)
                raise
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
            content_credentials=media.content_credentials,
        )
        if self._sidecars is not None:
            asset, warnings = await self._sidecars.keep(job, asset)
            job = replace(job, warnings=(*job.warnings, *warnings))
        # A trouble of the storage is over, and says nothing of the files that come next.
        failure = None if waits_for_storage(job) else job.failure
        after = replace(job, assets=(*job.assets, asset), failure=failure)
        records: Sequence[AuditRecord] = ()
        if not self._find_missing(after):
            await self._bring_frame(after)
            after, records = await self._thumbnails.add(after, media)
            after = self._finish(after)
        await record.write(after, [asset_row(after, asset), *records])

    def _begin_preview(self, job: Job) -> None:
        """Of all outputs, once they lie in the spool: an answer that shows it waits for it, and the result does not."""
        there = [self._fetching.path_of(job, i) for i, output in enumerate(job.outputs) if output.lost_because is None]
        self._previews.begin(job, there)

    async def _bring_frame(self, job: Job) -> None:
        """Fetch the picture that the thumbnail is drawn on, if a caller gave it to another machine. If that fails, the
        clip's own first picture is used."""
        if isinstance(job.plan, VideoPlan) and job.plan.thumbnail is not None:
            with contextlib.suppress(StorageError, TimeoutError):
                async with asyncio.timeout(FRAME_WITHIN_S):
                    await self._sharing.bring_inputs(job)

    def _finish(self, job: Job) -> Job:
        """The job, ended: done if anything was stored or no copy was wanted, else expired; its cost is settled."""
        now = self._clock.now()
        lost = [
            f"output {i + 1} of {len(job.outputs)} is lost: {output.lost_because}"
            for i, output in enumerate(job.outputs)
            if output.lost_because is not None
        ]
        if job.assets or not lost:
            return replace(end_job(job, Ending.STORED, now), warnings=(*job.warnings, *lost), progress=100)
        failure = Failure(code="expired", message="; ".join(lost), billed="yes", next_action=JobExpired.next_action)
        return end_job(job, Ending.OUTPUTS_LOST, now, failure=failure)

    async def leave(self, record: JobRecord) -> None:
        """Wait for the preview, then remove the job's files; not while the ledger lacks its end, since the next process
        may need them."""
        try:
            await complete(self._previews.wait(record.job.id, PREVIEW_WITHIN_S))
        finally:
            if not record.is_behind:
                await complete(asyncio.to_thread(self._fetching.remove_files, record.job))


def _key(job: Job, index: int, extension: str) -> str:
    """A storage key as Ring has them, made from the job, so that a repeated upload has the same one."""
    plan = job.plan
    if isinstance(plan, ImagePlan):
        return storage_key(plan.storage_prefix, plan.purpose, job.created_at, index, job.id, extension)
    folder = f"{plan.storage_prefix}/{plan.purpose}/{plan.quality_mode}"
    return storage_key(folder, plan.generation_kind, job.created_at, None, job.id, extension)
