"""``GET /images/{id}`` and ``GET /videos/{id}``: what both polls have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ring_mcp.sandbox import xai_calls
from ring_mcp.sandbox.jobs import Ending, Job
from ring_mcp.sandbox.replies import XaiRefusal, invalid
from ring_mcp.sandbox.state import SandboxState

FAILURE_CODES = (
    "invalid_argument",
    "permission_denied",
    "failed_precondition",
    "service_unavailable",
    "internal_error",
)
ENDING_FAULTS = ("poll_failed", "poll_expired", "poll_moderated_400", "respect_moderation_false")

RENDER_PATIENCE_S = 5.0
"""How long a look waits for a clip that is still being drawn."""

Finish = Callable[[Job], Awaitable[Ending | None]]


def failure(code: str, message: str) -> Ending:
    return Ending("failed", {"error": {"code": code, "message": message}})


async def answer(request: Request, state: SandboxState, kind: str, finish: Finish) -> Response:
    """One poll. ``finish`` makes the result of a ripe job, or None while it is still at work."""
    team = xai_calls.team_of(request, state)
    job = state.jobs.find(kind, request.path_params["request_id"], state.settings.retention_s)
    if job is None or job.charge.team != team:
        text = f"No deferred {kind} could be found with the given request_id"
        raise XaiRefusal(404, "not-found", text)
    if job.ending is None:
        meet_faults(request, state, job)
    if job.ending is None and is_ripe(state, job):
        ending = await finish(job)
        if ending is not None:
            job.end(ending)
    if job.ending is None:
        return _pending(state, job)
    return _ended(job, job.ending)


def _duration_s(state: SandboxState, job: Job) -> float:
    return state.settings.deferred_s if job.kind == "image" else state.settings.render_s


def is_ripe(state: SandboxState, job: Job) -> bool:
    return job.polls >= state.settings.pending_polls and state.jobs.age_s(job) >= _duration_s(state, job)


def meet_faults(request: Request, state: SandboxState, job: Job) -> None:
    fault = state.faults.take("inside", request.method, request.url.path, ENDING_FAULTS)
    if fault is None:
        return
    if fault.name == "poll_failed":
        if not fault["billed"]:
            job.charge.cost_ticks = 0
        job.end(failure(fault["code"], fault["message"]))
    elif fault.name == "poll_expired":
        job.end(Ending("expired"))
    elif fault.name == "poll_moderated_400":
        job.end(Ending("moderated"))
    else:
        job.end(Ending("filtered"))


def _pending(state: SandboxState, job: Job) -> Response:
    """202, in turn without a body and with one: both are seen from the real service."""
    job.polls += 1
    if job.polls % 2:
        return Response(status_code=202)
    if job.kind == "image":
        return JSONResponse({"request_id": job.id, "status": "pending"}, 202)
    return JSONResponse({"status": "pending", "progress": _progress(state, job), "model": job.model}, 202)


def _progress(state: SandboxState, job: Job) -> int:
    """Per cent of the time, or of the polls, that must pass; never 100."""
    duration_s = _duration_s(state, job)
    by_time = state.jobs.age_s(job) / duration_s if duration_s else 0.0
    by_polls = job.polls / (state.settings.pending_polls + 1)
    return min(99, int(100 * (by_time if duration_s else by_polls)))


def _ended(job: Job, ending: Ending) -> Response:
    if ending.kind == "moderated":
        raise xai_calls.moderated(job.charge)
    if ending.kind == "rejected":
        raise invalid(str(ending.body["message"]))
    if ending.kind == "expired" and job.kind == "image":
        raise XaiRefusal(404, "not-found", "No deferred image could be found with the given request_id")
    body: dict[str, Any] = {"request_id": job.id} if job.kind == "image" else {}
    if ending.kind == "filtered":
        video = {"url": "", "duration": _asked_s(job), "respect_moderation": False}
        done = {"status": "done", "video": video, "model": job.model, "usage": xai_calls.usage(job.charge)}
        return JSONResponse(body | done | {"progress": 100})
    return JSONResponse(body | {"status": ending.kind} | ending.body)


def _asked_s(job: Job) -> float:
    return getattr(job.order, "duration_s", 0)
