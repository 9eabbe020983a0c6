"""What a job needs before its paid request: its first frame, made by a job of its own, and readable inputs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from ring_mcp.clock import Clock
from ring_mcp.conductors.inputs import MediaInputs
from ring_mcp.conductors.recording import JobRecord
from ring_mcp.domain import Failure, Job, JobState, VideoPlan
from ring_mcp.errors import CapExceeded, InvalidRequest, OutcomeUnknown, ProviderAuthError, StorageError
from ring_mcp.providers.base import Inputs

MakeFirstFrame = Callable[[Job], Awaitable[Job]]
"""Make, or find again, the still of a video job, and wait for it; the answer is the still's job as it then stands."""


def _not_there_yet(frame: Job) -> Failure:
    """Why the clip waits: making another still might pay twice for one."""
    if frame.state is JobState.UNKNOWN:
        return Failure(
            code=OutcomeUnknown.code,
            message=f"the outcome of the first frame (job {frame.id}) is not known, so the video was not started",
            billed="unknown",
            next_action=f"Look at the provider's console, settle the still with `ring-mcp jobs resolve {frame.id} "
            "--paid|--not-paid`, then call ring-job-get.",
        )
    reason = f": {frame.failure.message}" if frame.failure else ""
    return Failure(
        code="first_frame_pending",
        message=f"the first frame (job {frame.id}) is not there yet, so the video was not started{reason}",
        billed="unknown",
        retryable=True,
        next_action="Call ring-job-get with the jobId: it goes on waiting.",
    )


def _not_readable_now(message: str) -> Failure:
    """Why the clip waits: it may have a still that was paid for, and a storage that is down comes back."""
    return Failure(
        code=StorageError.code,
        message=f"{message}; the request was not sent yet",
        billed="no",
        retryable=True,
        next_action="Call ring-job-get with the jobId within ten minutes: it tries again.",
    )


class Preparation:
    def __init__(self, inputs: MediaInputs, clock: Clock) -> None:
        self._inputs = inputs
        self._clock = clock
        self.make_first_frame: MakeFirstFrame | None = None

    async def prepare(self, record: JobRecord, *, as_bytes: bool) -> Inputs | None:
        """The inputs of the request; ``as_bytes`` if the provider reads no addresses. None: something is missing.

        If it is missing for good, the job has been ended at no cost; otherwise it goes on when somebody asks for it.
        """
        plan = record.job.plan
        needs_frame = isinstance(plan, VideoPlan) and plan.first_frame is not None
        try:
            if needs_frame and not await self._has_first_frame(record):
                return None
            return await self._inputs.for_provider(record.job.plan, as_bytes=as_bytes)
        except InvalidRequest as exc:
            if isinstance(exc.__cause__, StorageError) and exc.__cause__.retryable:
                await record.write(replace(record.job, failure=_not_readable_now(exc.message)))
            else:
                await record.write(self._ended(record.job, exc.message, "no"))
            return None

    async def _has_first_frame(self, record: JobRecord) -> bool:
        assert self.make_first_frame is not None, "app.py connects the conductors"
        try:
            frame = await self.make_first_frame(record.job)
        except (CapExceeded, ProviderAuthError) as exc:
            await record.write(self._ended(record.job, f"the first frame cannot be made: {exc.message}", exc.billed))
            return False
        if not frame.is_terminal:
            await record.write(replace(record.job, failure=_not_there_yet(frame)))
            return False
        if frame.state is not JobState.DONE:
            reason = frame.failure.message if frame.failure else f"its job {frame.id} is {frame.state}"
            billed = frame.failure.billed if frame.failure else "unknown"
            await record.write(
                self._ended(record.job, f"the first frame failed, the video was not started: {reason}", billed)
            )
            return False
        made = {"made_frame": frame.assets[0], "made_frame_billed_usd": frame.billed_usd}
        plan = record.job.plan.model_copy(update=made)
        await record.write(replace(record.job, plan=plan, failure=None))
        return True

    def _ended(self, job: Job, message: str, billed: str) -> Job:
        """The video itself has cost nothing; ``billed`` speaks of the whole call, still included."""
        code, next_action = InvalidRequest.code, InvalidRequest.next_action
        if "first frame" in message:
            code = "first_frame_failed"
            next_action = "Look at ring-job-get of the still, change firstFramePrompt, and call again."
        failure = Failure.model_validate(
            {"code": code, "message": message, "billed": billed, "next_action": next_action}
        )
        return job.to(
            JobState.FAILED,
            failure=failure,
            settled_usd=job.reserved_usd * 0,
            finished_at=self._clock.now(),
            due_at=None,
        )
