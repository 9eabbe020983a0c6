"""The one paid request of a job: from the intent on disk to the answer on disk.

* The intent is committed before the request leaves. Without it nothing is sent.
* A process that dies or is stopped in between leaves a job whose outcome is unknown, which is never sent again.
* What follows the request is written down even if this task is being cancelled.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from ring_mcp.clock import Clock
from ring_mcp.domain import Job, JobState, MediaKind
from ring_mcp.errors import (
    ContentRefused,
    JobMoved,
    LedgerError,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RingError,
)
from ring_mcp.jobs.outcomes import Pace, Pause, end_badly, lose_track
from ring_mcp.jobs.preparing import Preparing
from ring_mcp.jobs.record import JobRecord
from ring_mcp.jobs.rendering import collect
from ring_mcp.providers.base import MOST_PAUSES_S, Accepted, Finished, Providers

SUBMIT_MARGIN_S = 30.0
"""How long after its own time-out a submit may still be on its way into the ledger."""

STALE_PLAN_S = 600.0
"""A job that was never submitted is not started after this: whoever asked for it is long gone."""

_NOT_SENT = RingError("the job was planned too long ago to be started now; its request was never sent")


class Submitting:
    """``spool``: where pictures go that come inside an answer. ``death_is_certain``: a job is only ever taken over
    from a process that is surely dead, so that nobody can write the answer of its request any more."""

    def __init__(
        self,
        providers: Providers,
        preparing: Preparing,
        clock: Clock,
        pace: Mapping[MediaKind, Pace],
        *,
        spool: Path,
        death_is_certain: bool,
    ) -> None:
        self._providers = providers
        self._preparing = preparing
        self._clock = clock
        self._pace = pace
        self._spool = spool
        self._death_is_certain = death_is_certain

    async def submit(self, record: JobRecord) -> Pause | None:
        """Prepare, write the intent, send, write the answer. None: go on at once."""
        kind, plan = record.job.kind, record.job.plan
        provider, pace = self._providers[kind, plan.provider], self._pace[kind]
        if self._is_stale(record.job):  # looked at before a first frame is waited for, too
            await self._end_unsent(record)
            return None
        inputs = await self._preparing.prepare(record, as_bytes=not provider.fetches_inputs)
        if isinstance(inputs, Pause):
            return None if record.job.is_settled else inputs
        if self._is_stale(record.job):
            await self._end_unsent(record)
            return None
        if not await self._write_intent(record, pace):
            return None
        if self._is_too_late(record.job):
            await self._end_unsent(record)
            return None
        try:
            answer = await provider.submit(
                record.job.plan, inputs, spool=self._spool / record.job.id, deadline_s=pace.submit_timeout_s
            )
        except ProviderError as exc:
            await record.write(self._judge_refusal(record.job, exc))
        except asyncio.CancelledError:
            cut = OutcomeUnknown("the server was stopped while the request was under way; it may have been billed")
            await record.write(lose_track(record.job, cut))
            raise
        else:
            await record.write(self._accept(record.job, answer))
        return None

    async def give_up_orphan(self, record: JobRecord) -> Pause | None:
        """Somebody else's submit without an answer on record: unknown, once nobody can write that answer any more."""
        job = record.job
        assert job.submit_deadline_at is not None, "the table has a CHECK for this"
        left_s = (job.submit_deadline_at - self._clock.now()).total_seconds()
        if left_s > 0 and not self._death_is_certain:
            return Pause(left_s)
        lost = OutcomeUnknown("the server died while the request was under way; it may have been made and billed")
        await record.write(lose_track(job, lost))
        return None

    async def _end_unsent(self, record: JobRecord) -> None:
        await record.write(end_badly(record.job, JobState.FAILED, _NOT_SENT, self._clock.now()))

    def _is_stale(self, job: Job) -> bool:
        return (self._clock.now() - job.created_at).total_seconds() > STALE_PLAN_S

    def _is_too_late(self, job: Job) -> bool:
        """The process slept between intent and request: somebody else may have given the attempt up meanwhile."""
        assert job.submit_deadline_at is not None, "the table has a CHECK for this"
        return self._clock.now() >= job.submit_deadline_at

    async def _write_intent(self, record: JobRecord, pace: Pace) -> bool:
        job, now = record.job, self._clock.now()
        intent = job.to(
            JobState.SUBMITTING,
            attempt_token=uuid.uuid4().hex,
            submit_deadline_at=now + timedelta(seconds=pace.submit_timeout_s + MOST_PAUSES_S + SUBMIT_MARGIN_S),
        )
        try:
            await record.write(intent, must=True)
        except JobMoved:
            raise
        except LedgerError as exc:
            await record.write(end_badly(job, JobState.FAILED, exc, now))
            return False
        return True

    def _accept(self, job: Job, answer: Accepted | Finished) -> Job:
        now = self._clock.now()
        if isinstance(answer, Accepted):
            return job.to(JobState.RENDERING, provider_request_id=answer.provider_request_id, due_at=now)
        return collect(job, answer, now)

    def _judge_refusal(self, job: Job, exc: ProviderError) -> Job:
        if isinstance(exc, OutcomeUnknown | ProviderUnavailable) and exc.billed == "unknown":
            return lose_track(job, OutcomeUnknown(exc.message, provider=exc.provider, http_status=exc.http_status))
        state = JobState.REFUSED if isinstance(exc, ContentRefused) else JobState.FAILED
        return end_badly(job, state, exc, self._clock.now())
