"""``GET /images/{id}`` and ``GET /videos/{id}``: what both polls have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ring_mcp.sandbox.state.jobs import Ending, Job
from ring_mcp.sandbox.state.ripening import duration_s, is_ripe, meet_faults, tell_lost
from ring_mcp.sandbox.state.state import SandboxState
from ring_mcp.sandbox.xai import calls
from ring_mcp.sandbox.xai.replies import XaiRefusal, invalid

Finish = Callable[[Job], Awaitable[Ending | None]]


async def answer(request: Request, state: SandboxState, kind: str, finish: Finish) -> Response:
    """One poll. ``finish`` makes the result of a ripe job, or None while it is still at work."""
    team = calls.team_of(request, state)
    job = state.jobs.find(kind, request.path_params["request_id"], state.settings.retention_s)
    # In the same words: whoever asks cannot tell a job of another team from none.
    if job is None and state.settings.unknown_jobs == "failed":
        return _show_ending(tell_lost())
    if job is None or job.charge.team != team:
        text = f"No deferred {kind} could be found with the given request_id"
        raise XaiRefusal(404, "not-found", text)
    if job.ending is None:
        # Before it can ripen: a fault that ends a job has to come first, however short its time is.
        meet_faults(request, state, job)
    if job.ending is None and is_ripe(state, job):
        ending = await finish(job)
        if ending is not None:
            job.end(ending)
    if job.ending is None:
        return _answer_pending(state, job)
    return _answer_ended(job, job.ending)


def _answer_pending(state: SandboxState, job: Job) -> Response:
    """202, in turn without a body and with one: both are seen from the real service."""
    job.polls += 1
    if job.polls % 2:
        return Response(status_code=202)
    if job.kind == "image":
        return JSONResponse({"request_id": job.id, "status": "pending"}, 202)
    return JSONResponse({"status": "pending", "progress": _progress(state, job), "model": job.model}, 202)


def _progress(state: SandboxState, job: Job) -> int:
    """Per cent of the time, or of the polls, that must pass; never 100."""
    lasts_s = duration_s(state, job)
    by_time = state.jobs.age_s(job) / lasts_s if lasts_s else 0.0
    by_polls = job.polls / (state.settings.pending_polls + 1)
    # 100 is what a done job says (provider reference 2.4).
    return min(99, int(100 * (by_time if lasts_s else by_polls)))


def _answer_ended(job: Job, ending: Ending) -> Response:
    if ending.kind == "moderated":
        raise calls.refuse_as_moderated(job.charge)
    if ending.kind == "rejected":
        raise invalid(str(ending.body["message"]))
    # Of clips "expired" is a status; of pictures the specification has a 404 (provider reference 1.5).
    if ending.kind == "expired" and job.kind == "image":
        raise XaiRefusal(404, "not-found", "No deferred image could be found with the given request_id")
    body: dict[str, Any] = {"request_id": job.id} if job.kind == "image" else {}
    if ending.kind == "filtered":
        video = {"url": "", "duration": _read_wait_s(job), "respect_moderation": False}
        done = {"status": "done", "video": video, "model": job.model, "usage": calls.usage(job.charge)}
        return JSONResponse(body | done | {"progress": 100})
    return _show_ending(ending, body)


def _show_ending(ending: Ending, beside: Mapping[str, Any] | None = None) -> Response:
    return JSONResponse({**(beside or {}), "status": ending.kind, **ending.body})


def _read_wait_s(job: Job) -> float:
    return getattr(job.order, "duration_s", 0)
