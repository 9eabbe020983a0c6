"""When accepted work is ready, and which faults end it first: the same for every service that takes jobs."""

from __future__ import annotations

from starlette.requests import Request

from ring_mcp.sandbox.state.jobs import Ending, Job
from ring_mcp.sandbox.state.state import SandboxState

ENDING_FAULTS = ("poll_failed", "poll_expired", "poll_moderated_400", "respect_moderation_false")

RENDER_PATIENCE_S = 5.0
"""How long a look waits for a clip that is still being drawn."""


def failure(code: str, message: str) -> Ending:
    """The ending of a job that the service could not do."""
    return Ending("failed", {"error": {"code": code, "message": message}})


def tell_lost() -> Ending:
    """The ending of a job that an earlier sandbox took, and took with it."""
    return failure("internal_error", "the sandbox that took this job ended before it was made")


def duration_s(state: SandboxState, job: Job) -> float:
    """How long a job of this kind stays pending, as it is set now."""
    return state.settings.deferred_s if job.kind == "image" else state.settings.render_s


def is_ripe(state: SandboxState, job: Job) -> bool:
    """Whether the time and the looks that must pass have passed."""
    # Tests count looks rather than seconds: then nothing depends on how busy the machine is.
    return job.polls >= state.settings.pending_polls and state.jobs.age_s(job) >= duration_s(state, job)


def meet_faults(request: Request, state: SandboxState, job: Job) -> None:
    """Ends the job with the fault that waits for this look, if one does."""
    fault = state.faults.take("inside", request.method, request.url.path, ENDING_FAULTS)
    if fault is None:
        return
    if fault.name == "poll_failed":
        # Whether a failed job is billed is told nowhere: the test says.
        if not fault["billed"]:
            job.charge.cost_ticks = 0
        job.end(failure(fault["code"], fault["message"]))
    elif fault.name == "poll_expired":
        job.end(Ending("expired"))
    elif fault.name == "poll_moderated_400":
        job.end(Ending("moderated"))
    else:
        job.end(Ending("filtered"))
