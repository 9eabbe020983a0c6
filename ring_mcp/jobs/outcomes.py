"""How a job ends, and what a step returns: the one place where a cost is settled and an ending is made."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from ring_mcp.domain import DRIVEN, Failure, Job, JobState
from ring_mcp.errors import Billed, InvalidRequest, LedgerError, OutcomeUnknown, RingError
from ring_mcp.jobs.endings import Ending
from ring_mcp.providers.base import MOST_PAUSES_S

logger = logging.getLogger(__name__)

SUBMIT_MARGIN_S = 30.0
"""How long after its own time-out a submit may still be on its way into the ledger."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing to do for ``delay_s`` seconds. ``failed``: the step failed and will be retried.

    ``until``: the id of a job whose next change ends the pause early.
    """

    delay_s: float
    failed: bool = False
    until: str | None = None


@dataclass(frozen=True, slots=True)
class Park:
    """The job is left without a driver. ``failure`` says why, and how to go on.

    It is taken up again after ``look_again_s`` seconds, by any process that may; None: only when a caller asks for it.
    """

    failure: Failure
    look_again_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long to wait for a provider, and how often to poll it. Seconds.

    ``first_pause_s``: the pause between the first polls of a job, which grows with its age up to the interval. None:
    the interval from the beginning.
    """

    submit_timeout_s: float
    poll_interval_s: float
    poll_timeout_s: float
    first_pause_s: float | None = None

    @property
    def submit_limit_s(self) -> float:
        """How long after it was begun a submit may come to its end, and its end into the ledger."""
        return self.submit_timeout_s + MOST_PAUSES_S + SUBMIT_MARGIN_S

    def find_sent_at(self, job: Job) -> datetime:
        """When the job's request was sent, as its row tells any process; before that it may have stood in line."""
        assert job.submit_deadline_at is not None, "the table has a CHECK for this"
        return job.submit_deadline_at - timedelta(seconds=self.submit_limit_s)


def back_off_s(tries: int, first_s: float, limit_s: float = 60.0) -> float:
    """``first_s``, doubled with every try, up to ``limit_s``."""
    # The exponent has a bound of its own: after a thousand tries the power would be too large for a float.
    return float(min(limit_s, first_s * 2 ** min(tries, 16)))


def slow_look_s(age_s: float) -> float:
    """How long a parked job rests: a tenth of its trouble's age, from a minute to six hours."""
    return min(21_600.0, max(60.0, age_s / 10))


def note_trouble(job: Job, exc: RingError, now: datetime) -> Failure:
    """The failure that a step of the job met. If it is the one of before, it keeps its start and is counted."""
    failure, before = failure_of(exc, job.id, sandbox=job.sandbox), job.failure
    if before is not None and before.code == failure.code:
        return failure.model_copy(update={"since": before.since or now, "seen": before.seen + 1})
    return failure.model_copy(update={"since": now})


def failure_of(exc: RingError, job_id: str, *, sandbox: bool = False) -> Failure:
    """The error as the row of ``job_id`` keeps it, with the id in the command of its advice."""
    advice = exc.next_action.replace(" JOB ", f" {name_typed(job_id, sandbox=sandbox)} ")
    return Failure(code=exc.code, message=exc.message, billed=exc.billed, retryable=exc.retryable, next_action=advice)


def name_typed(job_id: str, *, sandbox: bool) -> str:
    """A job in a command that settles it: without the switch the sandbox's own ledger is not looked at."""
    return f"{job_id} --sandbox" if sandbox else job_id


@contextlib.contextmanager
def name_open_job(job_id: str, *, stands: bool = True) -> Iterator[None]:
    """Name an existing job in a LedgerError raised inside: it does not mean that nothing was started, since others may
    carry the job on and pay for it. ``stands``: whether it is known that there is such a job."""
    said = f"Job {job_id} exists and goes on." if stands else f"If there is a job {job_id}, it goes on."
    try:
        yield
    except LedgerError as exc:
        exc.billed, exc.job_id = "unknown", job_id
        exc.next_action = f"{said} Make the ledger reachable (see ring-health), then call ring-job-get."
        raise


def settle_cost(job: Job, billed: Billed, billed_usd: Decimal | None) -> Decimal:
    """What counts against the caps from now on: the provider's own figure, else the list price that was reserved; 0
    only if it is certain that nothing was billed."""
    if billed_usd is not None:
        return billed_usd
    return Decimal(0) if billed == "no" else job.reserved_usd


def end_job(
    job: Job,
    ending: Ending,
    now: datetime,
    *,
    failure: Failure | None = None,
    billed: Billed | None = None,
    billed_usd: Decimal | None = None,
) -> Job:
    """The job in a terminal state, its cost settled. ``failure`` says why it ended badly; None: it did not.

    ``billed`` is about this job alone, where its failure is about a whole call. Raises JobMoved if the state machine
    has no such arrow.
    """
    word: Billed = billed or (failure.billed if failure is not None else "yes")
    # A figure that the provider gave earlier stands, even if a later step fails.
    billed_usd = job.billed_usd if billed_usd is None else billed_usd
    return job.to(
        ending.state,
        failure=failure,
        billed_usd=billed_usd,
        settled_usd=settle_cost(job, word, billed_usd),
        finished_at=now,
        due_at=None,
    )


def end_badly(job: Job, ending: Ending, exc: RingError, now: datetime) -> Job:
    """The job, ended with ``exc`` as its failure."""
    failure = failure_of(exc, job.id, sandbox=job.sandbox)
    return end_job(job, ending, now, failure=failure, billed_usd=getattr(exc, "billed_usd", None))


def lose_track(job: Job, exc: OutcomeUnknown) -> Job:
    """The job as one whose outcome only a late answer or a person can tell. It keeps its reservation."""
    return job.to(JobState.UNKNOWN, failure=failure_of(exc, job.id, sandbox=job.sandbox), due_at=None)


def resolve_by_hand(job: Job, *, paid: bool, now: datetime) -> Job:
    """An unknown job, settled by a person who has looked at the provider's console.

    Raises InvalidRequest for any other job. An answer that comes later still counts, see ``Job.is_answered_by``.
    """
    if job.state is not JobState.UNKNOWN:
        hint = "it is still under way" if job.state in DRIVEN else "it is settled already"
        raise InvalidRequest(f"job {job.id} is {job.state}: {hint}")
    message = f"outcome unknown; resolved by hand as {'paid' if paid else 'not paid'}"
    # The code stays: it tells that a late answer still counts (``Job.is_resolved_by_hand``).
    failure = Failure(code=OutcomeUnknown.code, message=message, billed="yes" if paid else "no")
    return replace(end_job(job, Ending.RESOLVED_BY_HAND, now, failure=failure), updated_at=now)


def come_late(stored: Job, after: Job) -> Job:
    """``after``, the job with its late answer; with a warning in it and in the log if a person had settled the job, or
    somebody had ended it who could not know that it was sent."""
    if stored.failure is None or not (stored.is_resolved_by_hand or stored.has_ended_unsent):
        return after
    settled = "a person had settled this job" if stored.is_resolved_by_hand else "this job had ended as never sent"
    counted = f"the provider answered after {settled} ({stored.failure.message}): the answer counts"
    logger.warning("job %s: %s; it is %s, request %s", after.id, counted, after.state, after.provider_request_id)
    return replace(after, warnings=(*after.warnings, counted))


def park(job: Job, pause: Park, now: datetime) -> Job:
    """The job without a driver."""
    due_at = None if pause.look_again_s is None else now + timedelta(seconds=pause.look_again_s)
    return replace(job, owner=None, due_at=due_at, failure=pause.failure)


def age_s(failure: Failure, now: datetime) -> float:
    """For how many seconds this trouble has lasted."""
    return (now - failure.since).total_seconds() if failure.since is not None else 0.0
