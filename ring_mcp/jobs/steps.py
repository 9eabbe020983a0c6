"""``advance``: one step of a job, from whatever state it is in. May be called any number of times, after any crash.

Between "intent on disk" and "cost settled":

* planned -> submitting is committed before the request leaves (``submitting``); a crash after it leaves a job whose
  outcome is unknown, which is never sent again;
* with a handle (``rendering``) or outputs (``storing``) on disk every step may be repeated, by any process;
* a failed poll, download or upload is not a failed job: it is retried, with back-off.
"""

from __future__ import annotations

from datetime import datetime

from ring_mcp.domain import JobState
from ring_mcp.jobs.late_answers import LateAnswers
from ring_mcp.jobs.outcomes import Park, Pause
from ring_mcp.jobs.rates import Place
from ring_mcp.jobs.record import JobRecord
from ring_mcp.jobs.rendering import Rendering
from ring_mcp.jobs.sharing import Sharing
from ring_mcp.jobs.storing import Storing
from ring_mcp.jobs.submitting import Submitting
from ring_mcp.ledger.base import Ledger


class Steps:
    """Takes the step that a job's state asks for."""

    def __init__(
        self, submitting: Submitting, rendering: Rendering, storing: Storing, late: LateAnswers, sharing: Sharing
    ) -> None:
        self._submitting = submitting
        self._rendering = rendering
        self._storing = storing
        self._late = late
        self._sharing = sharing

    async def apply_late_answers(self, ledger: Ledger) -> None:
        """Apply the answers that couriers of dead processes got. Raises LedgerError."""
        await self._late.apply_own(ledger)

    async def apply_shared_answer(self, ledger: Ledger, job_id: str) -> JobState | None:
        """Apply an answer that another machine has shared to a job that was settled as unknown.

        Returns the job's state then; None if there is no such job. Raises LedgerError and StorageError.
        """
        return await self._late.apply_shared(ledger, job_id)

    def count_age_s(self, record: JobRecord) -> float:
        """How many seconds ago the job's request was sent, whichever process sent it."""
        return self._rendering.count_age_s(record)

    async def leave(self, record: JobRecord) -> None:
        """Remove the files of a job that has ended, in the spool and shared, once the ledger knows of its end. Not of
        an unknown one: its answer may have come meanwhile."""
        if record.job.is_terminal:
            await self._storing.leave(record)
        self._forget_shared(record)

    async def advance(
        self, record: JobRecord, driving_since: datetime, tries: int, place: Place | None = None
    ) -> Pause | Park | None:
        """Take the next step. Returns None to go on at once. ``tries``: how many steps in a row have failed so far.

        ``place``: the job's place in the line for paid requests; without one its request leaves at once.

        Raises JobMoved if another process has the job.
        """
        try:
            return await self._advance(record, driving_since, tries, place)
        finally:  # even if the process ends just after the last write
            self._forget_shared(record)

    def _forget_shared(self, record: JobRecord) -> None:
        """Remove shared files of a terminal job. Not of an unknown one, which may still be answered, and not while the
        ledger lacks the end, since other machines still need them."""
        if record.job.is_terminal and not record.is_behind:
            self._sharing.forget(record.job)

    async def _advance(
        self, record: JobRecord, driving_since: datetime, tries: int, place: Place | None
    ) -> Pause | Park | None:
        match record.job.state:
            case JobState.PLANNED:
                self._storing.warm()
                pause = await self._late.look_before_sending(record)
                if pause is not None or record.job.state is not JobState.PLANNED:
                    return pause
                return await self._submitting.submit(record, place, tries)
            case JobState.SUBMITTING:
                return await self._submitting.give_up_orphan(record)
            case JobState.RENDERING:
                return await self._rendering.look(record, driving_since, tries)
            case JobState.STORING:
                return await self._storing.store(record, tries)
            case _:
                return None
