"""Keys, status codes and bare texts of the emulated xAI: checklist items 1 to 6."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import pytest

from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.sandbox.state.settings import DEFAULT_XAI_KEY
from tests.server.wire import eventually

IMAGE = {"model": "grok-imagine-image", "prompt": "a lighthouse"}
VIDEO = {"model": "grok-imagine-video", "prompt": "a lighthouse", "duration": 1}


def test_a_missing_key_is_401(anyone: httpx2.Client) -> None:
    reply = anyone.post("/xai/v1/images/generations", json=IMAGE)

    assert reply.status_code == 401
    assert reply.json() == {"code": "unauthenticated:no-credentials", "error": "No credentials provided"}


def test_a_wrong_key_is_400_and_shown_masked(anyone: httpx2.Client) -> None:
    reply = anyone.post(
        "/xai/v1/images/generations", json=IMAGE, headers={"authorization": "Bearer xai-not-a-real-key-gA"}
    )

    assert reply.status_code == 400
    assert reply.json()["code"] == "invalid-argument"
    assert reply.json()["error"].startswith("Incorrect API key provided: xa***gA.")


def test_the_accepted_keys_are_a_setting(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.configure(xai_keys=["another"])

    assert xai.get("/me").status_code == 400
    assert xai.get("/me", headers={"authorization": "Bearer another"}).status_code == 200


def test_every_answer_has_a_request_id_and_says_sandbox(xai: httpx2.Client, anyone: httpx2.Client) -> None:
    replies = [xai.get("/me"), xai.post("/images/generations", json=IMAGE), anyone.get("/xai/v1/nowhere")]

    assert all(reply.headers["x-ring-sandbox"] == "1" for reply in replies)
    assert len({reply.headers["x-request-id"] for reply in replies}) == 3
    assert anyone.get("/control/books").headers["x-ring-sandbox"] == "1"


def test_identical_posts_are_two_jobs_and_two_charges(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    body = IMAGE | {"deferred": True}
    headers = {"idempotency-key": "the same"}
    ids = {xai.post("/images/generations", json=body, headers=headers).json()["request_id"] for _ in range(2)}

    assert len(ids) == 2
    assert [charge.cost_ticks for charge in sandbox.state.books.charges()] == [200_000_000] * 2


def test_multipart_is_415(xai: httpx2.Client) -> None:
    reply = xai.post("/images/edits", data={"prompt": "x"}, files={"image": b"bytes"})

    assert reply.status_code == 415


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"model": "grok-imagine-image"}, "missing field `prompt`"),
        ({"prompt": 7}, "prompt: invalid type: integer `7`, expected a string"),
        ({"prompt": "x", "n": "two"}, 'n: invalid type: string "two", expected u32'),
        ({"prompt": "x", "deferred": "yes"}, "expected a boolean"),
        (["prompt"], "expected a JSON object"),
    ],
)
def test_a_missing_or_mistyped_field_is_422_in_bare_text(xai: httpx2.Client, body: Any, text: str) -> None:
    reply = xai.post("/images/generations", json=body)

    assert reply.status_code == 422
    assert reply.headers["content-type"].startswith("text/plain")
    assert reply.text.startswith("Failed to deserialize the JSON body into the target type: ")
    assert text in reply.text


def test_malformed_json_is_422(xai: httpx2.Client) -> None:
    reply = xai.post("/images/generations", content=b'{"prompt":', headers={"content-type": "application/json"})

    assert reply.status_code == 422


def test_the_422_can_be_json_as_well(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.configure(unprocessable_as_json=True)

    reply = xai.post("/images/generations", json={})

    assert reply.status_code == 422
    assert "missing field `prompt`" in reply.json()["error"]


def test_an_unknown_route_is_404_in_plain_text(xai: httpx2.Client) -> None:
    reply = xai.post("/images/upscale", json=IMAGE)

    assert reply.status_code in (404, 405)
    assert (xai.get("/nowhere").status_code, xai.get("/nowhere").text) == (404, "Not Found")


def test_an_unknown_model_is_404_in_json(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    reply = xai.post("/images/generations", json=IMAGE | {"model": "grok-2-image"})

    assert reply.status_code == 404
    assert reply.json()["code"] == "not-found"
    assert "grok-2-image does not exist" in reply.json()["error"]
    assert sandbox.state.books.charges() == []


def test_codes_come_in_the_old_spelling_too(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.configure(code_style="old")

    reply = xai.post("/images/generations", json=IMAGE | {"n": 11})

    assert (reply.status_code, reply.json()["code"]) == (400, "Client specified an invalid argument")


def test_the_rate_limit_counts_for_each_model_and_refills(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.configure(rate_limit=True, image_rps=0.001)

    assert xai.post("/images/generations", json=IMAGE).status_code == 200
    refused = xai.post("/images/generations", json=IMAGE)
    assert refused.status_code == 429
    assert refused.json()["code"] == "resource-exhausted"
    assert "Too many requests for team" in refused.json()["error"]
    assert "grok-imagine-image" in refused.json()["error"]
    assert "retry-after" not in refused.headers
    other = xai.post("/images/generations", json=IMAGE | {"model": "grok-imagine-image-2.0"})
    assert other.status_code == 200

    sandbox.state.skip(1001)
    assert xai.post("/images/generations", json=IMAGE).status_code == 200
    assert len(sandbox.state.books.charges()) == 3


def test_the_rate_limit_can_say_when_to_come_back(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.configure(rate_limit=True, image_rps=0.001, retry_after="seconds")
    xai.post("/images/generations", json=IMAGE)
    assert xai.post("/images/generations", json=IMAGE).headers["retry-after"] == "3"

    sandbox.state.configure(retry_after="date")
    header = xai.post("/images/generations", json=IMAGE).headers["retry-after"]
    assert parsedate_to_datetime(header).tzinfo is not None


@pytest.mark.parametrize(
    ("fault", "options", "status", "text"),
    [
        ("rate_limited", {}, 429, "Too many requests for team"),
        ("credits_exhausted", {}, 429, "used all available credits or reached its monthly spending limit"),
        ("html_502", {"status": 520}, 520, "<!DOCTYPE html>"),
        ("bare_422", {}, 422, "Failed to deserialize"),
        ("status", {"status": 529, "body": {"code": "overloaded", "error": "Overloaded"}}, 529, "Overloaded"),
        ("status", {"status": 503, "body": "down", "headers": {"retry-after": "9"}}, 503, "down"),
    ],
)
def test_a_refusing_fault_accepts_and_bills_nothing(
    sandbox: SandboxServer, xai: httpx2.Client, fault: str, options: dict[str, Any], status: int, text: str
) -> None:
    sandbox.state.faults.add(fault, path="images/generations", **options)

    reply = xai.post("/images/generations", json=IMAGE)

    assert reply.status_code == status
    assert text in reply.text
    assert sandbox.state.books.charges() == []
    assert xai.post("/images/generations", json=IMAGE).status_code == 200


def test_a_429_can_carry_either_form_of_retry_after(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.faults.add("rate_limited", retry_after=3)
    sandbox.state.faults.add("rate_limited", retry_after="date")

    assert xai.get("/me").headers["retry-after"] == "3"
    assert parsedate_to_datetime(xai.get("/me").headers["retry-after"]).tzinfo is not None


@pytest.mark.parametrize(("fault", "charges"), [("drop_before_accept", 0), ("drop_after_accept", 1)])
def test_a_dropped_connection_gives_no_answer_at_all(
    sandbox: SandboxServer, xai: httpx2.Client, fault: str, charges: int
) -> None:
    sandbox.state.faults.add(fault, path="images/generations")

    with pytest.raises(httpx2.RemoteProtocolError):
        xai.post("/images/generations", json=IMAGE)

    assert len(sandbox.state.books.charges()) == charges
    assert xai.post("/images/generations", json=IMAGE).status_code == 200


def test_a_drop_after_accepting_waits_for_a_call_that_is_accepted(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.faults.add("drop_after_accept")

    assert xai.post("/images/generations", json={}).status_code == 422
    with pytest.raises(httpx2.RemoteProtocolError):
        xai.post("/images/generations", json=IMAGE)


def test_a_stalled_call_is_billed_while_the_client_still_waits(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.faults.add("stall", seconds=60)

    with pytest.raises(httpx2.ReadTimeout):
        xai.post("/images/generations", json=IMAGE, timeout=0.3)

    eventually("it is billed", lambda: len(sandbox.state.books.charges()) == 1)


def test_a_slow_reply_comes_in_the_end(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.faults.add("slow_reply", seconds=0.05)

    reply = xai.get("/me")

    assert reply.status_code == 200
    assert reply.elapsed.total_seconds() >= 0.05


def test_the_key_can_be_checked_for_nothing(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.configure(zdr=True)

    facts = xai.get("/api-key").json()

    text = ("redacted_api_key", "user_id", "name", "create_time", "modify_time", "modified_by", "team_id", "api_key_id")
    assert all(isinstance(facts[name], str) and facts[name] for name in text)
    assert isinstance(facts["acls"], list)
    assert (facts["team_blocked"], facts["api_key_blocked"], facts["api_key_disabled"]) == (False, False, False)
    assert facts["zdr_status"] == "zdr"
    assert xai.get("/me").json() == facts


def test_a_job_is_known_to_its_teams_keys_alone(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.configure(
        xai_keys=[DEFAULT_XAI_KEY, "second-key", "foreign-key"], xai_teams={"foreign-key": "another-team"}
    )
    request_id = xai.post("/videos/generations", json=VIDEO).json()["request_id"]

    def look(key: str) -> int:
        return xai.get(f"/videos/{request_id}", headers={"Authorization": f"Bearer {key}"}).status_code

    def team(key: str) -> str:
        return str(xai.get("/api-key", headers={"Authorization": f"Bearer {key}"}).json()["team_id"])

    assert team(DEFAULT_XAI_KEY) == team("second-key") != team("foreign-key") == "another-team"
    assert look(DEFAULT_XAI_KEY) in (200, 202)
    assert look("second-key") in (200, 202)
    assert look("foreign-key") == 404


def test_a_fault_hits_the_look_at_the_key_only_by_its_path(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.faults.add("slow_reply", seconds=0.0, times=2)
    named = sandbox.state.faults.add("html_502", path="/api-key")

    assert xai.get("/api-key").status_code == 502
    assert xai.get("/api-key").status_code == 200
    assert [fault.hits for fault in sandbox.state.faults.list_armed()] == [0, 1]
    assert named.hits == 1


def test_a_blocked_team_is_403(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.configure(team_blocked=True)

    reply = xai.post("/images/generations", json=IMAGE)

    assert (reply.status_code, reply.json()["code"]) == (403, "permission-denied")


def test_models_are_listed_with_their_prices(xai: httpx2.Client) -> None:
    listed = {model["id"]: model for model in xai.get("/image-generation-models").json()["models"]}

    assert listed["grok-imagine-image"]["image_price"] == 200_000_000
    prices = {
        (row["quality"], row["resolution"]): row["price_per_image"]
        for row in listed["grok-imagine-image-2.0"]["pricing"]
    }
    assert prices["medium", "2k"] == 800_000_000
    assert xai.get("/image-generation-models/grok-imagine-image").json() == listed["grok-imagine-image"]
    assert xai.get("/image-generation-models/grok-2-image").status_code == 404
    assert len(xai.get("/models").json()["data"]) == 5


@pytest.mark.parametrize("send", [lambda c: c.delete("/images/x"), lambda c: c.post("/images/x/cancel", json={})])
def test_nothing_can_be_cancelled(xai: httpx2.Client, send: Callable[[httpx2.Client], httpx2.Response]) -> None:
    assert send(xai).status_code in (404, 405)
