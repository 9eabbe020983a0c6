"""Upkeep of the files that machines share: shared again after an outage, and removed when nobody needs them any more.

A file is removed when the ledger says that its job has ended. Files of unknown jobs are not removed by age alone, given
pictures apart: a bucket may serve several ledgers, so they may be another ledger's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path

from ring_mcp.clock import Clock
from ring_mcp.domain import TERMINAL, JobState
from ring_mcp.errors import LedgerError, StorageError
from ring_mcp.jobs.answers import Answers
from ring_mcp.jobs.shared_names import is_answer, is_input, job_of
from ring_mcp.jobs.sharing import Sharing
from ring_mcp.ledger.base import Ledger
from ring_mcp.storage.base import SharedFile, SharedFiles

logger = logging.getLogger(__name__)

LAY_DOWN_EVERY_S = 60.0
SWEEP_EVERY_S = 3600.0
INPUTS_ARE_OLD_AFTER_S = 24 * 3600.0
"""No request is made from a plan that is older, so no job of any ledger needs a picture that was given earlier."""

_JOBS_AT_ONCE = 500

ApplyShared = Callable[[Ledger, str], Awaitable[JobState | None]]
"""Applies a shared answer that came late to its job; returns the job's state then, None if there is no such job."""


class SharedUpkeep:
    """``files``: the store that ``sharing`` uses. ``answers``: those of this machine. ``is_driven(job_id)``: whether
    the job is being driven here."""

    def __init__(
        self,
        files: SharedFiles,
        sharing: Sharing,
        answers: Answers,
        ledger: Ledger,
        apply_shared: ApplyShared,
        is_driven: Callable[[str], bool],
        clock: Clock,
    ) -> None:
        self._files = files
        self._sharing = sharing
        self._answers = answers
        self._ledger = ledger
        self._apply_shared = apply_shared
        self._is_driven = is_driven
        self._clock = clock

    async def run(self) -> None:
        """Do the upkeep every minute until cancelled. What fails is done in the next round."""
        swept_at: float | None = None
        while True:
            try:
                await self.look_after_own()
                if swept_at is None or self._clock.monotonic() - swept_at >= SWEEP_EVERY_S:
                    await self.sweep()
                    swept_at = self._clock.monotonic()
            except (LedgerError, StorageError) as exc:
                logger.info("shared files are looked after later: %s", exc.message)
            except Exception:  # an internal error leaves files longer, and must not end the upkeep
                logger.exception("internal error, shared files are looked after later")
            await self._clock.sleep(LAY_DOWN_EVERY_S)

    async def look_after_own(self) -> None:
        """Share the inputs and answers of open jobs that only this machine has, because the storage was away when they
        came; and remove those of jobs that another machine has ended. Raises LedgerError and StorageError.
        """
        await self._look_after_owed()
        job_ids = await asyncio.to_thread(self._answers.job_ids)
        page: Sequence[SharedFile] = ()
        for start in range(0, len(job_ids), _JOBS_AT_ONCE):
            states = await self._ledger.states(job_ids[start : start + _JOBS_AT_ONCE])
            for job_id, state in states.items():
                if state in TERMINAL:
                    await self._remove_own(job_id)
                    continue
                # Until the answer is written, or is in the row, a picture may be half written.
                if state is not JobState.STORING and not self._answers.has(job_id):
                    continue
                # In the order of the names, of which one page has those of many jobs; "." comes after "-".
                if not page or page[-1].name < f"{job_id}.":
                    page = await self._files.list_files(after=job_id)
                there = [file.name for file in page if file.name.startswith(job_id)]
                await self._sharing.lay_down_answer(job_id, there=there)

    async def _look_after_owed(self) -> None:
        owed = await asyncio.to_thread(self._sharing.list_owed)
        states = await self._ledger.states(owed) if owed else {}
        for job_id, paths in owed.items():
            # One that the ledger does not have is about to be opened, or never was: a start removes it when it is old.
            if states.get(job_id) in TERMINAL:
                await asyncio.to_thread(_remove_files, paths.values())
            elif job_id in states:
                await self._sharing.lay_down_owed(job_id, paths)
                if any(path.exists() for path in paths.values()):
                    return  # the storage is away, or very slow: the next time

    async def _remove_own(self, job_id: str) -> None:
        job = None if self._is_driven(job_id) else await self._ledger.get(job_id)
        if job is None or not job.is_terminal:
            return
        # Where a person settled it, or nobody knew that it was sent, this may be the late answer, which the next start
        # applies; and that to another attempt it sets aside.
        try:
            is_of_another = self._answers.has(job_id) and not self._answers.holds(job_id, job.attempt_token)
        except OSError:  # it cannot be read now, and must not keep the others from being shared
            return
        if not (job.is_resolved_by_hand or job.has_ended_unsent or is_of_another):
            await asyncio.to_thread(self._answers.remove, job_id)

    async def sweep(self) -> None:
        """Remove what is shared of jobs that have ended. Raises LedgerError and StorageError."""
        after: str | None = ""
        of_jobs: dict[str, list[SharedFile]] = {}
        while after is not None:
            page = await self._files.list_files(after)
            for file in page:
                if (job_id := job_of(file.name)) is not None:
                    of_jobs.setdefault(job_id, []).append(file)
            after = page[-1].name if page else None
            # The rest of its files may be on the next page: without its answer, its pictures would look unneeded.
            last = {job_id: of_jobs.pop(job_id) for job_id in [*of_jobs][-1:]} if page else {}
            states = await self._ledger.states(of_jobs)
            for job_id, files in of_jobs.items():
                await self._files.remove(await self._list_unneeded(job_id, states.get(job_id), files))
            of_jobs = last

    async def _list_unneeded(self, job_id: str, state: JobState | None, files: Sequence[SharedFile]) -> list[str]:
        if state is None:
            oldest = self._clock.now() - timedelta(seconds=INPUTS_ARE_OLD_AFTER_S)
            return [file.name for file in files if is_input(file.name) and file.laid_at < oldest]
        if any(is_answer(file.name) for file in files) and (state in TERMINAL or state is JobState.UNKNOWN):
            # A person may have settled the job before this answer was shared: the answer counts, and is applied first.
            state = await self._apply_shared(self._ledger, job_id)
        return [file.name for file in files] if state in TERMINAL else []


def _remove_files(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
