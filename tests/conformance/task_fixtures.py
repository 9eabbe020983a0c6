"""The tools that the suite's scenarios for tasks ask for. What takes a while is a clip of the product's, so that the
task, its states and its cancelling are those of ``server.tasks``; what no job of ours ever is, is made up here.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import mcp_types as types
from mcp import MCPError
from mcp.server import Server, ServerRequestContext

from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.server import tasks
from ring_mcp.server.tasks import TASKS, TaskParams

Context = ServerRequestContext[Any]
Handler = Callable[[Context, Any], Awaitable[Any]]

NAMES = ("greet", "slow_compute", "failing_job", "protocol_error_job", "confirm_delete", "test_tool_with_task")
_LONGER_THAN_A_CALL_WAITS_S = tasks.TASK_AFTER_S + 1.0
_LOOKS_BEFORE_IT_FAILS = 15
_numbers = itertools.count(1)


class TaskFixtures:
    """``own`` is the product's answer to tools/call; the clips are made by a vendor that can cancel them."""

    def __init__(self, own: Handler, sandbox: SandboxServer) -> None:
        self._own = own
        self._sandbox = sandbox
        self._failed: set[str] = set()
        self._asked_by: dict[str, str] = {}

    def add_to(self, server: Server[Any]) -> None:
        entry = server.get_request_handler("tasks/get")
        assert entry is not None
        own = entry.handler

        async def get(ctx: Context, params: TaskParams) -> Any:
            if params.task_id in self._failed:
                return describe_failed(params.task_id)
            told = await own(ctx, params)
            if (who := self._asked_by.get(params.task_id)) is not None and isinstance(told, dict) and "result" in told:
                told["result"]["content"].insert(0, {"type": "text", "text": f"for {who}"})
            return told

        server.add_request_handler("tasks/get", TaskParams, get)

    async def call(self, ctx: Context, params: types.CallToolRequestParams) -> Any:
        given = params.arguments or {}
        match params.name:
            case "greet" | "confirm_delete":
                # No task of ours waits for an answer: what has to be asked is asked before there is one.
                return done(f"Hello, {given.get('name')}!")
            case "slow_compute":
                return await self._make_a_clip(ctx, params, float(given.get("seconds", 0)))
            case "failing_job":
                require_tasks(ctx)
                self._sandbox.state.faults.add("poll_failed", after=_LOOKS_BEFORE_IT_FAILS)
                return await self._make_a_clip(ctx, params, 60.0, vendor="xai")
            case "protocol_error_job":
                # Ours never fail in this way: a request that cannot be answered fails, and the next one may not.
                task_id = str(uuid.uuid4())
                self._failed.add(task_id)
                return {**describe_failed(task_id), "resultType": "task", "status": "working"}
            case _:
                return await self._ask_first(ctx, params)

    async def _ask_first(self, ctx: Context, params: types.CallToolRequestParams) -> Any:
        answer = (params.input_responses or {}).get("user_name")
        content = getattr(answer, "content", None)
        if not isinstance(content, Mapping):
            schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
            form = types.ElicitRequestFormParams(message="What is your name?", requested_schema=schema)
            return types.InputRequiredResult(input_requests={"user_name": types.ElicitRequest(params=form)})
        task = await self._make_a_clip(ctx, params, 1.0)
        self._asked_by[task["taskId"]] = str(content.get("name"))
        return task

    async def _make_a_clip(
        self, ctx: Context, params: types.CallToolRequestParams, seconds: float, vendor: str = "google"
    ) -> Any:
        self._sandbox.state.configure(render_s=max(seconds, _LONGER_THAN_A_CALL_WAITS_S) if seconds else 0.0)
        arguments = {"prompt": f"clip {next(_numbers)}", "duration": 3, "provider": vendor}
        return await self._own(
            ctx,
            params.model_copy(update={"name": "ring-video-create", "arguments": arguments, "input_responses": None}),
        )


def require_tasks(ctx: Context) -> None:
    declared = ctx.session.client_capabilities
    if declared is None or TASKS not in (declared.extensions or {}):
        raise MCPError(
            code=types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            message="this tool answers with a task",
            data={"requiredCapabilities": {"extensions": {TASKS: {}}}},
        )


def describe_failed(task_id: str) -> dict[str, Any]:
    at = "2026-07-28T00:00:00.000Z"
    times = {"createdAt": at, "lastUpdatedAt": at, "ttlMs": None, "pollIntervalMs": 1000}
    error = {"code": types.INTERNAL_ERROR, "message": "internal error"}
    return {"resultType": "complete", "taskId": task_id, "status": "failed", **times, "error": error}


def done(words: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=words)])
