"""Jobs as tasks over HTTP, and the SDK's own client as one that takes them, over both transports."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import anyio
import httpx2
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult
from mcp_types import Request, RequestParams, Result

from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.server.tasks import TASKS
from tests.http.http_reach import ALICE, BOB, LIMIT_S, TOKENS, HttpRing, bearer, charges, environment

CLIP: dict[str, Any] = {"prompt": "a wake at dusk", "duration": 1}


class Task(Result):
    result_type: Literal["task"] = "task"
    task_id: str
    status: str
    poll_interval_ms: int


class GetParams(RequestParams):
    task_id: str


class TasksGet(Request[GetParams, Literal["tasks/get"]]):
    method: Literal["tasks/get"] = "tasks/get"
    params: GetParams
    name_param = "taskId"


class Seen(Result):
    result_type: str = "complete"
    task_id: str
    status: str
    poll_interval_ms: int
    result: dict[str, Any] | None = None


class TakesTasks(ClientExtension):
    """Looks until a task has ended, as often as the server says."""

    identifier = TASKS

    def __init__(self) -> None:
        self.task: Task | None = None
        self.on_task: Callable[[], None] = lambda: None

    async def resolve(self, task: Task, ctx: ClaimContext) -> CallToolResult:
        self.task = task
        self.on_task()
        with anyio.fail_after(LIMIT_S):
            while True:
                seen = await ctx.session.send_request(TasksGet(params=GetParams(task_id=task.task_id)), Seen)
                if seen.status != "working":
                    return CallToolResult.model_validate(seen.result)
                await anyio.sleep(seen.poll_interval_ms / 1000)

    def claims(self) -> Sequence[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=Task, resolve=self.resolve)]


def settings(folder: Path, sandbox: SandboxServer) -> dict[str, str]:
    more = {"RING_SANDBOX": sandbox.url, "VIDEO_GEN_POLL_INTERVAL_MS": "100", "RING_MCP_SERVICE_TOKENS": TOKENS}
    return environment(folder, **more)


@contextlib.asynccontextmanager
async def over_http(url: str, extension: TakesTasks | None, token: str = ALICE) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers=bearer(token), timeout=LIMIT_S) as http,
        Client(
            streamable_http_client(f"{url}/mcp", http_client=http), extensions=[extension] if extension else None
        ) as client,
    ):
        yield client


@contextlib.asynccontextmanager
async def over_stdio(folder: Path, sandbox: SandboxServer, extension: TakesTasks) -> AsyncIterator[Client]:
    env = {**settings(folder, sandbox), "RING_SERVICE_TOKEN": ALICE}
    server = StdioServerParameters(command=sys.executable, args=["-m", "ring_mcp"], env=env, cwd=str(folder))
    async with Client(stdio_client(server), extensions=[extension]) as client:
        yield client


@pytest.mark.long
@pytest.mark.parametrize("way", ["http", "stdio"])
async def test_the_sdks_client_takes_a_clip_as_a_task(sandbox: SandboxServer, tmp_path: Path, way: str) -> None:
    sandbox.state.configure(render_s=4)
    extension = TakesTasks()
    async with contextlib.AsyncExitStack() as stack:
        if way == "stdio":
            client = await stack.enter_async_context(over_stdio(tmp_path, sandbox, extension))
        else:
            ring = stack.enter_context(HttpRing(settings(tmp_path, sandbox), tmp_path))
            client = await stack.enter_async_context(over_http(ring.url, extension))
        assert TASKS in (client.server_capabilities.extensions or {})
        result = await client.call_tool("ring-video-create", CLIP)
    assert extension.task is not None, result
    assert result.structured_content is not None
    assert result.structured_content["data"]["jobId"] == extension.task.task_id
    assert len(charges(sandbox, CLIP["prompt"])) == 1


@pytest.mark.long
async def test_a_task_outlives_kill_nine_of_its_http_server(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(render_s=5)
    extension = TakesTasks()
    with HttpRing(settings(tmp_path, sandbox), tmp_path) as ring:
        extension.on_task = lambda: ring.signal(signal.SIGKILL)
        with contextlib.suppress(MCPError, httpx2.HTTPError, ExceptionGroup):  # as the lost connection is told
            async with over_http(ring.url, extension) as client:
                await client.call_tool("ring-video-create", CLIP)
    assert extension.task is not None
    extension.on_task = lambda: None
    with HttpRing(settings(tmp_path, sandbox), tmp_path) as ring:
        async with over_http(ring.url, extension) as client:
            ctx = ClaimContext(session=client.session, tool_name="ring-video-create", read_timeout_seconds=None)
            result = await extension.resolve(extension.task, ctx)
    assert result.structured_content is not None
    assert result.structured_content["data"]["state"] == "done"
    assert len(charges(sandbox, CLIP["prompt"])) == 1


def ask(ring: HttpRing, task_id: str, name: str | None, token: str = ALICE, method: str = "tasks/get") -> Any:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}},
    }
    headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2026-07-28"}
    headers |= {"mcp-method": method} | ({} if name is None else {"mcp-name": name})
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"taskId": task_id, "_meta": meta}}
    return ring.post("/mcp", body, token, headers=headers)


@pytest.mark.parametrize("method", ["tasks/get", "tasks/cancel", "tasks/update"])
def test_a_task_is_asked_for_with_its_name_in_the_header(ring: HttpRing, method: str) -> None:
    job = ring.create(prompt="a task by name")["jobId"]
    for wrong in (None, "", "another", "=?base64?bm90IHRoaXM=?="):
        refused = ask(ring, job, wrong, method=method)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, -32020), wrong
    assert ask(ring, job, job, method=method).json()["result"]["resultType"] == "complete"


def test_a_task_of_another_token_is_not_found(ring: HttpRing) -> None:
    job = ring.create(prompt="a task of alice")["jobId"]
    assert ask(ring, job, job).json()["result"]["status"] == "completed"
    for method in ("tasks/get", "tasks/cancel", "tasks/update"):
        refused = ask(ring, job, job, BOB, method)
        assert refused.json()["error"]["code"] == -32602
        assert "not found" in refused.json()["error"]["message"]
