"""How a server ends, and that what was paid for arrives all the same: after EOF, a signal, and kill -9."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.one_now import one_now
from tests.server.wire import RingProcess, charges, eventually, path_of

LONG_S = 600.0
CONTAINER = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
"""What it runs is the first process of a container as far as this matters: with it all others there end."""

END_LIMIT_S = 60.0
"""A signal leaves an idle server less than a second; this is for machines under load."""

DRAINED = {"RING_DRAIN_S": "0.3"}
"""For requests that are never answered."""


def end(ring: RingProcess, how: str) -> int:
    """End it; the exit status."""
    if how == "EOF":
        ring.hang_up()
    else:
        ring.signal(signal.Signals[how])
    return ring.wait(END_LIMIT_S)


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "EOF"])
def test_an_idle_server_ends_at_once_and_quietly(env: dict[str, str], tmp_path: Path, how: str) -> None:
    with RingProcess(env, tmp_path) as ring:
        assert not ring.health().is_error
        assert end(ring, how) == 0
    assert ring.stderr == ""
    assert ring.stray == []


def test_a_server_whose_client_leaves_without_a_word_ends_too(env: dict[str, str], tmp_path: Path) -> None:
    with RingProcess(env, tmp_path) as ring:
        ring.hang_up()
        assert ring.wait() == 0
    assert ring.stderr == ""


@pytest.mark.long
def test_a_client_that_dies_amid_a_call_is_no_fault(
    env: dict[str, str], tmp_path: Path, sandbox: SandboxServer
) -> None:
    sandbox.state.configure(deferred_s=LONG_S)
    prompt = "nobody waits for it"
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "dying", "version": "1"}}
    asked = {"name": "ring-image-create", "arguments": {"prompt": prompt}}
    messages: list[dict[str, Any]] = [
        {"id": 1, "method": "initialize", "params": hello},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": asked},
    ]
    command = [sys.executable, "-m", "ring_mcp"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=env, cwd=tmp_path, **pipes) as process:  # type: ignore[call-overload]
        for message in messages:
            process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        process.stdin.flush()
        eventually("it is accepted", lambda: charges(sandbox, prompt))
        process.stdout.close()
        process.stdin.close()
        assert process.wait(END_LIMIT_S) == 0
        assert b"Traceback" not in process.stderr.read()
    sandbox.state.configure(deferred_s=0)


def interrupted(ring: RingProcess, sandbox: SandboxServer, prompt: str, how: str) -> None:
    """Call, and end the server (and so the call) when the provider has accepted the job."""
    sandbox.state.configure(deferred_s=LONG_S)
    ring.begin("ring-image-create", {"prompt": prompt})
    eventually("the job on record", lambda: rendering(ring))
    if how == "SIGKILL":
        ring.kill()
    else:
        assert end(ring, how) == 0
    sandbox.state.configure(deferred_s=0)


def rendering(ring: RingProcess) -> bool:
    return bool(ring.call("ring-job-list", {"state": "rendering"}).data["jobs"])


def only_job(ring: RingProcess) -> dict[str, Any]:
    (job,) = ring.call("ring-job-list", {}).data["jobs"]
    return dict(job)


@pytest.mark.parametrize("how", one_now(["SIGKILL", "EOF", "SIGTERM", "SIGINT"]))
def test_a_picture_under_way_lands_with_the_next_start(
    env: dict[str, str], tmp_path: Path, sandbox: SandboxServer, how: str
) -> None:
    prompt = f"under way, {how}"
    with RingProcess(env, tmp_path) as first:
        interrupted(first, sandbox, prompt, how)
    with RingProcess(env, tmp_path) as second:
        eventually("the job to be done, unasked", lambda: only_job(second)["state"] == "done")
        got = second.create(prompt=prompt).data
        assert (got["joined"], got["state"], got["jobId"]) == (True, "done", only_job(second)["jobId"])
        assert path_of(got["url"]).stat().st_size == got["images"][0]["size"]
    assert len(charges(sandbox, prompt)) == 1
    assert "Traceback" not in first.stderr + second.stderr


@pytest.mark.parametrize("how", one_now(["EOF", "SIGTERM"]))
def test_a_paid_request_under_way_is_answered_before_the_server_ends(
    env: dict[str, str], tmp_path: Path, sandbox: SandboxServer, how: str
) -> None:
    sandbox.state.faults.add("stall", seconds=1.5)
    with RingProcess(env, tmp_path) as first:
        first.begin("ring-image-create", {"prompt": "last words"})
        eventually("the charge", lambda: charges(sandbox, "last words"))
        assert end(first, how) == 0
    with RingProcess(env, tmp_path) as second:
        eventually("the job to be done", lambda: only_job(second)["state"] == "done")
    assert len(charges(sandbox, "last words")) == 1


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_a_paid_request_without_answer_is_unknown_never_sent_again(
    env: dict[str, str], tmp_path: Path, sandbox: SandboxServer, how: str
) -> None:
    prompt = f"lost, {how}"
    sandbox.state.faults.add("stall", seconds=LONG_S)
    with RingProcess(env | DRAINED, tmp_path) as first:
        first.begin("ring-image-create", {"prompt": prompt})
        eventually("the charge", lambda: charges(sandbox, prompt))
        if how == "SIGKILL":
            first.kill()
        else:
            assert end(first, how) == 0
    with RingProcess(env, tmp_path) as second:
        eventually("the job to be settled", lambda: only_job(second)["state"] == "unknown")
        told = second.create(prompt=prompt).content
        assert (told["success"], told["code"], told["billed"]) == (False, "unknown_outcome", "unknown")
        assert told["jobId"] == only_job(second)["jobId"]
    assert len(charges(sandbox, prompt)) == 1
    assert len([asked for asked in sandbox.state.requests if asked["method"] == "POST"]) == 1


def test_a_server_that_is_stopped_by_its_client_twice_still_ends_cleanly(env: dict[str, str], tmp_path: Path) -> None:
    with RingProcess(env, tmp_path) as ring:
        assert not ring.health().is_error
        ring.hang_up()
        ring.signal(signal.SIGTERM)
        ring.signal(signal.SIGTERM)
        assert ring.wait(END_LIMIT_S) in (0, -signal.SIGTERM)  # the latter if EOF had ended the loop before it came
    assert "Traceback" not in ring.stderr


@pytest.mark.parametrize("how", one_now(["SIGKILL of its tree", "EOF", "SIGTERM", "SIGKILL of its group"]))
def test_however_a_server_ends_a_picture_inside_answers_survives(
    env: dict[str, str], tmp_path: Path, sandbox: SandboxServer, how: str
) -> None:
    prompt = f"from Google, {how}"
    sandbox.state.faults.add("stall", seconds=3.0)
    with RingProcess(env | DRAINED, tmp_path) as first:
        first.begin("ring-image-create", {"prompt": prompt, "provider": "google"})
        eventually("the charge", lambda: charges(sandbox, prompt))
        if how.endswith("group"):
            first.kill_group()
        elif how.endswith("tree"):
            first.kill_tree()
        else:
            assert end(first, how) == 0
    with RingProcess(env, tmp_path) as second:
        assert only_job(second)["state"] != "unknown", "its answer may come"
        eventually("the job to be done", lambda: only_job(second)["state"] == "done")
        (image,) = second.create(prompt=prompt, provider="google").data["images"]
        assert path_of(image["url"]).stat().st_size == image["size"]
    assert len(charges(sandbox, prompt)) == 1
    assert not list((tmp_path / "state" / "sandbox" / "spool").glob("*-*-*-*-*-*"))


def has_containers() -> bool:
    return (
        shutil.which("unshare") is not None
        and subprocess.run([*CONTAINER, "true"], check=False, capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not has_containers(), reason="nothing can be run as in a container here")
@pytest.mark.parametrize("shells", [0, 2], ids=["is the first process", "is started by a shell's shell"])
def test_a_container_that_ends_takes_no_picture_inside_answers_along(
    env: dict[str, str], tmp_path: Path, sandbox: SandboxServer, shells: int
) -> None:
    """Its courier ends with it, so that the server has to wait for what it carries."""
    sandbox.state.faults.add("stall", seconds=1.5)
    hello = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "docker run -i", "version": "1"},
    }
    asked = {"name": "ring-image-create", "arguments": {"prompt": "contained", "provider": "google"}}
    messages: list[dict[str, Any]] = [
        {"id": 1, "method": "initialize", "params": hello},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": asked},
    ]
    command = [*CONTAINER, *["sh", "-c", '"$@"; exit $?', "sh"] * shells, sys.executable, "-m", "ring_mcp"]
    with subprocess.Popen(command, env=env, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        for message in messages:
            process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        process.stdin.flush()
        eventually("the charge", lambda: charges(sandbox, "contained"))
        process.stdin.close()
        assert process.wait(END_LIMIT_S) == 0
    with RingProcess(env, tmp_path) as second:
        settled = eventually("the job to be settled", lambda: {"done", "unknown"} & {only_job(second)["state"]})
        assert settled == {"done"}
    assert len(charges(sandbox, "contained")) == 1
