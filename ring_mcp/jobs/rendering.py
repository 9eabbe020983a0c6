"""Looking at a job that the provider has accepted. A look costs nothing and may be repeated, by any process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from ring_mcp.clock import Clock
from ring_mcp.domain import Job, JobState, MediaKind
from ring_mcp.errors import ContentRefused, GenerationFailed, JobExpired, ProviderError, RateLimited
from ring_mcp.jobs.outcomes import PARK, Pace, Pause, back_off_s, end_badly
from ring_mcp.jobs.record import JobRecord
from ring_mcp.providers.base import Finished, Providers, Running

NOT_KNOWN_YET_S = 15.0
"""How long a provider may answer 404 for a job that it has just accepted."""

LOOKS_BEFORE_GONE = 4
"""So often in a row a provider whose word on this is not certain has to say that it does not know a job."""


class Rendering:
    def __init__(self, providers: Providers, clock: Clock, pace: Mapping[MediaKind, Pace]) -> None:
        self._providers = providers
        self._clock = clock
        self._pace = pace

    async def look(self, record: JobRecord, driving_since: datetime, tries: int) -> Pause | None:
        """One look. None: go on at once. ``tries``: how many looks in a row have failed so far."""
        job, pace, now = record.job, self._pace[record.job.kind], self._clock.now()
        driven_s = (now - driving_since).total_seconds()
        assert job.provider_request_id is not None, "the table has a CHECK for this"
        pause = Pause(pace.poll_interval_s)
        try:
            answer = await self._providers[job.kind, job.plan.provider].check(job.plan, job.provider_request_id)
        except ContentRefused as exc:
            await record.write(end_badly(job, JobState.REFUSED, exc, now))
            return None
        except GenerationFailed as exc:
            await record.write(end_badly(job, JobState.FAILED, exc, now))
            return None
        except JobExpired as exc:
            if driven_s > NOT_KNOWN_YET_S and (not exc.retryable or tries >= LOOKS_BEFORE_GONE - 1):
                exc.retryable = False  # what it says for good is final, whoever says it
                await record.write(end_badly(job, JobState.EXPIRED, exc, now))
                return None
            pause = Pause(pause.delay_s, failed=exc.retryable)
        except RateLimited as exc:
            pause = Pause(max(exc.retry_after_s or 0.0, back_off_s(tries, pace.poll_interval_s)), failed=True)
        except ProviderError:
            pause = Pause(back_off_s(tries, pace.poll_interval_s), failed=True)
        else:
            if isinstance(answer, Finished):
                await record.write(collect(job, answer, now))
                return None
            await self._note_progress(record, answer)
        return PARK if driven_s >= pace.poll_timeout_s else pause

    async def _note_progress(self, record: JobRecord, answer: Running) -> None:
        """To whoever waits at once, to the row in steps: it is not worth a write for every percent."""
        if answer.progress is not None and answer.progress > record.job.progress:
            await record.note(
                replace(record.job, progress=min(answer.progress, 99)),
                write=answer.progress // 10 > record.saved_progress // 10,
            )


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
