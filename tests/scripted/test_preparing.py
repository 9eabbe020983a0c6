"""What a run would do with each clip: read beside whatever else a server is doing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast

from ring_mcp.errors import InvalidRequest
from ring_mcp.presets import load_presets
from ring_mcp.scripted.base import Maker, Record, RunOptions
from ring_mcp.scripted.run import ScriptRun
from ring_mcp.scripted.schema import parse_script

CLIPS = 600


class Refusing:
    """Who makes no clip, and has made none before."""

    async def create(self, kind: str, arguments: Mapping[str, Any], *_: Any) -> dict[str, Any]:
        raise InvalidRequest("too long")

    async def find(self, key: str) -> str | None:
        return None

    def rows(self) -> list[dict[str, Any]]:
        return []


async def test_a_script_that_unfolds_into_megabytes_leaves_the_loop_to_others() -> None:
    placeholders = "{{anna}} " * 99
    clip = {"duration": 3, "scene": {"camera": placeholders, "action": placeholders}}
    script = {
        "schemaVersion": "1.0",
        "requestId": "large",
        "cast": [{"id": "anna", "description": "d" * 180}],
        "setting": placeholders,
        "clips": [{"id": f"clip-{number}", **clip} for number in range(CLIPS)],
    }
    nobody = Refusing()
    options = RunOptions(clip_ids=tuple(f"clip-{number}" for number in range(200)))
    run = ScriptRun(
        parse_script(script), options, maker=cast(Maker, nobody), manifest=cast(Record, nobody), presets=load_presets()
    )
    began_here_s, began_s = time.thread_time(), time.process_time()
    await run.quote()
    here_s, all_s = time.thread_time() - began_here_s, time.process_time() - began_s
    assert {clip.status for clip in run.clips} == {"error"}
    # Of the processor: what others do on the machine does not count.
    assert here_s < all_s / 2
