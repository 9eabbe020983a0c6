"""Jobs as tasks of the extension io.modelcontextprotocol/tasks (SEP-2663): the row is the task, and its id the job's.

A client that declares the extension is not kept waiting: a paid call that takes longer than ``TASK_AFTER_S`` is
answered with a task. Nothing is kept here, so that a task outlives the server, and any server of the ledger knows it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import mcp_types as types
from mcp import MCPError
from mcp.server import Server, ServerRequestContext
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from pydantic import Field

from ring_mcp.clock import Clock, to_iso
from ring_mcp.conductors.paid_calls import PaidCalls
from ring_mcp.domain import DRIVEN, Job
from ring_mcp.errors import NotFound, RingError
from ring_mcp.jobs.outcomes import name_open_job
from ring_mcp.server.asking import ERA
from ring_mcp.server.operations import hide_errors
from ring_mcp.tools.envelope import failure, success
from ring_mcp.tools.job_answers import JobFailed, Previews, answer_shown
from ring_mcp.tools.tool import Answer, Caller, Tool

TASKS = "io.modelcontextprotocol/tasks"

TASK_AFTER_S = 2.0
"""A result that comes sooner is better than a task."""

_FIRST_POLL_MS, _LAST_POLL_MS = 1_000, 10_000

Cancel = Callable[[Job], Awaitable[Any]]
Identify = Callable[[ServerRequestContext[Any]], Awaitable[str]]
"""Returns the caller's actor id. Raises Unauthorized or LedgerError."""


class TaskParams(types.RequestParams):
    task_id: str = Field(min_length=1, max_length=200)


class UpdateParams(TaskParams):
    input_responses: dict[str, Any] = Field(default_factory=dict)


class Tasks:
    """``identify`` returns the caller's actor id; ``cancel`` cancels a job, as far as that is possible."""

    def __init__(
        self, calls: PaidCalls, previews: Previews, cancel: Cancel, clock: Clock, *, identify: Identify, links: bool
    ) -> None:
        self._calls = calls
        self._previews = previews
        self._cancel = cancel
        self._clock = clock
        self._identify = identify
        self._links = links

    def add_to(self, server: Server[Any]) -> None:
        """Declare the extension and serve its methods."""
        server.extensions[TASKS] = {}
        server.add_request_handler("tasks/get", TaskParams, hide_errors(self.get))
        server.add_request_handler("tasks/update", UpdateParams, hide_errors(self.update))
        server.add_request_handler("tasks/cancel", TaskParams, hide_errors(self.cancel))

    def are_wanted_by(self, ctx: ServerRequestContext[Any]) -> bool:
        capabilities = ctx.session.client_capabilities
        declared = capabilities.extensions if capabilities is not None else None
        return ctx.protocol_version >= ERA and TASKS in (declared or {})

    def require(self, ctx: ServerRequestContext[Any]) -> None:
        """Raises MCPError for a client that has not declared the extension."""
        if not self.are_wanted_by(ctx):
            needed = types.MissingRequiredClientCapabilityErrorData(
                required_capabilities=types.ClientCapabilities(extensions={TASKS: {}})
            )
            raise MCPError(
                code=types.MISSING_REQUIRED_CLIENT_CAPABILITY,
                message=f"Client did not declare required extension {TASKS!r}",
                data=needed.model_dump(by_alias=True, mode="json", exclude_none=True),
            )

    async def call(
        self, ctx: ServerRequestContext[Any], tool: Tool[Any], arguments: Any, caller: Caller
    ) -> Answer | dict[str, Any]:
        """The tool's answer, or a task if that takes longer than TASK_AFTER_S. Raises what the tool raises."""
        if not (tool.is_long and self.are_wanted_by(ctx)):
            return await tool.handler(arguments, caller)
        made = await tool.handler(arguments.model_copy(update={"wait_seconds": TASK_AFTER_S}), caller)
        # Done in time, or a dry run, which has no state: a task would only make its client ask again.
        if made.data.get("state") not in DRIVEN:
            return made
        # It may be paid for: an error of this read must name the job, or the client would make it anew.
        with name_open_job(made.data["jobId"]):
            job = await self._calls.read(made.data["jobId"])
        return made if job is None else {"resultType": "task", **self._describe(job, "working")}

    async def get(self, ctx: ServerRequestContext[Any], params: TaskParams) -> dict[str, Any]:
        """The task's status; with its result once there is one, which is what ring-job-get answers then."""
        job = await self._find(ctx, params.task_id)
        try:
            result = await self._calls.resume(job, 0.0)
            is_open = result.success and result.state in DRIVEN
            content = None if is_open else success(await answer_shown(result, self._previews), links=self._links)
        # A completed task with a failed result: "failed" of the protocol is for requests that could not be answered.
        except JobFailed as exc:
            content = failure(exc, **exc.extra)
        except RingError as exc:  # this answer failed, not the task: after "completed" a client would not ask again
            raise MCPError(code=types.INTERNAL_ERROR, message=exc.message) from exc
        # ``resume`` may have found the end: status and result of one answer must agree.
        job = await self._read_again(job)
        if content is None:
            return {"resultType": "complete", **self._describe(job, "working")}
        if job.is_cancelled:
            return {"resultType": "complete", **self._describe(job, "cancelled")}
        told = content.model_dump(by_alias=True, mode="json", exclude_none=True)
        return {"resultType": "complete", **self._describe(job, "completed"), "result": told}

    async def cancel(self, ctx: ServerRequestContext[Any], params: TaskParams) -> dict[str, Any]:
        """Acknowledge. The next tasks/get says whether the job could be cancelled."""
        job = await self._find(ctx, params.task_id)
        try:
            await self._cancel(job)
        except RingError as exc:
            raise MCPError(code=types.INTERNAL_ERROR, message=exc.message) from exc
        return {"resultType": "complete"}

    async def update(self, ctx: ServerRequestContext[Any], params: UpdateParams) -> dict[str, Any]:
        """Acknowledge: no task of ours waits for an answer."""
        await self._find(ctx, params.task_id)
        return {"resultType": "complete"}

    async def _find(self, ctx: ServerRequestContext[Any], task_id: str) -> Job:
        """The caller's own job. Raises MCPError with the extension's texts."""
        if ctx.protocol_version < ERA:
            # As of a server without the extension: versions before it do not know these methods.
            raise MCPError(code=types.METHOD_NOT_FOUND, message="Method not found", data=ctx.method)
        self.require(ctx)
        # The SDK compares the header for the methods that it knows. A missing one is refused like a wrong one, since a
        # proxy may have routed the request by it.
        if ctx.request is not None and decode_header_value(ctx.request.headers.get(MCP_NAME_HEADER)) != task_id:
            raise MCPError(code=types.HEADER_MISMATCH, message="the header Mcp-Name is not the task's id")
        try:
            actor_id = await self._identify(ctx)
            return await self._calls.find_own(task_id, actor_id)
        except NotFound as exc:  # the text must not tell whether the id exists
            raise MCPError(code=types.INVALID_PARAMS, message="Failed to retrieve task: Task not found") from exc
        except RingError as exc:
            raise MCPError(code=types.INTERNAL_ERROR, message=exc.message) from exc

    async def _read_again(self, job: Job) -> Job:
        try:
            return await self._calls.read(job.id) or job
        except RingError:
            return job

    def _describe(self, job: Job, status: str) -> dict[str, Any]:
        progress = f", {job.progress} %" if job.progress else ""
        return {
            "taskId": job.id,
            "status": status,
            "statusMessage": job.failure.message if job.failure else f"{job.kind} {job.state}{progress}",
            "createdAt": to_iso(job.created_at),
            "lastUpdatedAt": to_iso(job.updated_at),
            "ttlMs": None,  # the row stays
            "pollIntervalMs": poll_interval_ms(job, self._clock.now()),
        }


def poll_interval_ms(job: Job, now: datetime) -> int:
    """The interval at which to poll a task: a fifth of its age, from one second to ten."""
    age_ms = (now - job.created_at).total_seconds() * 1000
    return round(min(_LAST_POLL_MS, max(_FIRST_POLL_MS, age_ms / 5)))
