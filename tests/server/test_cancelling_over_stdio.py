"""Breaking a job off over stdio: unbilled until its request leaves, then as far as its provider can."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.server.wire import LEGACY, MODERN, RingProcess, ToolReply, charges, environment, eventually

LONG_S = 600.0


@pytest.fixture(params=[LEGACY, MODERN])
def ring(request: pytest.FixtureRequest, sandbox: SandboxServer, tmp_path: Path) -> Iterator[RingProcess]:
    env = environment(tmp_path, RING_SANDBOX=sandbox.url, VIDEO_GEN_POLL_INTERVAL_MS="100")
    with RingProcess(env, tmp_path, version=request.param) as running:
        yield running


def begin(ring: RingProcess, prompt: str, **more: Any) -> str:
    """A clip whose call has not waited."""
    asked = {"prompt": prompt, "duration": 3, "waitSeconds": 0, **more}
    return str(ring.call("ring-video-create", asked).data["jobId"])


def look(ring: RingProcess, job_id: str) -> ToolReply:
    return ring.call("ring-job-get", {"jobId": job_id, "waitSeconds": 1})


def until(ring: RingProcess, state: str, job_id: str) -> ToolReply:
    def found() -> ToolReply | None:
        told = look(ring, job_id)
        return told if (told.content.get("data") or told.content).get("state") == state else None

    reply = eventually(f"{job_id} is {state}", found)
    assert isinstance(reply, ToolReply)
    return reply


def cancel(ring: RingProcess, job_id: str) -> ToolReply:
    return ring.call("ring-job-cancel", {"jobId": job_id})


def test_what_was_not_sent_ends_unbilled(ring: RingProcess, sandbox: SandboxServer) -> None:
    sandbox.state.configure(deferred_s=LONG_S)
    job_id = begin(ring, "a quay", firstFramePrompt="a slow still")  # it waits for its still
    eventually("the still is ordered", lambda: charges(sandbox, "a slow still"))
    told = cancel(ring, job_id)
    assert (told.data["state"], told.data["cancelled"], told.data["asked"]) == ("failed", True, False)
    assert "before its request was sent" in told.text or "before a request was sent" in told.text
    ended = look(ring, job_id)
    assert (ended.is_error, ended.content["code"], ended.content["billed"]) == (True, "cancelled", "unknown")
    assert "nothing to cancel" in cancel(ring, job_id).text
    assert charges(sandbox, "a quay") == []


def test_whoever_waits_for_a_cancelled_job_is_told(ring: RingProcess, sandbox: SandboxServer) -> None:
    sandbox.state.configure(deferred_s=LONG_S)
    asked = {"prompt": "a weir", "duration": 3, "firstFramePrompt": "a slow still", "waitSeconds": 600}
    call = ring.begin("ring-video-create", asked)

    def job_ids() -> list[str]:
        listed = ring.call("ring-job-list", {"kind": "video"}).data["jobs"]
        return [job["jobId"] for job in listed]

    [job_id] = eventually("the job of the call that waits", job_ids)
    eventually("its still is ordered", lambda: charges(sandbox, "a slow still"))
    assert cancel(ring, job_id).data["cancelled"]
    waited = ring.finish(call)
    assert (waited.is_error, waited.content["code"], waited.content["billed"]) == (True, "cancelled", "unknown")


def test_what_xai_has_goes_on_and_its_price_is_told(ring: RingProcess, sandbox: SandboxServer) -> None:
    sandbox.state.configure(render_s=LONG_S)
    job_id = begin(ring, "a mole")
    until(ring, "rendering", job_id)
    told = cancel(ring, job_id)
    assert (told.data["cancelled"], told.data["asked"]) == (False, False)
    assert "xAI cannot cancel" in told.text
    assert "cost $0.15 at most, and the result is kept" in told.text
    sandbox.state.configure(render_s=0)
    assert until(ring, "done", job_id).data["video"]["url"]
    assert len(charges(sandbox, "a mole")) == 1


def test_googles_clip_is_cancelled_at_google(ring: RingProcess, sandbox: SandboxServer) -> None:
    sandbox.state.configure(render_s=LONG_S)
    job_id = begin(ring, "a pier", provider="google")
    until(ring, "rendering", job_id)
    told = cancel(ring, job_id)
    assert (told.data["cancelled"], told.data["asked"]) == (False, True)
    assert "Google was told to cancel" in told.text
    ended = until(ring, "failed", job_id)
    assert ended.is_error
    assert "cancelled" in ended.content["error"]
    assert any(str(request["path"]).endswith("/cancel") for request in sandbox.state.requests)


def test_a_client_that_takes_its_call_back_cancels_no_job(ring: RingProcess, sandbox: SandboxServer) -> None:
    sandbox.state.configure(render_s=LONG_S)
    call = ring.begin("ring-video-create", {"prompt": "a jetty", "duration": 3, "waitSeconds": 600})

    def rendering() -> list[dict[str, Any]]:
        return list(ring.call("ring-job-list", {"state": "rendering"}).data["jobs"])

    [job] = eventually("the provider's handle", rendering)
    ring.notify("notifications/cancelled", {"requestId": call, "reason": "the user pressed Escape"})
    assert look(ring, job["jobId"]).data["state"] == "rendering"
    sandbox.state.configure(render_s=0)
    assert until(ring, "done", job["jobId"]).data["billedCostUsd"] == 0.15
    assert "is done already" in cancel(ring, job["jobId"]).text
    assert f'"id": {call},' not in ring.received
    assert len(charges(sandbox, "a jetty")) == 1
