"""What an answer makes of a job; also one that comes after the job was called unknown, or settled by hand."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from ring_mcp.clock import Clock
from ring_mcp.domain import Job, JobState
from ring_mcp.errors import ContentRefused, JobMoved, OutcomeUnknown, ProviderUnavailable
from ring_mcp.jobs.answers import Answer, Answers
from ring_mcp.jobs.endings import Ending
from ring_mcp.jobs.outcomes import come_late, end_badly, lose_track
from ring_mcp.jobs.rendering import collect
from ring_mcp.jobs.sharing import Sharing
from ring_mcp.ledger.base import Ledger
from ring_mcp.providers.base import Accepted, Finished


class LateAnswers:
    """``answers``: those that lie on this machine; ``sharing`` knows those of the others."""

    def __init__(self, answers: Answers, sharing: Sharing, clock: Clock) -> None:
        self._answers = answers
        self._sharing = sharing
        self._clock = clock

    async def apply_own(self, ledger: Ledger) -> None:
        """Bring home what couriers of dead processes of this machine were answered. Raises LedgerError."""
        for job_id in await asyncio.to_thread(self._answers.job_ids):
            job = await ledger.get(job_id)
            if job is None or job.state in (JobState.SUBMITTING, JobState.STORING):
                continue  # whoever drives it looks for the answer, and forgets it when all of it is stored
            answer = await asyncio.to_thread(self._answers.read, job_id, job.attempt_token)
            job = await self._apply(ledger, job, answer)
            if job.state is not JobState.STORING:
                await asyncio.to_thread(self._answers.forget, job_id)

    async def apply_shared(self, ledger: Ledger, job_id: str) -> JobState | None:
        """Bring home an answer to this job that another machine has shared; where the job stands then.

        Raises LedgerError and StorageError.
        """
        job = await ledger.get(job_id)
        if job is not None and _may_be_answered(job):
            job = await self._apply(ledger, job, await self._sharing.read_answer(job_id, job.attempt_token))
        return None if job is None else job.state

    async def _apply(self, ledger: Ledger, job: Job, answer: Answer | None) -> Job:
        if answer is not None and _may_be_answered(job):
            with contextlib.suppress(JobMoved):  # somebody wrote it just now, or the answer says nothing either
                now = self._clock.now()
                late = replace(judge(job.reopen(), answer, self._clock), owner=None, updated_at=now)
                if job.is_answered_by(late):
                    return await ledger.save(job, come_late(job, late))
        return job


def judge(job: Job, answer: Answer, clock: Clock) -> Job:
    """The job after the answer to its request."""
    now = clock.now()
    if isinstance(answer, Accepted):
        return job.to(JobState.RENDERING, provider_request_id=answer.provider_request_id, failure=None, due_at=now)
    if isinstance(answer, Finished):
        return collect(job, answer, now)
    if isinstance(answer, OutcomeUnknown | ProviderUnavailable) and answer.billed == "unknown":
        return lose_track(job, OutcomeUnknown(answer.message, provider=answer.provider, http_status=answer.http_status))
    ending = Ending.MODERATED if isinstance(answer, ContentRefused) else Ending.REQUEST_REFUSED
    return end_badly(job, ending, answer, now)


def _may_be_answered(job: Job) -> bool:
    return job.state is JobState.UNKNOWN or job.is_resolved_by_hand
