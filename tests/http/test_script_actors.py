"""``ring-script-run`` for several people on one server: everybody has jobs of their own."""

from __future__ import annotations

import asyncio
from typing import Any

from ring_mcp.sandbox.server import SandboxServer
from tests.http.http_reach import ALICE, BOB, LONG_S, HttpRing, charges, eventually, mcp_client

WAY = "http 2026-07-28"
REQUEST = {
    "schemaVersion": "1.0",
    "requestId": "shared-name",
    "clips": [{"id": name, "duration": 1, "prompt": f"{name} of the harbour"} for name in ("one", "two")],
}


async def run(ring: HttpRing, token: str, **arguments: Any) -> dict[str, Any]:
    async with mcp_client(ring.url, WAY, token) as client:
        answer = await client.call_tool("ring-script-run", {"request": REQUEST, **arguments})
    assert answer.structured_content is not None
    assert not answer.is_error, answer.structured_content
    return dict(answer.structured_content["data"])


def job_ids(data: dict[str, Any]) -> set[str]:
    return {clip["jobId"] for clip in data["clips"]}


async def test_nobody_joins_or_remasters_the_jobs_of_another(ring: HttpRing, sandbox: SandboxServer) -> None:
    alices = await run(ring, ALICE)
    async with mcp_client(ring.url, WAY, ALICE) as client:
        for job_id in job_ids(alices):
            await client.call_tool("ring-job-get", {"jobId": job_id, "waitSeconds": 30})
    sandbox.state.configure(render_s=LONG_S)

    again = await run(ring, BOB, remaster=True, dryRun=True)
    assert {clip["quotedUsd"] for clip in again["clips"]} == {0.07}, "a new clip at 720p: bob has no draft to edit"
    bobs = await run(ring, BOB)
    assert bobs["totalUsd"] == alices["totalUsd"] == 0.1
    assert not job_ids(bobs) & job_ids(alices)
    listed = {job["jobId"] for job in ring.jobs(BOB)}
    assert job_ids(bobs) <= listed
    assert not listed & job_ids(alices)

    def paid() -> list[int]:
        return [len(charges(sandbox, f"{name} of the harbour")) for name in ("one", "two")]

    await asyncio.to_thread(eventually, "each is paid by both", lambda: paid() == [2, 2])
    assert job_ids(await run(ring, ALICE)) == job_ids(alices)
    assert paid() == [2, 2]
