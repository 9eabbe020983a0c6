"""An output as a measured file in the spool: fetched from its provider, or from wherever its only copy lies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from ring_mcp.domain import Job, MediaFile, MediaKind, Output, VideoPlan
from ring_mcp.errors import LocalPolicy, MediaGone, ProviderBadReply, StorageError, StorageRefused, StorageUnclear
from ring_mcp.files import PART
from ring_mcp.jobs.answers import Answers
from ring_mcp.jobs.events import step_of
from ring_mcp.jobs.rendering import TRIES_BEFORE_CUT_IS_TAKEN, came_often
from ring_mcp.jobs.shared_names import output_name
from ring_mcp.jobs.sharing import Sharing
from ring_mcp.media.credentials import look_for_credentials
from ring_mcp.media.decoding import Decoder
from ring_mcp.media.identify import ELSEWHERE, hash_file, identify_result, looks_like, may_be_media
from ring_mcp.media.natives import Natives
from ring_mcp.providers.base import Providers
from ring_mcp.storage.base import SPOOL, spool_trouble

_REFUSED = ".refused"
_MOST_PARTS = 16
"""Downloads of one output that were cut off by a kill, or are under way in several processes."""


SHORT_BELOW = Decimal("0.8")
"""A clip that has less than this part of the length that was asked for may have been cut off."""


class OnlyCopyGone(MediaGone):
    """What came inside an answer is not there any more, says the machine that got it. Nobody else may say so."""

    next_action = "Restore the spool folder of the machine that made the request; then call ring-job-get."


class Fetching:
    """``spool`` holds files under way; ``sharing`` knows those of other machines."""

    def __init__(self, providers: Providers, decoder: Decoder, spool: Path, sharing: Sharing) -> None:
        self._providers = providers
        self._decoder = decoder
        self._spool, self._answers = spool, Answers(spool)
        self._sharing = sharing

    def path_of(self, job: Job, index: int) -> Path:
        """Where it lies, or will lie, in the spool of this machine."""
        spool_path = job.outputs[index].spool_path
        return self._spool / (output_name(spool_path) if spool_path else f"{job.id}-{index}.media")

    async def fetch(
        self, job: Job, index: int, *, is_last: bool = False, beside: Callable[[], None] | None = None
    ) -> MediaFile:
        """The output as a measured file in the spool; a file that lies there completely is not fetched again.

        What is not as it should be is asked for again, where it can be, and in the end taken as it is. ``is_last``:
        nothing else will come. ``beside`` is called when the file lies there, and the decoder has been told to measure
        it. Raises ProviderError or StorageError.
        """
        try:
            return await self._fetch(job, index, is_last, beside)
        except OSError as exc:  # also where another process, which has the job by now, has tidied up
            raise spool_trouble(exc) from exc

    def take_refused(self, job: Job, index: int) -> bool:
        """Put the best of what was refused of an output where ``fetch`` finds it. False: there is none. Raises
        StorageError: it may lie there."""
        path = self.path_of(job, index)
        try:
            path.with_suffix(_REFUSED).replace(path)
        except FileNotFoundError:
            return False
        except OSError as exc:
            raise spool_trouble(exc) from exc
        return True

    async def _fetch(
        self, job: Job, index: int, is_last: bool, beside: Callable[[], None] | None, is_taken: bool = False
    ) -> MediaFile:
        path, output = self.path_of(job, index), job.outputs[index]
        only_copy = output.spool_path is not None
        if only_copy or path.exists():
            is_taken = is_taken or is_last or waits_for_storage(job)
            await self._bring(job, path)
            size_bytes, sha256 = await asyncio.to_thread(hash_file, path)
        else:
            size_bytes, sha256 = await self._download(job, output, path)

        def look(natives: Natives) -> MediaFile:
            media = identify_result(
                path,
                natives,
                size_bytes=size_bytes,
                sha256=sha256,
                expected=job.kind,
                anyway=is_taken or came_often(job),
                even_cut=is_taken or came_often(job, TRIES_BEFORE_CUT_IS_TAKEN),
                only_copy=only_copy,
                is_last=is_last,
            )
            # Here, where it is a few reads: in a thread of its own each of them would wait for all other threads.
            return replace(media, content_credentials=look_for_credentials(path, media.content_type))

        try:
            looking = asyncio.create_task(self._decoder.run(look))
            if beside is not None:
                # After the order to look, and before its answer: the decoder goes on without a pause.
                asyncio.get_running_loop().call_soon(beside)
            media = await looking
            short = _doubt_length(job, media)
            if short is not None and not (only_copy or is_taken or came_often(job)):
                raise ProviderBadReply(short)
            # Nothing better will come; but more of it may have come before.
            if (
                (short or media.doubt)
                and came_often(job)
                and _has_better_aside(path, job.kind)
                and self.take_refused(job, index)
            ):
                return await self._fetch(job, index, is_last, beside, is_taken=True)
            if short is None or media.doubt is not None:
                return media
            return replace(media, doubt=short if is_last else f"{short}: if it ends early, {ELSEWHERE}")
        except ProviderBadReply:
            if not only_copy:  # what was fetched was not the result: ask again
                _set_aside(path, job.kind)
            raise

    async def _bring(self, job: Job, path: Path) -> None:
        if await self._sharing.bring(path.name, path):
            return
        if await asyncio.to_thread(self._answers.holds, job.id, job.attempt_token):
            raise OnlyCopyGone(_GONE)
        raise LocalPolicy(_NOT_HERE, next_action=_BRING_BACK)

    async def _download(self, job: Job, output: Output, path: Path) -> tuple[int, str]:
        try:
            self._spool.mkdir(parents=True, exist_ok=True, mode=0o700)  # the job may have begun on another machine
            part = _reserve_part(path)
            try:
                with step_of("download", job):
                    done = await self._providers[job.kind, job.plan.provider].download(output, part)
                # Only what is complete has the name by which a restart takes it for fetched.
                part.replace(path)
            finally:
                with contextlib.suppress(OSError):
                    part.unlink()
        except OSError as exc:
            raise StorageError(f"{SPOOL}folder {self._spool} cannot be written: {exc.strerror}") from exc
        return done.size_bytes, done.sha256

    def remove_files(self, job: Job) -> None:
        """Whatever of the job lies in the spool. Blocking."""
        for index in range(len(job.outputs)):
            path = self.path_of(job, index)
            for each in (path, path.with_suffix(_REFUSED), *_name_parts(path)):
                with contextlib.suppress(OSError):
                    each.unlink()
        self._answers.forget(job.id)


def waits_for_storage(job: Job) -> bool:
    """Whether what lies in the spool was taken before, and could not be stored: its address may serve nothing by now,
    and the tries that it was taken after are not counted any more. After a trouble of the spool's own it was perhaps
    never judged."""
    trouble = job.failure
    return trouble is not None and trouble.code in _OF_STORAGE and not trouble.message.startswith(SPOOL)


def _doubt_length(job: Job, media: MediaFile) -> str | None:
    """What is odd about a new clip's length: of a file in pieces, a cut between two of them shows nowhere else."""
    plan, length_s = job.plan, media.duration_s
    if not isinstance(plan, VideoPlan) or plan.generation_kind != "generate" or length_s is None:
        return None
    if length_s >= SHORT_BELOW * plan.duration_s:
        return None
    return f"the clip lasts {length_s:.1f} s, and {plan.duration_s} s were asked for"


def _set_aside(path: Path, kind: MediaKind) -> None:
    """Keep the best of what was refused: its address may serve nothing any more before it serves the whole."""
    with contextlib.suppress(FileNotFoundError):
        if may_be_media(path) and not _has_better_aside(path, kind):
            path.replace(path.with_suffix(_REFUSED))
        else:
            path.unlink()


def _has_better_aside(path: Path, kind: MediaKind) -> bool:
    """The longest is the best, but of bytes that are something else even a short clip is better."""
    aside = path.with_suffix(_REFUSED)
    return aside.exists() and _rank(aside, kind) > _rank(path, kind)


def _rank(path: Path, kind: MediaKind) -> tuple[bool, int]:
    return looks_like(path, kind), path.stat().st_size


def _name_parts(path: Path) -> Iterator[Path]:
    """What downloads of this output may be written to. By number, so that nobody has to list the spool for them."""
    return (path.with_suffix(f".{number}{PART}") for number in range(_MOST_PARTS))


def _reserve_part(path: Path) -> Path:
    """An empty file that no other download writes to: one that was only paused may still write, for a job that another
    process has by now. Raises OSError."""
    for part in _name_parts(path):
        with contextlib.suppress(FileExistsError):
            part.touch(mode=0o600, exist_ok=False)
            break
    return part  # of so many, the last has most likely been killed as well


_OF_STORAGE = (StorageError.code, StorageRefused.code, StorageUnclear.code)
_NOT_HERE = (
    "the result came inside the provider's answer, and its file is not in the spool of this machine, nor shared by "
    "another"
)
_BRING_BACK = (
    "Start ring-mcp on the machine that made the request, or restore its state folder; then call ring-job-get."
)
_GONE = "the result came inside the provider's answer, and its file is gone from the spool of the machine that got it"
