"""Polling the provider for a job that it has accepted. A poll (a "look") is free, and any process may repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from ring_mcp.clock import Clock
from ring_mcp.domain import Failure, Job, JobState, MediaKind, Output
from ring_mcp.errors import (
    ContentRefused,
    GenerationFailed,
    GenerationTimeout,
    JobExpired,
    ProviderBadReply,
    ProviderError,
    RateLimited,
)
from ring_mcp.jobs.endings import Ending
from ring_mcp.jobs.events import step_of
from ring_mcp.jobs.outcomes import (
    Pace,
    Park,
    Pause,
    age_s,
    back_off_s,
    end_badly,
    failure_of,
    note_trouble,
    slow_look_s,
)
from ring_mcp.jobs.rates import ProviderRates
from ring_mcp.jobs.record import JobRecord
from ring_mcp.providers.base import Finished, Providers, Running
from ring_mcp.providers.vendors import title_of

GONE_AFTER_S = 2 * 3600.0
LOOKS_BEFORE_GONE = 14
"""A job is given up when the provider has denied it in its own words at least so many times in a row, over at least
``GONE_AFTER_S``. The pauses between these looks add up to that time by themselves, even if the clock is set."""

TRIES_BEFORE_TAKEN = 6
"""How often a file that is no proper picture or clip is fetched again; then it is handed out as it is."""

TRIES_BEFORE_CUT_IS_TAKEN = 12
"""A clip that was cut off is more often the fault of what lies between than of its provider, which serves it whole when
that is mended. The pauses between so many tries add up to six minutes."""

MAX_PAUSE_S = 60.0
_MAX_GONE_PAUSE_S = 1200.0
LATE_BY = 0.25
"""A result that comes soon is found late by at most this part of the time that it took."""

_TOLD_AFTER = 3
"""The failure is written to the row after so many failed looks in a row; fewer are not worth a write."""


class Rendering:
    """``rates`` is told of each look that is refused with 429."""

    def __init__(
        self,
        providers: Providers,
        clock: Clock,
        pace: Mapping[MediaKind, Pace],
        rates: ProviderRates,
    ) -> None:
        self._providers = providers
        self._rates = rates
        self._clock = clock
        self._pace = pace

    async def look(self, record: JobRecord, driving_since: datetime, tries: int) -> Pause | Park | None:
        """Poll once. Returns None to go on at once. ``tries``: how many looks in a row have failed so far."""
        job, now = record.job, self._clock.now()
        assert job.provider_request_id is not None, "the table has a CHECK for this"
        is_late = self._is_late(record, driving_since)
        # Taken out before it is awaited: one that failed must not be awaited again.
        begun, record.first_look = record.first_look, None
        try:
            provider = self._providers[job.kind, job.plan.provider]
            with step_of("poll", job):
                answer = await (begun or provider.check(job.plan, job.provider_request_id))
        except (ContentRefused, GenerationFailed) as exc:
            ending = Ending.MODERATED if isinstance(exc, ContentRefused) else Ending.GENERATION_FAILED
            await record.write(end_badly(job, ending, exc, now))
            return None
        except JobExpired as exc:
            return await self._suspect_gone(record, exc)
        except ProviderError as exc:
            return await self._rest(record, exc, tries, is_late=is_late)
        if isinstance(answer, Finished):
            # With the handle on disk, this answer can be had again, so the next write may be that of the stored result.
            # Otherwise the answer is written first.
            await record.note(collect(job, answer, now), write=not record.has_saved_handle)
            return None
        await self._note_progress(record, answer)
        if is_late:
            return Park(self._explain_late(record.job), slow_look_s(self.count_age_s(record)))
        return Pause(pause_between_looks_s(self._pace[job.kind], self.count_age_s(record)))

    def count_age_s(self, record: JobRecord) -> float:
        """How many seconds ago the job's request was sent, whichever process sent it."""
        # Not before it was opened: a process with other time-outs may have sent it.
        sent_at = max(record.job.created_at, self._pace[record.job.kind].find_sent_at(record.job))
        return max(0.0, (record.now - sent_at).total_seconds())

    def _is_late(self, record: JobRecord, driving_since: datetime) -> bool:
        """From when it was sent on: before that it may have stood in line for longer than it may take."""
        pace = self._pace[record.job.kind]
        since = max(driving_since, pace.find_sent_at(record.job))
        return (record.now - since).total_seconds() >= pace.poll_timeout_s

    async def _rest(self, record: JobRecord, exc: ProviderError, tries: int, *, is_late: bool) -> Pause | Park:
        """The provider could not be asked, or its answer says nothing about the job: look again later."""
        job = record.job
        if isinstance(exc, RateLimited):
            await self._rates.note_refusal(job, "look", exc)
        trouble = note_trouble(job, exc, record.now)
        if is_late:
            return Park(trouble, slow_look_s(self.count_age_s(record)))
        # Written once, with the third: an outage of the provider must not write every row at every look.
        await record.note(replace(job, failure=trouble), write=trouble.seen == _TOLD_AFTER)
        own_s = back_off_s(tries, self._pace[job.kind].poll_interval_s, MAX_PAUSE_S)
        asked_s = exc.retry_after_s if isinstance(exc, RateLimited) else None
        return Pause(min(MAX_PAUSE_S, max(asked_s or own_s, own_s)), failed=True)

    async def _suspect_gone(self, record: JobRecord, exc: JobExpired) -> Pause | None:
        """The provider says that it has no such job, which is believed once it has said so often enough."""
        trouble = note_trouble(record.job, exc, record.now)
        if is_gone(trouble, record.now):
            exc.retryable = False  # said often enough, it is final
            await record.write(end_badly(record.job, Ending.JOB_GONE, exc, self._clock.now()))
            return None
        await record.write(replace(record.job, failure=trouble))
        return Pause(pause_after_gone_s(trouble.seen, self._pace[record.job.kind].poll_interval_s), failed=True)

    def _explain_late(self, job: Job) -> Failure:
        late = f"{job.kind.capitalize()} generation timed out after {self._pace[job.kind].poll_timeout_s * 1000:.0f}ms"
        kept = f"the job is kept ({title_of(job.plan.provider)} request {job.provider_request_id})"
        return failure_of(GenerationTimeout(f"{late}; {kept} and looked at slowly"), job.id)

    async def _note_progress(self, record: JobRecord, answer: Running) -> None:
        """Tell progress to waiting callers at once, and to the row in steps of ten percent."""
        job, has_recovered = record.job, record.job.failure is not None
        if answer.progress is not None and answer.progress > job.progress:
            is_worth_it = answer.progress // 10 > record.saved_progress // 10
            # 100 is kept for when the result is stored: to a caller it means that the result is there.
            job = replace(job, progress=min(answer.progress, 99), failure=None)
            await record.note(job, write=is_worth_it or has_recovered)
        elif has_recovered:
            await record.write(replace(job, failure=None))


def pause_between_looks_s(pace: Pace, age_s: float) -> float:
    """How long a job that was sent so long ago rests between two looks at it."""
    first_s = pace.poll_interval_s if pace.first_pause_s is None else pace.first_pause_s
    return min(pace.poll_interval_s, max(first_s, age_s * LATE_BY))


def is_gone(trouble: Failure, now: datetime) -> bool:
    """Whether a provider's "no such job" has been said often enough, and for long enough."""
    return trouble.seen >= LOOKS_BEFORE_GONE and age_s(trouble, now) >= GONE_AFTER_S


def pause_after_gone_s(seen: int, first_s: float) -> float:
    """The pause before the next look at a job that its provider denies. The last of them are the longest."""
    return back_off_s(seen - 1, max(5.0, first_s), _MAX_GONE_PAUSE_S)


def collect(job: Job, answer: Finished, now: datetime) -> Job:
    """The job with what the provider has made for it, ready to be stored."""
    return job.to(
        JobState.STORING,
        outputs=answer.outputs,
        billed_usd=answer.billed_usd,
        served_model=answer.served_model,
        warnings=(*job.warnings, *answer.warnings),
        failure=None,
        progress=max(job.progress, 90),
        due_at=now,
    )


def with_fresh_addresses(job: Job, answer: Finished) -> tuple[Output, ...]:
    """The job's outputs, with the newest addresses of those that are not stored yet."""
    # If their number differs, they cannot be matched any more: keep the old ones.
    if len(answer.outputs) != len(job.outputs):
        return job.outputs
    stored = {asset.index for asset in job.assets}
    pairs = enumerate(zip(job.outputs, answer.outputs, strict=True))
    return tuple(old if index in stored or new.url is None else new for index, (old, new) in pairs)


def came_often(job: Job, tries: int = TRIES_BEFORE_TAKEN) -> bool:
    """Whether the file was refused as no proper media so often that nothing better will come."""
    trouble = job.failure
    return trouble is not None and trouble.code == ProviderBadReply.code and trouble.seen >= tries
