"""Two servers of one account keep to what its provider takes, which refuses nothing then."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ring_mcp.app import App
from ring_mcp.domain import JobState, VideoRequest
from ring_mcp.sandbox.server import SandboxServer
from tests.conductors.running import ACTOR, running, settled

CLIPS = 8


@pytest.mark.long
async def test_two_servers_together_send_no_more_than_the_account_may(sandbox: SandboxServer, tmp_path: Path) -> None:
    """The number is far below what the provider takes, so that a busy machine, which sends late, breaks nothing."""
    sandbox.state.configure(rate_limit=True, video_rps=20.0)
    async with (
        running(sandbox, tmp_path, RING_RATES="on") as one,
        running(sandbox, tmp_path, RING_RATES="on") as other,
    ):
        apps: list[App] = [one, other] * (CLIPS // 2)
        results = await asyncio.gather(
            *(
                app.videos.generate(VideoRequest(prompt=f"wave {n}", duration_s=1), actor_id=ACTOR, wait_s=0)
                for n, app in enumerate(apps)
            )
        )
        jobs = [await settled(app, result.job_id) for app, result in zip(apps, results, strict=True)]
        assert [job.state for job in jobs] == [JobState.DONE] * CLIPS
        assert [each for each in sandbox.state.requests if each.get("status") == 429] == []
        checks = [check for check in (await one.health.check()).checks if check.name == "rates"]
        assert [check for check in checks if check.status != "ok"] == []
