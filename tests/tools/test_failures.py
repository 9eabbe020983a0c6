"""What a client is told when the provider, the network or a cap says no, and what the sandbox's books say of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.server.wire import RingProcess, ToolReply, charges, environment, eventually

CREATE: dict[str, Any] = {"path": "/images/generations"}

# fault, its options, code, billed, retryable, charges in the sandbox's books
ROWS: list[tuple[str, dict[str, Any], str, str, bool, int]] = [
    ("status", {"status": 500, **CREATE}, "unknown_outcome", "unknown", False, 0),
    ("html_502", {}, "unknown_outcome", "unknown", False, 0),
    ("drop_after_accept", {}, "unknown_outcome", "unknown", False, 1),
    ("drop_before_accept", {}, "unknown_outcome", "unknown", False, 0),
    ("truncated_json", CREATE, "unknown_outcome", "unknown", False, 1),
    ("moderated", {}, "content_refused", "yes", False, 1),
    ("poll_moderated_400", {}, "content_refused", "yes", False, 1),
    ("poll_failed", {}, "generation_failed", "unknown", False, 1),
    ("credits_exhausted", {}, "credits_exhausted", "no", False, 0),
    ("bare_422", {}, "provider_rejected", "no", False, 0),
    ("status", {"status": 404, "body": {"error": "no such model"}}, "provider_rejected", "no", False, 0),
    ("status", {"status": 401, "body": {"error": "no credentials"}}, "provider_auth", "no", False, 0),
    ("status", {"status": 403, "body": {"error": "The team is blocked."}}, "provider_auth", "no", False, 0),
    (
        "status",
        {"status": 400, "body": {"error": "Incorrect API key provided: xa***ey"}},
        "provider_auth",
        "no",
        False,
        0,
    ),
]


@pytest.fixture(scope="module")
def schema(shared_ring: RingProcess) -> dict[str, Any]:
    tools = shared_ring.request("tools/list")["tools"]
    return dict(next(tool for tool in tools if tool["name"] == "ring-image-create")["outputSchema"])


def check_failure(reply: ToolReply, code: str) -> dict[str, Any]:
    """The shape that every failure has, and its facts."""
    assert reply.is_error
    told = reply.content
    assert told.keys() >= {"success", "error", "code", "billed", "retryable", "nextAction"}
    assert told["success"] is False
    assert told["code"] == code, told
    assert told["billed"] in ("yes", "no", "unknown")
    assert isinstance(told["retryable"], bool)
    assert told["error"]
    assert told["nextAction"]
    assert reply.text.startswith(told["error"])
    assert f"[{code}]" in reply.text
    assert told["nextAction"] in reply.text
    assert [block["type"] for block in reply.blocks] == ["text"]
    return told


@pytest.mark.parametrize(("fault", "options", "code", "billed", "retryable", "charged"), ROWS)
def test_a_providers_fault_is_its_code_and_word_on_money(
    ring: RingProcess,
    sandbox: SandboxServer,
    schema: dict[str, Any],
    request: pytest.FixtureRequest,
    fault: str,
    options: dict[str, Any],
    code: str,
    billed: str,
    retryable: bool,
    charged: int,
) -> None:
    prompt = request.node.name
    sandbox.state.faults.add(fault, **options)
    told = check_failure(ring.create(prompt=prompt), code)
    jsonschema.validate(told, schema, jsonschema.Draft202012Validator)  # clients on the TypeScript SDK check it
    assert (told["billed"], told["retryable"]) == (billed, retryable)
    assert told["jobId"]
    assert len(charges(sandbox, prompt)) == charged
    assert sandbox.state.faults.list_armed()[0].hits == 1


def test_a_rate_limit_is_waited_out_and_paid_once(ring: RingProcess, sandbox: SandboxServer) -> None:
    sandbox.state.faults.add("rate_limited", retry_after=1)
    assert ring.create(prompt="patient").data["state"] == "done"
    assert len(charges(sandbox, "patient")) == 1


def test_an_identical_call_does_not_repeat_an_unknown_request(ring: RingProcess, sandbox: SandboxServer) -> None:
    sandbox.state.faults.add("drop_after_accept")
    first = check_failure(ring.create(prompt="lost answer", idempotencyKey="lost"), "unknown_outcome")
    again = check_failure(ring.create(prompt="lost answer", idempotencyKey="lost"), "unknown_outcome")
    assert again["jobId"] == first["jobId"]
    assert "jobs resolve" in again["nextAction"]
    assert len(charges(sandbox, "lost answer")) == 1
    spending = next(check for check in ring.health().data["checks"] if check["name"] == "spending")
    assert spending["status"] == "warning"
    assert "jobs resolve" in spending["fix"]


def test_a_picture_not_yet_fetched_is_a_handle_with_reason(ring: RingProcess, sandbox: SandboxServer) -> None:
    sandbox.state.faults.add("media_status", status=503, times=-1)
    job_id = ring.create(prompt="bumpy", waitSeconds=0).data["jobId"]

    def obstructed() -> ToolReply | None:
        reply = ring.call("ring-job-get", {"jobId": job_id, "waitSeconds": 0})
        return reply if reply.data.get("warnings") else None

    reply = eventually("the obstacle in the answer", obstructed)
    assert (reply.data["state"], reply.data["billedCostUsd"]) == ("storing", 0.06)
    assert "HTTP 503" in reply.data["warnings"][0]
    assert "HTTP 503" in reply.text
    sandbox.state.faults.clear()
    assert ring.call("ring-job-get", {"jobId": job_id}).data["state"] == "done"
    assert len(charges(sandbox, "bumpy")) == 1


def test_half_a_character_in_the_providers_text_does_not_break_the_answer(
    ring: RingProcess, sandbox: SandboxServer
) -> None:
    sandbox.state.faults.add("status", status=400, body={"error": "bad \ud83d half"}, **CREATE)
    told = check_failure(ring.create(prompt="surrogate"), "provider_rejected")
    assert told["error"].startswith("xAI: bad")
    assert not ring.health().is_error


def test_without_a_key_nothing_is_asked_and_the_text_is_rings(tmp_path: Path, sandbox: SandboxServer) -> None:
    env = environment(tmp_path, XAI_API_BASE_URL=sandbox.xai_base_url)
    with RingProcess(env, tmp_path) as ring:
        told = check_failure(ring.create(prompt="no key"), "provider_auth")
        assert told["error"] == "XAI_API_KEY is not configured"
        assert told["billed"] == "no"
        check = next(check for check in ring.health().data["checks"] if check["name"] == "provider xai")
        assert (check["status"], check["detail"]) == ("error", "XAI_API_KEY is not configured")
        assert check["fix"]
    assert not sandbox.state.requests


def test_caps_refuse_before_anything_is_spent_and_say_all_figures(tmp_path: Path, sandbox: SandboxServer) -> None:
    env = environment(tmp_path, RING_SANDBOX=sandbox.url, RING_MAX_USD_PER_DAY="0.13", RING_MAX_USD_PER_CALL="0.12")
    with RingProcess(env, tmp_path) as ring:
        dear = check_failure(ring.create(prompt="too dear", n=3), "cap_exceeded")
        assert dear["error"] == "RING_MAX_USD_PER_CALL is $0.12 and this call needs up to $0.18; nothing was spent"
        assert ring.create(prompt="within").data["billedCostUsd"] == 0.06
        quote = ring.create(prompt="over", n=2, dryRun=True).data
        assert quote["capLeftUsd"] == {"perCall": 0.12, "today": 0.07}
        assert any("would be refused" in warning for warning in quote["warnings"])
        over = check_failure(ring.create(prompt="over", n=2), "cap_exceeded")
        assert (over["billed"], over["retryable"]) == ("no", False)
        assert re.fullmatch(
            r"RING_MAX_USD_PER_DAY is \$0\.13: \$0\.06 used, \$0\.00 reserved by open jobs, \$0\.12 needed; "
            r"it resets at \d{4}-\d\d-\d\d 00:00 UTC; nothing was spent",
            over["error"],
        )
        assert ring.health().data["capLeftUsd"] == {"perCall": 0.12, "today": 0.07}
    assert len(sandbox.state.books.charges()) == 1
