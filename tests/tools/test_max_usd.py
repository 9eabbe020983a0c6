"""``maxUsd``: a call that could cost more than its caller allows is refused before the spend."""

from __future__ import annotations

from typing import Any

import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.server.wire import RingProcess

CALLS: list[tuple[str, dict[str, Any], float]] = [
    ("ring-image-create", {"prompt": "one"}, 0.06),
    ("ring-image-create", {"prompt": "two", "n": 2}, 0.12),
    ("ring-image-create", {"prompt": "from google", "provider": "google"}, 0.04),
    ("ring-video-create", {"prompt": "a clip", "duration": 1}, 0.05),
    ("ring-video-create", {"prompt": "with a still", "duration": 1, "firstFramePrompt": "a still"}, 0.15),
]


@pytest.mark.parametrize(("tool", "arguments", "needed"), CALLS, ids=[str(each[1]["prompt"]) for each in CALLS])
def test_a_call_costs_what_its_caller_allows_or_nothing(
    ring: RingProcess, sandbox: SandboxServer, tool: str, arguments: dict[str, Any], needed: float
) -> None:
    quote = ring.call(tool, {**arguments, "maxUsd": 0.01, "dryRun": True}).data
    assert quote["totalUsd"] <= needed
    assert any("maxUsd is $0.01: it would be refused" in warning for warning in quote["warnings"])
    refused = ring.call(tool, {**arguments, "maxUsd": quote["totalUsd"] - 0.001})
    assert (refused.content["code"], refused.content["billed"]) == ("cap_exceeded", "no")
    assert refused.content["error"].startswith("maxUsd is $")
    assert "maxUsd" in refused.content["nextAction"]
    assert not sandbox.state.books.charges()
    made = ring.call(tool, {**arguments, "maxUsd": quote["totalUsd"], "waitSeconds": 30}).data
    assert made["state"] == "done"


def test_a_call_that_joins_costs_nothing_whatever_is_allowed(ring: RingProcess, sandbox: SandboxServer) -> None:
    key = {"prompt": "once", "idempotencyKey": "allowed once"}
    first = ring.create(**key, maxUsd=1).data
    again = ring.create(**key, maxUsd=0).data
    assert (again["jobId"], again["joined"]) == (first["jobId"], True)
    assert len(sandbox.state.books.charges()) == 1


def test_a_limited_script_gives_each_clip_no_more_than_its_quote(ring: RingProcess, sandbox: SandboxServer) -> None:
    clips = [{"id": name, "duration": 1, "prompt": f"limited {name}"} for name in ("one", "two")]
    request = {"schemaVersion": "1.0", "requestId": "limited", "clips": clips}
    reply = ring.call("ring-script-run", {"request": request, "maxUsd": 0.09})
    assert reply.content["code"] == "cap_exceeded"
    assert not sandbox.state.books.charges()
    started = ring.call("ring-script-run", {"request": request, "maxUsd": "$0.10"}).data
    assert [clip["quotedUsd"] for clip in started["clips"]] == [0.05, 0.05]
    together = ring.call("ring-job-get", {"jobIds": [clip["jobId"] for clip in started["clips"]], "waitSeconds": 30})
    assert {job["state"] for job in together.data["jobs"]} == {"done"}
