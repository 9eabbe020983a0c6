"""``advance``: one step of a job, from whatever state it is in. May be called any number of times, after any crash.

Between "intent on disk" and "cost settled":

* planned -> submitting is committed before the request leaves; a crash after it leaves a job whose outcome is unknown,
  which is never sent again;
* with a handle (rendering) or outputs (storing) on disk every step may be repeated, by any process;
* a failed look, download or upload is not a failed job: it is tried again, with back-off.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ring_mcp.clock import Clock
from ring_mcp.conductors.homecoming import Homecoming
from ring_mcp.conductors.preparation import Preparation
from ring_mcp.conductors.recording import JobRecord
from ring_mcp.conductors.spending import settled_cost
from ring_mcp.domain import Failure, Job, JobState, MediaKind
from ring_mcp.errors import (
    ContentRefused,
    GenerationFailed,
    JobExpired,
    JobMoved,
    LedgerError,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    RingError,
)
from ring_mcp.ledger.base import Ledger
from ring_mcp.providers.base import Accepted, Finished, Providers, Running

SUBMIT_MARGIN_S = 30.0
"""How long after its own time-out a submit may still be on its way into the ledger."""

_NOT_KNOWN_YET_S = 15.0
"""How long a provider may answer 404 for a job that it has just accepted."""

_LOOKS_BEFORE_GONE = 4
"""So often in a row a provider whose word on this is not certain has to say that it does not know a job."""

_STALE_PLAN_S = 600.0
"""A job that was never submitted is not started after this: whoever asked for it is long gone."""

_NOT_SENT = RingError("the job was planned too long ago to be started now; its request was never sent")


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing to do for ``delay_s``; None: nothing until somebody asks for the job (it is parked).

    ``failed``: the step met an obstacle and will be tried again.
    """

    delay_s: float | None
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long to try. Seconds."""

    submit_timeout_s: float
    poll_interval_s: float
    poll_timeout_s: float


def failure_of(exc: RingError) -> Failure:
    return Failure(
        code=exc.code, message=exc.message, billed=exc.billed, retryable=exc.retryable, next_action=exc.next_action
    )


def ended(job: Job, state: JobState, exc: RingError, now: datetime) -> Job:
    """The job, ended badly, with its cost settled."""
    billed_usd = getattr(exc, "billed_usd", None)
    billed_usd = job.billed_usd if billed_usd is None else billed_usd
    return job.to(
        state,
        failure=failure_of(exc),
        billed_usd=billed_usd,
        settled_usd=settled_cost(job, exc.billed, billed_usd),
        finished_at=now,
        due_at=None,
    )


class Advance:
    """The steps of a job. ``death_is_certain``: a job is only ever taken over from a process that is surely dead."""

    def __init__(
        self,
        providers: Providers,
        homecoming: Homecoming,
        preparation: Preparation,
        clock: Clock,
        pace: Mapping[MediaKind, Pace],
        *,
        death_is_certain: bool,
    ) -> None:
        self._providers = providers
        self._homecoming = homecoming
        self._preparation = preparation
        self._clock = clock
        self._pace = pace
        self._death_is_certain = death_is_certain

    async def step(self, record: JobRecord, driving_since: datetime, tries: int) -> Pause | None:
        """Take the next step; None means "go on at once". ``tries``: how many steps in a row have failed so far.

        Raises JobMoved if another process has the job.
        """
        match record.job.state:
            case JobState.PLANNED:
                return await self._submit(record)
            case JobState.SUBMITTING:
                return await self._give_up_orphan(record)
            case JobState.RENDERING:
                return await self._look(record, driving_since, tries)
            case JobState.STORING:
                pause_s = await self._homecoming.bring_home(record, tries)
                return None if record.job.is_settled else Pause(pause_s, failed=True)
            case _:
                return None

    async def tidy_up(self, ledger: Ledger) -> None:
        """Remove files of jobs that have ended, left by a process that died before it could."""
        await self._homecoming.tidy_up(ledger)

    async def _submit(self, record: JobRecord) -> Pause | None:
        """The one paid step. What follows the POST is written down even if this task is being cancelled."""
        kind, plan = record.job.kind, record.job.plan
        provider, pace = self._providers[kind, plan.provider], self._pace[kind]
        if self._is_stale(record.job):
            await self._end_unsent(record)
            return None
        inputs = await self._preparation.prepare(record, as_bytes=not provider.fetches_inputs)
        if inputs is None:
            return None if record.job.is_settled else Pause(None)
        if self._is_stale(record.job):
            await self._end_unsent(record)
            return None
        if not await self._may_submit(record, pace):
            return None
        if self._is_too_late(record.job):
            await self._end_unsent(record)
            return None
        try:
            spool = self._homecoming.spool / record.job.id
            answer = await provider.submit(plan, inputs, spool=spool, deadline_s=pace.submit_timeout_s)
        except ProviderError as exc:
            await record.write(self._not_submitted(record.job, exc))
        except asyncio.CancelledError:
            cut = OutcomeUnknown("the server was stopped while the request was under way; it may have been billed")
            await record.write(record.job.to(JobState.UNKNOWN, failure=failure_of(cut), due_at=None))
            raise
        else:
            await record.write(self._submitted(record.job, answer))
        return None

    async def _end_unsent(self, record: JobRecord) -> None:
        await record.write(ended(record.job, JobState.FAILED, _NOT_SENT, self._clock.now()))

    def _is_stale(self, job: Job) -> bool:
        """Nobody waits for the plan any more. Looked at before a first frame is made as well: it costs money, too."""
        return (self._clock.now() - job.created_at).total_seconds() > _STALE_PLAN_S

    def _is_too_late(self, job: Job) -> bool:
        """The process slept between intent and request: somebody else may have given the attempt up meanwhile."""
        assert job.submit_deadline_at is not None, "the table has a CHECK for this"
        return self._clock.now() >= job.submit_deadline_at

    async def _may_submit(self, record: JobRecord, pace: Pace) -> bool:
        """Put the intent on disk. Without it nothing is sent."""
        job, now = record.job, self._clock.now()
        intent = job.to(
            JobState.SUBMITTING,
            attempt_token=uuid.uuid4().hex,
            submit_deadline_at=now + timedelta(seconds=pace.submit_timeout_s + SUBMIT_MARGIN_S),
        )
        try:
            await record.write(intent, must=True)
        except JobMoved:
            raise
        except LedgerError as exc:
            await record.write(ended(job, JobState.FAILED, exc, now))
            return False
        return True

    def _submitted(self, job: Job, answer: Accepted | Finished) -> Job:
        now = self._clock.now()
        if isinstance(answer, Accepted):
            return job.to(JobState.RENDERING, provider_request_id=answer.provider_request_id, due_at=now)
        return self._made(job, answer)

    def _made(self, job: Job, answer: Finished) -> Job:
        return job.to(
            JobState.STORING,
            outputs=answer.outputs,
            billed_usd=answer.billed_usd,
            served_model=answer.served_model,
            warnings=(*job.warnings, *answer.warnings),
            failure=None,
            progress=max(job.progress, 90),
            due_at=self._clock.now(),
        )

    def _not_submitted(self, job: Job, exc: ProviderError) -> Job:
        if isinstance(exc, OutcomeUnknown | ProviderUnavailable) and exc.billed == "unknown":
            unknown = OutcomeUnknown(exc.message, provider=exc.provider, http_status=exc.http_status)
            return job.to(JobState.UNKNOWN, failure=failure_of(unknown), due_at=None)
        state = JobState.REFUSED if isinstance(exc, ContentRefused) else JobState.FAILED
        return ended(job, state, exc, self._clock.now())

    async def _give_up_orphan(self, record: JobRecord) -> Pause | None:
        """Somebody else's submit without an answer on record: unknown, once nobody can write that answer any more."""
        job = record.job
        assert job.submit_deadline_at is not None, "the table has a CHECK for this"
        left_s = (job.submit_deadline_at - self._clock.now()).total_seconds()
        if left_s > 0 and not self._death_is_certain:
            return Pause(left_s)
        lost = OutcomeUnknown("the server died while the request was under way; it may have been made and billed")
        await record.write(job.to(JobState.UNKNOWN, failure=failure_of(lost), due_at=None))
        return None

    async def _look(self, record: JobRecord, driving_since: datetime, tries: int) -> Pause | None:
        job, pace, now = record.job, self._pace[record.job.kind], self._clock.now()
        driven_s = (now - driving_since).total_seconds()
        assert job.provider_request_id is not None, "the table has a CHECK for this"
        pause = Pause(pace.poll_interval_s)
        try:
            answer = await self._providers[job.kind, job.plan.provider].check(job.plan, job.provider_request_id)
        except ContentRefused as exc:
            await record.write(ended(job, JobState.REFUSED, exc, now))
            return None
        except GenerationFailed as exc:
            await record.write(ended(job, JobState.FAILED, exc, now))
            return None
        except JobExpired as exc:
            if driven_s > _NOT_KNOWN_YET_S and (not exc.retryable or tries >= _LOOKS_BEFORE_GONE - 1):
                exc.retryable = False  # what it says for good is final, whoever says it
                await record.write(ended(job, JobState.EXPIRED, exc, now))
                return None
            pause = Pause(pause.delay_s, failed=exc.retryable)
        except RateLimited as exc:
            pause = Pause(max(exc.retry_after_s or 0.0, backoff_s(tries, pace.poll_interval_s)), failed=True)
        except ProviderError:
            pause = Pause(backoff_s(tries, pace.poll_interval_s), failed=True)
        else:
            if isinstance(answer, Finished):
                await record.write(self._made(job, answer))
                return None
            await self._note_progress(record, answer)
        return Pause(None) if driven_s >= pace.poll_timeout_s else pause

    async def _note_progress(self, record: JobRecord, answer: Running) -> None:
        """To whoever waits at once, to the row in steps: it is not worth a write for every percent."""
        if answer.progress is not None and answer.progress > record.job.progress:
            await record.note(
                replace(record.job, progress=min(answer.progress, 99)),
                write=answer.progress // 10 > record.saved_progress // 10,
            )


def backoff_s(tries: int, first_s: float, limit_s: float = 60.0) -> float:
    """``first_s``, doubled with every try, up to ``limit_s``."""
    return float(min(limit_s, first_s * 2 ** min(tries, 16)))
