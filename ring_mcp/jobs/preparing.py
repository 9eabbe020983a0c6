"""What a job needs before its paid request: the still that a clip begins with, and inputs that the provider can read.

The still is a job of its own, opened in the transaction that opened the clip. The clip waits for it in the ledger.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from ring_mcp.clock import Clock
from ring_mcp.domain import Failure, Job, JobState, VideoPlan
from ring_mcp.errors import (
    FirstFrameFailed,
    InvalidRequest,
    JobMoved,
    LedgerError,
    OutcomeUnknown,
    ProviderUnavailable,
    RingError,
    StorageError,
)
from ring_mcp.jobs.accounts import Accounts, describe_needed_account
from ring_mcp.jobs.endings import Ending
from ring_mcp.jobs.inputs import MediaInputs
from ring_mcp.jobs.outcomes import Park, Pause, end_job, name_typed
from ring_mcp.jobs.record import JobRecord
from ring_mcp.jobs.sharing import Sharing
from ring_mcp.jobs.watch import JobWatch
from ring_mcp.providers.base import Inputs

LOOK_AGAIN_S = 60.0
"""How often a parked clip checks for what it waits for, until it is too old to be started."""

LOOK_AT_STILL_S = 1.0
"""How often the ledger is asked for a still that another process makes; one made here wakes its clip at once."""


def find_awaited_still(job: Job) -> str | None:
    """The job of the still that a clip waits for; None if it waits for none."""
    plan = job.plan
    if job.state is not JobState.PLANNED or not isinstance(plan, VideoPlan) or plan.made_frame is not None:
        return None
    return plan.frame_job_id


class Preparing:
    """``watch`` knows what a still that is made here waits for, also what no row can be told."""

    def __init__(
        self, inputs: MediaInputs, sharing: Sharing, watch: JobWatch, accounts: Accounts, clock: Clock
    ) -> None:
        self._inputs = inputs
        self._sharing = sharing
        self._watch = watch
        self._accounts = accounts
        self._clock = clock

    async def prepare(self, record: JobRecord, *, as_bytes: bool) -> Inputs | Pause | Park | None:
        """The inputs of the request; with ``as_bytes``, for a provider that reads no addresses.

        If an input is missing: how long to wait for it, or None if it is missing for good; then the job has ended,
        unbilled. Raises LedgerError while the state of the still is not known.
        """
        plan = record.job.plan
        if isinstance(plan, VideoPlan) and plan.first_frame is not None and plan.made_frame is None:
            pause = await self._fetch_still(record, plan)
            if pause is not None or record.job.is_settled:
                return pause
        try:
            await self._sharing.bring_inputs(record.job)
            return await self._inputs.for_provider(record.job.plan, as_bytes=as_bytes)
        except StorageError as exc:  # the disk of this machine, or another machine's files
            return Park(not_readable_now(exc.message), LOOK_AGAIN_S)
        except InvalidRequest as exc:
            # A network that is down comes back, too. An address whose file is gone raises another error.
            is_away = isinstance(exc.__cause__, StorageError) and exc.__cause__.retryable
            if is_away or isinstance(exc.__cause__, ProviderUnavailable):
                return Park(not_readable_now(exc.message), LOOK_AGAIN_S)
            await record.write(self._end_unsent(record.job, Ending.INPUT_MISSING, exc, billed="no"))
            return None

    async def _fetch_still(self, record: JobRecord, plan: VideoPlan) -> Pause | Park | None:
        """Put the finished still into the clip's plan. Returns None if it is there now, or if the job has ended."""
        still = await self._watch.read(plan.frame_job_id or "")
        is_stranded = still is not None and await self._accounts.is_stranded(still)
        if still is not None and not still.is_terminal:
            return await self._wait_for(still, record, is_stranded=is_stranded)
        if still is None:  # planned by an older version, which opened it later
            await record.write(self._end_unsent(record.job, Ending.FIRST_FRAME_FAILED, _NO_STILL, billed="no"))
        elif still.state is not JobState.DONE:
            assert still.failure is not None, "the table has a CHECK for this"
            again = "Call again." if still.failure.billed == "no" else None
            failed = FirstFrameFailed(
                f"the first frame (job {still.id}) failed, the video was not started: {still.failure.message}",
                next_action=again,
            )
            ended = self._end_unsent(record.job, Ending.FIRST_FRAME_FAILED, failed, billed=still.failure.billed)
            await record.write(ended)
        else:
            billed_usd = Decimal(0) if plan.frame_was_paid else still.billed_usd
            made = {"made_frame": still.assets[0], "made_frame_billed_usd": billed_usd}
            await record.write(replace(record.job, plan=plan.model_copy(update=made), failure=None))
        return None

    async def _wait_for(self, still: Job, record: JobRecord, *, is_stranded: bool) -> Pause | Park:
        failure = _explain_stranded(still) if is_stranded else _explain_wait(still)
        if failure is not None and (is_stranded or still.is_settled or still.is_parked):
            return Park(failure, LOOK_AGAIN_S)
        # Written only when it changes: a clip may wait for minutes.
        if failure != record.job.failure:
            await self._tell(record, failure)
        return Pause(LOOK_AT_STILL_S, until=still.id)

    async def _tell(self, record: JobRecord, failure: Failure | None) -> None:
        """Tell callers here why the clip waits, even if the ledger, which may be the reason, cannot take it."""
        waiting = replace(record.job, failure=failure)
        try:
            await record.write(waiting, must=True)
        except JobMoved:
            raise
        except LedgerError:
            await record.note(waiting, write=False)

    def _end_unsent(self, job: Job, ending: Ending, exc: RingError, *, billed: str) -> Job:
        """End the clip, which itself has cost nothing; ``billed`` is about the whole call, its still included."""
        failure = Failure.model_validate(
            {"code": exc.code, "message": exc.message, "billed": billed, "next_action": exc.next_action}
        )
        return end_job(job, ending, self._clock.now(), failure=failure, billed="no")


_NO_STILL = FirstFrameFailed(
    "the first frame has no job: this clip was planned by an older version of ring-mcp, and was not started",
    next_action="Call again.",
)


def _explain_wait(still: Job) -> Failure | None:
    """Why the clip waits longer than a still takes; None while nothing is wrong with the still."""
    if still.state is JobState.UNKNOWN:
        return Failure(
            code=OutcomeUnknown.code,
            message=f"the outcome of the first frame (job {still.id}) is not known, so the video was not started",
            billed="unknown",
            next_action="Look at the provider's console, settle the still with `ring-mcp jobs resolve "
            f"{name_typed(still.id, sandbox=still.sandbox)} --paid|--not-paid`, then call ring-job-get.",
        )
    if still.failure is None and not still.is_parked:
        return None
    reason = f": {still.failure.message}" if still.failure else ""
    return Failure(
        code="first_frame_pending",
        message=f"the first frame (job {still.id}) is not there yet, so the video was not started{reason}",
        billed="unknown",
        retryable=True,
        next_action="Call ring-job-get with the jobId: it goes on waiting.",
    )


def _explain_stranded(still: Job) -> Failure:
    needed = describe_needed_account(still)
    return Failure(
        code="first_frame_pending",
        message=f"the video was not started: its first frame is not there yet, and {needed.message}",
        billed=needed.billed,
        retryable=True,
        next_action=needed.next_action,
    )


def not_readable_now(message: str) -> Failure:
    """Why the job waits: a clip may have a still that was paid for, and what is down comes back."""
    return Failure(
        code=StorageError.code,
        message=f"{message}; the request was not sent yet",
        billed="no",
        retryable=True,
        next_action="Call ring-job-get with the jobId within ten minutes: it tries again.",
    )
