"""Breaking a job off, by every way in: what is told, what it costs, and whose jobs stay untouched."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests import warm
from tests.http.http_reach import (
    ALICE,
    API,
    BOB,
    LONG_S,
    WAYS,
    HttpRing,
    charges,
    eventually,
    mcp_client,
    quick_environment,
)
from tests.http.test_tasks_over_http import ask
from tests.one_now import one_now

TOOL, REST, COMMAND, GATEWAY, TASK = WAYS[0], "rest", "command", "command at the gateway", "tasks/cancel"
EVERY_WAY = (TOOL, REST, TASK, GATEWAY, COMMAND, *WAYS[1:])
OPEN_STATES = {"planned", "submitting", "rendering", "storing"}

every_way = pytest.mark.parametrize("way", one_now(EVERY_WAY, 3))


def deferred(still: str) -> dict[str, str]:
    """A clip that waits for its still. Words are those of one test: what another has left undelivered is joined."""
    return {"firstFramePrompt": still}


class Cancelling:
    """A server, and everybody who may have something broken off there."""

    def __init__(self, ring: HttpRing, env: Mapping[str, str], folder: Path) -> None:
        self._ring = ring
        self._env = dict(env)
        self._folder = folder

    def begin(self, prompt: str, token: str = ALICE, **more: Any) -> str:
        """A clip whose caller has not waited."""
        body = {"prompt": prompt, "duration": 3, **more}
        answer = self._ring.post(f"{API}/videos/generate?waitSeconds=0", body, token)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["data"]["jobId"])

    def look(self, job_id: str, wait_s: int = 0) -> dict[str, Any]:
        """What REST says of a job, its failure included."""
        return dict(self._ring.get(f"{API}/jobs/{job_id}?waitSeconds={wait_s}").json())

    def is_idle(self) -> bool:
        return OPEN_STATES.isdisjoint(job["state"] for token in (ALICE, BOB) for job in self._ring.jobs(token))

    def look_at_task(self, job_id: str) -> dict[str, Any]:
        return dict(ask(self._ring, job_id, job_id).json()["result"])

    def until(self, state: str, job_id: str) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            told = self.look(job_id, 1)
            return told if (told.get("data") or told).get("state") == state else None

        return dict(eventually(f"{job_id} is {state}", found))

    def cancel(self, way: str, job_id: str, token: str = ALICE) -> dict[str, Any]:
        """``data`` of the answer, or the failure; a task is acknowledged and tells no more."""
        if way == REST:
            told = self._ring.post(f"{API}/jobs/{job_id}/cancel", {}, token).json()
        elif way == TASK:
            told = ask(self._ring, job_id, job_id, token, TASK).json()
            return dict(told.get("result") or told["error"])
        elif way in (COMMAND, GATEWAY):
            options = ["--gateway", self._ring.url] if way == GATEWAY else []
            env = {**self._env, "RING_SERVICE_TOKEN": token}
            done = warm.command(env, self._folder, "jobs", "cancel", job_id, "--json", *options)
            return dict(json.loads(done.stdout), status=done.returncode)
        else:
            told = asyncio.run(self._by_tool(way, job_id, token))
        return dict(told["data"] if told["success"] else told)

    async def _by_tool(self, way: str, job_id: str, token: str) -> dict[str, Any]:
        async with mcp_client(self._ring.url, way, token) as client:
            result = await client.call_tool("ring-job-cancel", {"jobId": job_id})
        assert result.structured_content is not None
        return dict(result.structured_content)


@pytest.fixture(scope="module")
def shared_cancelling(running: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cancelling]:
    folder = tmp_path_factory.mktemp("cancelling")
    env = quick_environment(folder, running)
    with HttpRing(env, folder) as ring:
        yield Cancelling(ring, env, folder)


@pytest.fixture
def cancelling(shared_cancelling: Cancelling, sandbox: SandboxServer) -> Iterator[Cancelling]:
    """The server that these tests share. What a test leaves open comes to its end before the sandbox forgets it."""
    yield shared_cancelling
    sandbox.state.configure(render_s=0, deferred_s=0)
    eventually("nothing is under way", shared_cancelling.is_idle)


@every_way
def test_what_was_not_sent_ends_unbilled_by_every_way(cancelling: Cancelling, sandbox: SandboxServer, way: str) -> None:
    sandbox.state.configure(deferred_s=LONG_S)
    job_id = cancelling.begin(
        f"a quay, {way}", **deferred(f"a still, {way}")
    )  # it waits for its still, and nothing of it is sent
    eventually("the still is ordered", lambda: charges(sandbox, f"a still, {way}"))
    told = cancelling.cancel(way, job_id)
    if way != TASK:
        assert (told["state"], told["cancelled"], told["asked"]) == ("failed", True, False), told
        assert "first frame" in told["note"]
    ended = cancelling.until("failed", job_id)
    # The clip costs nothing; the still that it waited for is made, and may be billed.
    assert (ended["code"], ended["billed"]) == ("cancelled", "unknown")
    assert cancelling.look_at_task(job_id)["status"] == "cancelled"
    again = cancelling.cancel(way, job_id)
    if way != TASK:
        assert (again["cancelled"], "nothing to cancel" in again["note"]) == (False, True)
        assert way not in (COMMAND, GATEWAY) or again["status"] == 1
    assert charges(sandbox, f"a quay, {way}") == []


@every_way
def test_what_xai_has_goes_on_and_is_kept_by_every_way(
    cancelling: Cancelling, sandbox: SandboxServer, way: str
) -> None:
    sandbox.state.configure(render_s=LONG_S)
    job_id = cancelling.begin(f"a mole, {way}")
    cancelling.until("rendering", job_id)
    told = cancelling.cancel(way, job_id)
    if way != TASK:
        assert (told["state"], told["cancelled"], told["asked"]) == ("rendering", False, False), told
        assert "xAI cannot cancel" in told["note"]
        assert "cost $0.15 at most, and the result is kept" in told["note"]
    sandbox.state.configure(render_s=0)
    assert cancelling.until("done", job_id)["data"]["video"]["url"]
    assert len(charges(sandbox, f"a mole, {way}")) == 1


@every_way
def test_googles_clip_is_cancelled_at_google_by_every_way(
    cancelling: Cancelling, sandbox: SandboxServer, way: str
) -> None:
    sandbox.state.configure(render_s=LONG_S)
    job_id = cancelling.begin(f"a pier, {way}", provider="google")
    cancelling.until("rendering", job_id)
    told = cancelling.cancel(way, job_id)
    if way != TASK:
        assert (told["cancelled"], told["asked"]) == (False, True), told
        assert "Google was told to cancel" in told["note"]
        assert way not in (COMMAND, GATEWAY) or told["status"] == 0
    ended = cancelling.until("failed", job_id)
    assert "cancelled" in ended["error"]
    # Not as "cancelled", which has no result: what it cost is told there.
    seen = cancelling.look_at_task(job_id)
    assert (seen["status"], seen["result"]["isError"]) == ("completed", True)
    assert seen["result"]["structuredContent"]["billed"] == ended["billed"]


@pytest.mark.parametrize("way", one_now((each for each in EVERY_WAY if each != COMMAND), 3))
def test_a_job_of_another_is_not_found_and_goes_on(cancelling: Cancelling, sandbox: SandboxServer, way: str) -> None:
    sandbox.state.configure(deferred_s=LONG_S)
    job_id = cancelling.begin(f"a lock, {way}", **deferred(f"a still for a lock, {way}"))
    told = cancelling.cancel(way, job_id, BOB)
    if way == TASK:
        assert told["code"] == -32602
    else:
        assert (told["success"], told["code"], told["billed"]) == (False, "not_found", "no")
    sandbox.state.configure(deferred_s=0)
    assert cancelling.until("done", job_id)["data"]["state"] == "done"


def test_the_still_of_a_cancelled_clip_is_the_next_ones(cancelling: Cancelling, sandbox: SandboxServer) -> None:
    sandbox.state.configure(deferred_s=LONG_S)
    job_id = cancelling.begin("a weir", **deferred("a slow still"))
    eventually("the still is ordered", lambda: charges(sandbox, "a slow still"))
    assert cancelling.cancel(REST, job_id)["cancelled"]
    sandbox.state.configure(deferred_s=0)
    next_id = cancelling.begin("a weir", **deferred("a slow still"))
    assert next_id != job_id
    assert cancelling.until("done", next_id)["data"]["firstFrame"]["url"]
    assert (len(charges(sandbox, "a slow still")), len(charges(sandbox, "a weir"))) == (1, 1)
