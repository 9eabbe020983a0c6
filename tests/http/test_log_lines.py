"""The log of a server: a line for each event of a job and each request, joined by ids, as text or as JSON."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.backends import open_ledger
from ring_mcp.config import load_config
from ring_mcp.domain import Job
from ring_mcp.sandbox.server import SandboxServer
from tests.http.http_reach import ALICE, API, HttpRing, eventually

EVENTS = ["opened", "submitted", "accepted", "stored", "settled"]


def row_of(env: dict[str, str], folder: Path, job_id: str) -> Job:
    async def read() -> Job | None:
        ledger = open_ledger(load_config(env, folder=folder))
        try:
            return await ledger.get(job_id)
        finally:
            await ledger.aclose()

    job = asyncio.run(read())
    assert job is not None
    return job


def lines(ring: HttpRing) -> list[dict[str, Any]]:
    """Every line: whoever collects them reads JSON and nothing else."""
    return [json.loads(line) for line in ring.stderr.splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.parametrize("kind", ["image", "video"])
def test_each_event_of_a_job_is_a_line_with_its_facts(env: dict[str, str], tmp_path: Path, kind: str) -> None:
    asked = {"prompt": "a secret wish"} | ({"duration": 1} if kind == "video" else {})
    with HttpRing({**env, "RING_LOG_FORMAT": "json"}, tmp_path) as ring:
        headers = {"x-request-id": "night-run.7"}
        answer = ring.post(f"{API}/{kind}s/generate", asked, headers=headers, token=ALICE)
        assert (answer.status_code, answer.headers["x-request-id"]) == (201, "night-run.7")
        job_id = answer.json()["data"]["jobId"]
        eventually("the last event", lambda: any(line.get("event") == "settled" for line in lines(ring)))
        eventually("the line of the request", lambda: any(line.get("status") == 201 for line in lines(ring)))
        told = lines(ring)
    assert "ring-mcp listens on" in told[0]["message"]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in told)
    events = [line for line in told if line.get("job") == job_id]
    assert [line["event"] for line in events] == EVENTS
    for line in events:
        assert line.items() >= {"kind": kind, "provider": "xai", "actor": "alice", "level": "info"}.items()
        assert line["request"] == "night-run.7"
    assert events[-1]["usd"] == events[-1]["billed_usd"] == answer.json()["data"]["billedCostUsd"]
    [request] = [line for line in told if line.get("status") == 201]
    assert (request["request"], request["path"]) == ("night-run.7", f"{API}/{kind}s/generate")
    assert "secret wish" not in ring.stderr
    assert row_of(env, tmp_path, job_id).plan.http_request_id == "night-run.7"


def test_an_id_that_is_none_is_replaced(ring: HttpRing) -> None:
    answer = ring.get("/healthz", token=None, headers={"x-request-id": "no id\tat all"})
    assert len(answer.headers["x-request-id"]) == 12


def test_warning_leaves_what_somebody_should_look_at(
    env: dict[str, str], tmp_path: Path, sandbox: SandboxServer
) -> None:
    with HttpRing({**env, "RING_LOG_LEVEL": "warning"}, tmp_path) as ring:
        ring.post(f"{API}/images/generate", {"prompt": "fine"})
        sandbox.state.faults.add("drop_after_accept")
        unknown = ring.post(f"{API}/images/generate", {"prompt": "unknown"}).json()
        eventually("the error", lambda: "may have cost" in ring.stderr)
        told = ring.stderr
    assert "POST /api" not in told
    assert " INFO " not in told
    [line] = [line for line in told.splitlines() if "may have cost" in line]
    assert " ERROR ring_mcp.jobs: " in line
    assert f"job {unknown['jobId']} unknown after " in line
