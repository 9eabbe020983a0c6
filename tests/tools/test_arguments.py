"""Wrong input: the field and what is allowed, before anything is asked of a provider."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.server.wire import MODERN, RingProcess, ToolReply

ALLOWED = (
    "prompt, provider, model, aspectRatio, resolution, n, purpose, refCode, seed, quality, referenceImages, dryRun, "
    "maxUsd, idempotencyKey, waitSeconds, preview"
)
MAX_RESULT_BYTES = 900_000

# Arguments beside a good prompt, and how the error begins.
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"prompt": ""}, "prompt is required"),
    ({"prompt": " \t\n\u3000"}, "prompt is required"),
    ({"prompt": None}, "prompt is required"),
    ({"prompt": 7}, "prompt: must be text"),
    ({"prompt": ["a"]}, "prompt: must be text"),
    ({"prompt": {"text": "a"}}, "prompt: must be text"),
    ({"prompt": "p" * 1_000_000}, "prompt may have 8000 characters at most for grok-imagine-image-2.0, got 1000000"),
    ({"prompt": "a\0b"}, "prompt: must not contain a NUL character"),
    ({"prompt": "a\ud800b"}, "prompt: must be valid Unicode text"),
    ({"prompt": "\udfff"}, "prompt: must be valid Unicode text"),
    ({"provider": "openai"}, "provider must be one of xai"),
    ({"provider": 1}, "provider must be one of xai, google, got '1'"),
    ({"provider": "x" * 1_000_000}, "provider must be one of xai"),
    ({"model": "dall-e-3"}, "model must be one of grok-imagine-image-2.0, grok-imagine-image for provider xai"),
    ({"model": False}, "model: must be text"),
    (
        {"model": "grok-2-image"},
        "model grok-2-image was retired by its provider on 2026-05-15; use grok-imagine-image-2.0",
    ),
    ({"aspectRatio": "16:10"}, "aspectRatio must be one of 1:1, 3:4, 4:3, 9:16, 16:9"),
    ({"aspectRatio": 1.78}, "aspectRatio must be one of"),
    ({"resolution": "8k"}, "resolution must be one of 1k, 1.5k, 2k for grok-imagine-image-2.0, got '8k'"),
    ({"resolution": 2}, "resolution must be one of"),
    ({"n": 0}, "n must be between 1 and 10 for grok-imagine-image-2.0, got 0"),
    ({"n": 11}, "n must be between 1 and 10 for grok-imagine-image-2.0, got 11"),
    ({"n": 1e9}, "n must be between 1 and 10 for grok-imagine-image-2.0, got 1000000000"),
    ({"n": 1.5}, "n: must be a whole number, without a fraction"),
    ({"n": "x"}, "n: must be a whole number"),
    ({"n": True}, "n: must be a number"),
    ({"n": float("nan")}, "n: must be a finite number"),
    ({"n": [2, 3]}, "n: must be a whole number"),
    ({"purpose": "../../etc"}, "purpose must be one path segment"),
    ({"purpose": "a/b"}, "purpose must be one path segment"),
    ({"purpose": "a\\b"}, "purpose must be one path segment"),
    ({"purpose": ".."}, "purpose must be one path segment"),
    ({"purpose": "p" * 101}, "purpose must be one path segment"),
    ({"purpose": "a\0b"}, "purpose: must not contain a NUL character"),
    ({"purpose": True}, "purpose: must be text"),
    ({"refCode": "r" * 201}, "refCode: may have 200 characters at most"),
    ({"refCode": {"id": 3}}, "refCode: must be text"),
    ({"seed": 1.5}, "seed: must be a whole number"),
    ({"seed": False}, "seed: must be a number"),
    ({"dryRun": "perhaps"}, "dryRun: must be true or false"),
    ({"dryRun": "yes"}, "dryRun: must be true or false"),
    ({"dryRun": 1}, "dryRun: must be true or false"),
    ({"maxUsd": -1}, "maxUsd: must be at least 0"),
    ({"maxUsd": float("inf")}, "maxUsd: must be a finite number"),
    ({"maxUsd": "a dollar"}, "maxUsd: must be a number of US dollars"),
    ({"maxUsd": True}, "maxUsd: must be a number"),
    ({"idempotencyKey": "k" * 201}, "idempotencyKey: may have 200 characters at most"),
    ({"idempotencyKey": [5, 6]}, "idempotencyKey: must be text"),
    ({"waitSeconds": -1}, "waitSeconds: must be at least 0"),
    ({"waitSeconds": 3601}, "waitSeconds: must be at most 3600"),
    ({"waitSeconds": float("nan")}, "waitSeconds: must be"),
    ({"waitSeconds": True}, "waitSeconds: must be a number"),
    ({"waitSeconds": "soon"}, "waitSeconds: must be a number of seconds"),
    ({"aspectratio": "16:9"}, f"unknown argument 'aspectratio', did you mean aspectRatio? (allowed: {ALLOWED})"),
    ({"aspect_ratio": "16:9", "aspectRatio": "1:1"}, "aspectRatio is given twice, as aspect_ratio and as aspectRatio"),
    ({"size": "1024x1024"}, f"unknown argument 'size', did you mean aspectRatio or resolution? (allowed: {ALLOWED})"),
    ({f"extra{number}": 1 for number in range(100)}, "unknown argument 'extra0'"),
    ({f"extra{number}": 1 for number in range(5000)}, "the arguments may have 200 names at most, got 5001"),
]


def check_refused(reply: ToolReply, begins: str, code: str = "invalid_request") -> None:
    assert reply.is_error
    told = reply.content
    assert told["error"].startswith(begins)
    assert (told["code"], told["billed"], told["retryable"]) == (code, "no", False)
    assert "nothing was spent" in told["nextAction"]
    assert reply.text.startswith(begins)
    assert len(re.findall("nothing was (?:spent|billed)", reply.text, re.IGNORECASE)) == 1, "said once"
    assert reply.size_bytes < MAX_RESULT_BYTES


@pytest.mark.parametrize(("arguments", "begins"), REFUSED, ids=[begins[:60] for _, begins in REFUSED])
def test_a_wrong_argument_is_named_and_the_provider_not_asked(
    ring: RingProcess, sandbox: SandboxServer, arguments: dict[str, Any], begins: str
) -> None:
    retired = "retired" in begins
    check_refused(
        ring.create(**{"prompt": "a boat", **arguments}), begins, "model_retired" if retired else "invalid_request"
    )
    assert not sandbox.state.requests
    assert not sandbox.state.books.charges()


def test_a_missing_prompt_is_told_in_rings_words(ring: RingProcess, sandbox: SandboxServer) -> None:
    check_refused(ring.create(), "prompt is required")
    check_refused(ring.create(promt="a boat"), "prompt is required; unknown argument 'promt', did you mean prompt?")
    assert not sandbox.state.requests


def test_every_argument_of_every_tool_is_checked_and_named(ring: RingProcess, sandbox: SandboxServer) -> None:
    for tool in ring.request("tools/list")["tools"]:
        for name, schema in tool["inputSchema"]["properties"].items():
            wrong = ["the wrong type"] if schema["type"] == "object" else {"of": "the wrong type"}
            reply = ring.call(tool["name"], {"prompt": "a boat", "jobId": "x", name: wrong})
            assert f"{name}: " in reply.content["error"], (tool["name"], name)
            assert reply.content["code"] == "invalid_request"
    assert not sandbox.state.requests


def test_several_wrong_arguments_are_told_at_once(ring: RingProcess, sandbox: SandboxServer) -> None:
    told = ring.create(prompt=1, n="x", waitSeconds=-1).content
    assert [part.split(":")[0] for part in told["error"].split("; ")] == ["prompt", "n", "waitSeconds"]
    assert not sandbox.state.requests


def test_rejected_values_are_not_repeated(ring: RingProcess) -> None:
    assert "hunter2" not in str(ring.create(prompt={"password": "hunter2"}, token="hunter2").result)


def test_broken_text_is_answered_on_a_2026_connection_too(env: dict[str, str], tmp_path: Path) -> None:
    with RingProcess(env, tmp_path, version=MODERN) as ring:
        check_refused(ring.create(prompt="a\ud800b"), "prompt: must be valid Unicode text")
        assert ring.refusal("tools/call", {"name": "\ud800"})["message"].startswith("Unknown tool: ? (there are: ring-")


def test_broken_text_outside_the_arguments_does_not_end_the_session(ring: RingProcess) -> None:
    broken = {"name": "ring-health", "arguments": {}, "_meta": {"progressToken": "\udead"}}
    assert ring.request("tools/call", broken)["structuredContent"]["success"] is True
    assert ring.refusal("tools/call", {"name": "\ud800"})["message"].startswith("Unknown tool: ? (there are: ring-")
    assert not ring.health().is_error


def test_without_arguments_nothing_is_asked_of_a_provider(ring: RingProcess, sandbox: SandboxServer) -> None:
    check_refused(
        ToolReply(ring.request("tools/call", {"name": "ring-image-create", "arguments": None}), 0), "prompt is required"
    )
    assert not sandbox.state.requests


def test_a_purpose_is_stored_under_a_safe_name_with_warning(ring: RingProcess) -> None:
    data = ring.create(prompt="a boat", purpose="nové zprávy").data
    assert "/generated/nove_zpravy/" in data["url"]
    assert data["warnings"] == ["purpose is stored as 'nove_zpravy'"]


def test_a_seed_that_the_model_does_not_take_becomes_a_warning(ring: RingProcess, sandbox: SandboxServer) -> None:
    data = ring.create(prompt="a boat, seeded", seed=10**30).data
    assert data["warnings"][0].startswith("seed was not used: grok-imagine-image-2.0 has no seed")
    assert "seed" not in sandbox.state.requests[0]["body"]


def test_a_redirected_model_is_served_with_a_warning(ring: RingProcess) -> None:
    data = ring.create(prompt="a boat, old model", model="grok-imagine-image-quality").data
    assert data["model"] == "grok-imagine-image-2.0"
    assert "was retired on 2026-11-02: grok-imagine-image-2.0" in data["warnings"][0]


def test_one_key_for_two_requests_is_refused(ring: RingProcess, sandbox: SandboxServer) -> None:
    assert ring.create(prompt="first", idempotencyKey="one key").data["state"] == "done"
    sandbox.state.requests.clear()
    check_refused(ring.create(prompt="second", idempotencyKey="one key"), "idempotencyKey 'one key' already stands")
    assert not sandbox.state.requests


@pytest.mark.parametrize(
    ("thumbnail", "begins"),
    [
        ({"overlays": [{"text": "a"}]}, "thumbnail.enabled is required"),
        ("a title", "thumbnail: must be an object"),
        ({"enabled": "perhaps"}, "thumbnail.enabled: must be true or false"),
        ({"enabled": True, "overlay": []}, "unknown argument 'thumbnail.overlay', did you mean overlays? (allowed: en"),
        ({"enabled": True, "template": "bar"}, "thumbnail.template: must be one of 'default', 'title_card' or 'cta_b"),
        ({"enabled": True, "aspectRatio": "wide"}, "thumbnail.aspectRatio must be one of 16:9, 9:16, 1:1"),
        ({"enabled": True, "aspectRatio": "0:1"}, "thumbnail.aspectRatio must be one of 16:9, 9:16, 1:1"),
        ({"enabled": True, "overlays": 5}, "thumbnail.overlays: must be a list"),
        ({"enabled": True, "overlays": [7]}, "thumbnail.overlays[0]: must be an object with text, role, position"),
        ({"enabled": True, "overlays": [{"text": "a"}] * 21}, "thumbnail.overlays: may have 20 items at most"),
        (
            {"enabled": True, "overlays": [{"txt": "a"}]},
            "thumbnail.overlays[0].text is required; unknown argument 'thu",
        ),
        ({"enabled": True, "overlays": [{"text": ""}]}, "thumbnail.overlays[0].text is required"),
        ({"enabled": True, "overlays": [{"text": "a" * 10_001}]}, "thumbnail.overlays[0].text: may have 10000 charac"),
        ({"enabled": True, "overlays": [{"text": "a\0"}]}, "thumbnail.overlays[0].text: must not contain a NUL charac"),
        (
            {"enabled": True, "overlays": [{"text": "a\ud800"}]},
            "thumbnail.overlays[0].text: must be valid Unicode text",
        ),
        ({"enabled": True, "overlays": [{"text": "a", "role": "h1"}]}, "thumbnail.overlays[0].role: must be one of"),
        (
            {"enabled": True, "overlays": [{"text": "a", "position": "left"}]},
            "thumbnail.overlays[0].position: must be one of",
        ),
    ],
)
def test_a_thumbnail_that_is_asked_for_wrongly_is_refused_before_the_spend(
    ring: RingProcess, sandbox: SandboxServer, thumbnail: Any, begins: str
) -> None:
    reply = ring.call("ring-video-create", {"prompt": "a boat", "thumbnail": thumbnail})
    check_refused(reply, begins)
    assert not sandbox.state.requests


@pytest.mark.parametrize(
    ("tool", "arguments", "begins", "code"),
    [
        ("ring-job-get", {}, "jobId is required", "invalid_request"),
        ("ring-job-get", {"jobId": True}, "jobId: must be text", "invalid_request"),
        ("ring-job-get", {"jobId": 5}, "'5' is too short for the beginning of a job's id", "not_found"),
        ("ring-job-get", {"jobId": "j" * 201}, "jobId: may have 200 characters at most", "invalid_request"),
        ("ring-job-get", {"jobId": "a\0b"}, "jobId: must not contain a NUL character", "invalid_request"),
        ("ring-job-get", {"jobId": "nobody"}, "there is no job 'nobody'", "not_found"),
        (
            "ring-job-get",
            {"id": "nobody"},
            "jobId is required, or jobIds; unknown argument 'id', did you mean jobId?",
            "invalid_request",
        ),
        ("ring-job-get", {"jobIds": ["a"] * 21}, "jobIds: may have 20 items at most", "invalid_request"),
        ("ring-job-get", {"jobIds": []}, "jobId is required, or jobIds", "invalid_request"),
        ("ring-job-list", {"since": "0001-01-01T00:00:00+14:00"}, "since: must be a date and time", "invalid_request"),
        ("ring-job-list", {"limit": 101}, "limit: must be at most 100", "invalid_request"),
    ],
)
def test_the_other_tools_are_as_strict(
    ring: RingProcess, tool: str, arguments: dict[str, Any], begins: str, code: str
) -> None:
    reply = ring.call(tool, arguments)
    assert reply.is_error
    assert reply.content["error"].startswith(begins)
    assert (reply.content["code"], reply.content["billed"]) == (code, "no")
