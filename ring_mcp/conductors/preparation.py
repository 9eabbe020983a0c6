"""What a job needs before its paid request: its first frame, made by a job of its own, and readable inputs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from ring_mcp.clock import Clock
from ring_mcp.conductors.inputs import MediaInputs
from ring_mcp.conductors.recording import JobRecord
from ring_mcp.domain import Failure, Job, JobState, VideoPlan
from ring_mcp.errors import InvalidRequest
from ring_mcp.providers.base import Inputs

MakeFirstFrame = Callable[[Job], Awaitable[Job]]
"""Make, or find again, the still of a video job, and wait for it; the answer is the still's job as it then stands."""


class Preparation:
    def __init__(self, inputs: MediaInputs, clock: Clock) -> None:
        self._inputs = inputs
        self._clock = clock
        self.make_first_frame: MakeFirstFrame | None = None

    async def prepare(self, record: JobRecord) -> Inputs | None:
        """The inputs of the request. None: something is missing for good, and the job has been ended at no cost."""
        plan = record.job.plan
        if not isinstance(plan, VideoPlan):
            return Inputs()
        try:
            if plan.generation_kind == "edit":
                return Inputs(video_url=await self._inputs.video_for_provider(plan.source_video_url or ""))
            if plan.image_url is not None:
                return Inputs(image_url=await self._inputs.image_for_provider(plan.image_url))
            if plan.first_frame is not None:
                return await self._with_first_frame(record)
        except InvalidRequest as exc:
            await record.write(self._ended(record.job, exc.message, "no"))
            return None
        return Inputs()

    async def _with_first_frame(self, record: JobRecord) -> Inputs | None:
        assert self.make_first_frame is not None, "app.py connects the conductors"
        frame = await self.make_first_frame(record.job)
        if frame.state is not JobState.DONE:
            reason = frame.failure.message if frame.failure else f"its job {frame.id} is {frame.state}"
            billed = frame.failure.billed if frame.failure else "unknown"
            await record.write(
                self._ended(record.job, f"the first frame failed, the video was not started: {reason}", billed)
            )
            return None
        plan = record.job.plan.model_copy(update={"made_frame": frame.assets[0]})
        await record.write(replace(record.job, plan=plan))
        return Inputs(image_url=await self._inputs.image_for_provider(frame.assets[0].url))

    def _ended(self, job: Job, message: str, billed: str) -> Job:
        """The video itself has cost nothing; ``billed`` speaks of the whole call, still included."""
        failure = Failure.model_validate(
            {
                "code": "first_frame_failed" if "first frame" in message else InvalidRequest.code,
                "message": message,
                "billed": billed,
                "next_action": "Look at ring-job-get of the still, change firstFramePrompt, and call again.",
            }
        )
        return job.to(
            JobState.FAILED,
            failure=failure,
            settled_usd=job.reserved_usd * 0,
            finished_at=self._clock.now(),
            due_at=None,
        )
