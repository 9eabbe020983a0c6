"""What a tool is called: by whoever writes its name in another way, and what a wrong name is told."""

from __future__ import annotations

import pytest

from ring_mcp.tools.tool import explain_unknown, find_name
from tests.server.wire import RingProcess

NAMES = ("ring-image-create", "ring-video-create", "ring-job-get", "ring-health")


@pytest.mark.parametrize(
    "wanted",
    ["ring-health", "ring_health", "ringHealth", "Ring-Health", " ring health ", "mcp__ring-mcp__ring-health",
     "mcp__ring_mcp__ring_health", "ring-mcp.ring_health", "ring-mcp:ring-health", "ring/ring-health",
     "ring-mcp_ring-health", "mcp_ring_mcp_ring_health"],
)  # fmt: skip
def test_a_tool_is_found_by_the_letters_of_its_name(wanted: str) -> None:
    assert find_name(NAMES, wanted) == "ring-health"


@pytest.mark.parametrize(
    "wanted", ["", "health", "ring-health-check", "ring-image", "a" * 10_000, "\ud800", "__", "ring-"]
)
def test_no_tool_is_guessed(wanted: str) -> None:
    assert find_name(NAMES, wanted) is None


@pytest.mark.parametrize(
    ("wanted", "told"),
    [("ring-image", "; did you mean ring-image-create? ("), ("generate_video", "generate_video (there are: ring-image"),
     ("\x1b[2Jx", "Unknown tool: x ("), ("a" * 300, f"Unknown tool: {'a' * 100} (")],
)  # fmt: skip
def test_a_wrong_name_is_told_with_the_right_ones(wanted: str, told: str) -> None:
    text = explain_unknown("tool", wanted, NAMES)
    assert told in text
    assert text.endswith("ring-job-get, ring-health)")


def test_a_call_by_another_spelling_is_answered(ring: RingProcess) -> None:
    assert "jobs" in ring.call("ring_job_list", {}).data
    refused = ring.refusal("tools/call", {"name": "generate_image", "arguments": {"prompt": "a"}})
    assert (refused["code"], "ring-image-create" in refused["message"]) == (-32602, True)


@pytest.mark.parametrize("arguments", ['{"prompt": "a", "dryRun": true}', ' {"prompt": "a", "dry_run": "true"}\n'])
def test_arguments_that_a_client_has_packed_are_read(ring: RingProcess, arguments: str) -> None:
    answer = ring.request("tools/call", {"name": "ring-image-create", "arguments": arguments})
    assert answer["structuredContent"]["data"]["dryRun"] is True


@pytest.mark.parametrize("arguments", ["", "  ", "{}", "null", [], None])
def test_nothing_in_place_of_arguments_is_none(ring: RingProcess, arguments: object) -> None:
    answer = ring.request("tools/call", {"name": "ring-spend", "arguments": arguments})
    assert answer["structuredContent"]["success"] is True
    refused = ring.request("tools/call", {"name": "ring-image-create", "arguments": arguments})
    assert refused["structuredContent"]["error"].startswith("prompt is required")


@pytest.mark.parametrize(
    "arguments", ["a boat", "[1]", "[" * 100_000, '"x"', 7, ["prompt"], True, "{" + "x" * 5_000_000]
)
def test_what_is_no_object_of_arguments_is_refused_in_words(ring: RingProcess, arguments: object) -> None:
    answer = ring.request("tools/call", {"name": "ring-image-create", "arguments": arguments})
    assert "unknown argument 'arguments'" in answer["structuredContent"]["error"]
