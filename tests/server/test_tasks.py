"""Jobs as tasks (SEP-2663) over stdio: for a client that declares them, and for no other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.server.tasks import TASKS
from tests.server.wire import LEGACY, MODERN, RingProcess, charges, environment, eventually

DECLARED: dict[str, Any] = {"_meta": {"io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}}}}
NO_TASK = "00000000-0000-4000-8000-000000000000"


class TaskClient:
    """A client that takes tasks."""

    def __init__(self, ring: RingProcess) -> None:
        self._ring = ring

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        return self._ring.request("tools/call", {"name": tool, "arguments": arguments, **DECLARED})

    def get(self, task_id: str) -> dict[str, Any]:
        return self._ring.request("tasks/get", {"taskId": task_id, **DECLARED})

    def cancel(self, task_id: str) -> dict[str, Any]:
        return self._ring.request("tasks/cancel", {"taskId": task_id, **DECLARED})

    def until_ended(self, task_id: str) -> dict[str, Any]:
        def ended() -> Mapping[str, Any] | None:
            task = self.get(task_id)
            return task if task["status"] != "working" else None

        return dict(eventually("the task has ended", ended))


def start(sandbox: SandboxServer, folder: Path, version: str = MODERN, **variables: str) -> RingProcess:
    settings = {"VIDEO_GEN_POLL_INTERVAL_MS": "50", "RING_SANDBOX": sandbox.url, **variables}
    return RingProcess(environment(folder, **settings), folder, version=version)


def test_discover_declares_the_extension(ring: RingProcess, sandbox: SandboxServer, tmp_path: Path) -> None:
    with start(sandbox, tmp_path) as modern:
        capabilities = modern.request("server/discover")["capabilities"]
    assert capabilities["extensions"] == {TASKS: {}}


def test_a_clip_becomes_a_task_whose_result_is_the_jobs(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(render_s=3)
    with start(sandbox, tmp_path) as ring:
        client = TaskClient(ring)
        task = client.call("ring-video-create", prompt="a tide", duration=1)
        assert task["resultType"] == "task"
        assert (task["status"], task["ttlMs"]) == ("working", None)
        assert 1_000 <= task["pollIntervalMs"] <= 10_000
        ended = client.until_ended(task["taskId"])
        assert ended["status"] == "completed"
        told = ring.request("tools/call", {"name": "ring-job-get", "arguments": {"jobId": task["taskId"]}})
    assert ended["result"]["structuredContent"] == told["structuredContent"]
    assert ended["result"]["content"] == told["content"]
    assert len(charges(sandbox, "a tide")) == 1


def test_what_is_quick_is_answered_at_once(sandbox: SandboxServer, tmp_path: Path) -> None:
    with start(sandbox, tmp_path) as ring:
        client = TaskClient(ring)
        quote = client.call("ring-image-create", prompt="a pier", dryRun=True)
        health = client.call("ring-health")
    assert quote["structuredContent"]["data"]["dryRun"] is True
    assert health["structuredContent"]["success"] is True


@pytest.mark.long
def test_a_task_outlives_its_server(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(render_s=4)
    with start(sandbox, tmp_path) as ring:
        task = TaskClient(ring).call("ring-video-create", prompt="a wake", duration=1)
        ring.kill_group()
    with start(sandbox, tmp_path) as ring:
        ended = TaskClient(ring).until_ended(task["taskId"])
    assert ended["status"] == "completed"
    assert ended["result"]["structuredContent"]["data"]["jobId"] == task["taskId"]
    assert len(charges(sandbox, "a wake")) == 1


def test_a_failed_job_completes_its_task_with_the_failure(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.faults.add("poll_failed", after=3)
    sandbox.state.configure(render_s=600)
    with start(sandbox, tmp_path, VIDEO_GEN_POLL_INTERVAL_MS="1000") as ring:
        client = TaskClient(ring)
        ended = client.until_ended(client.call("ring-video-create", prompt="a reef", duration=1)["taskId"])
    assert ended["status"] == "completed"
    assert ended["result"]["isError"] is True
    assert ended["result"]["structuredContent"]["success"] is False


def test_a_client_that_declares_nothing_sees_no_task(sandbox: SandboxServer, tmp_path: Path) -> None:
    with start(sandbox, tmp_path) as ring:
        answer = ring.call("ring-video-create", {"prompt": "a fog", "duration": 1})
        refusal = ring.refusal("tasks/get", {"taskId": answer.data["jobId"]})
    assert answer.data["state"] == "done"
    assert refusal["code"] == -32021


def test_the_older_era_has_no_tasks(sandbox: SandboxServer, tmp_path: Path) -> None:
    with start(sandbox, tmp_path, LEGACY) as ring:
        refusal = ring.refusal("tasks/get", {"taskId": NO_TASK})
    assert refusal["code"] == -32601


@pytest.mark.parametrize("method", ["tasks/get", "tasks/cancel", "tasks/update"])
def test_a_task_of_nobody_is_not_found(sandbox: SandboxServer, tmp_path: Path, method: str) -> None:
    with start(sandbox, tmp_path) as ring:
        refusal = ring.refusal(method, {"taskId": NO_TASK, **DECLARED})
    assert (refusal["code"], "not found" in refusal["message"]) == (-32602, True)


@pytest.mark.long
def test_a_task_that_was_not_sent_is_cancelled(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(render_s=5)
    with start(sandbox, tmp_path) as ring:
        client = TaskClient(ring)
        task = client.call("ring-video-create", prompt="a quay", duration=1, firstFramePrompt="a slow still")
        assert task["resultType"] == "task"
        assert client.cancel(task["taskId"])["resultType"] == "complete"
        assert client.get(task["taskId"])["status"] in {"cancelled", "working"}
        client.until_ended(task["taskId"])
