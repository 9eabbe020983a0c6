"""ring-script-run over real jobs: what stands, what waits, and what is never paid twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ring_mcp.app import App
from ring_mcp.errors import CapExceeded
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.server.toolbox import Toolbox
from ring_mcp.tools.tool import Caller
from tests.conductors.running import charges, running, settled

SCRIPT: dict[str, Any] = {
    "schemaVersion": "1.0",
    "requestId": "harbour",
    "clips": [{"id": "one", "duration": 2, "prompt": "A boat leaves the harbour."}],
}


async def run_script(app: App, **arguments: Any) -> dict[str, Any]:
    tool = Toolbox(app)["ring-script-run"]

    async def untold(*_: Any) -> None:
        pass

    answer = await tool.handler(
        tool.arguments.parse({"request": SCRIPT, **arguments}), Caller(actor_id="tester", progress=untold)
    )
    (clip,) = answer.data["clips"]
    return dict(clip)


async def test_a_remaster_waits_for_its_draft_and_is_paid_once(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.state.configure(render_s=3600.0)
    async with running(sandbox, tmp_path) as app:
        draft = await run_script(app)
        assert draft["status"] == "open"
        early = await run_script(app, remaster=True)
        assert (early["status"], early.get("jobId")) == ("error", None)
        assert "the draft is still under way" in early["error"]
        assert charges(sandbox) <= 1
        sandbox.state.configure(render_s=0.0)
        await settled(app, draft["jobId"])
        made = await run_script(app, remaster=True)
        await settled(app, made["jobId"])
        again = await run_script(app, remaster=True)
        assert (again["jobId"], again["status"], again["quotedUsd"]) == (made["jobId"], "done", 0)
        assert charges(sandbox) == 2


async def test_a_clip_that_is_spelled_otherwise_is_not_paid_again(sandbox: SandboxServer, tmp_path: Path) -> None:
    (plain,) = SCRIPT["clips"]
    still = {"imagePrompt": "a still", "imageModel": "grok-imagine-image"}
    ours = {**plain, "aspectRatio": "16:9", "video": {"model": "grok-imagine-video-1.5"}, "firstFrame": still}
    theirs = {
        **ours,
        "aspectRatio": " 16 x 9",
        "video": {"model": "Grok Imagine Video 1.5"},
        "firstFrame": {**still, "imageModel": "xai/Grok_Imagine_Image"},
    }
    async with running(sandbox, tmp_path) as app:
        made = await run_script(app, request={**SCRIPT, "clips": [ours]})
        await settled(app, made["jobId"])
        paid = charges(sandbox)
        again = await run_script(app, request={**SCRIPT, "clips": [theirs]})
        assert (again["jobId"], again["quotedUsd"]) == (made["jobId"], 0)
        assert charges(sandbox) == paid


async def test_clips_above_the_limit_are_refused_in_the_words_of_the_tool(
    sandbox: SandboxServer, tmp_path: Path
) -> None:
    async with running(sandbox, tmp_path) as app:
        with pytest.raises(CapExceeded, match=r"would cost \$0.10 at list prices, and \$0.05 is the most"):
            await run_script(app, maxUsd=0.05)
    assert charges(sandbox) == 0
