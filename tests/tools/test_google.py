"""The image tool with Google as the provider, as a client sees it."""

from __future__ import annotations

from typing import Any

import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.server.wire import RingProcess, charges


def test_a_picture_from_google_has_its_address_its_cost_and_its_model(
    ring: RingProcess, sandbox: SandboxServer
) -> None:
    made = ring.create(prompt="from google", provider="google", aspectRatio="16:9", n=2, seed=7).data
    assert (made["provider"], made["model"]) == ("google", "gemini-nano-banana-2.1")
    assert (made["state"], len(made["images"])) == ("done", 2)
    assert "warnings" not in made
    assert made["billedCostUsd"] == pytest.approx(0.0672, abs=0.0001)
    sent = [request["body"] for request in sandbox.state.requests if request["body"]]
    assert sorted(body["generationConfig"]["seed"] for body in sent) == [7, 8]
    assert len(charges(sandbox, "from google")) == 2


def test_pictures_are_combined_by_google_and_each_is_billed(ring: RingProcess, sandbox: SandboxServer) -> None:
    """Through the courier, which is told the pictures as well."""
    first = ring.create(prompt="a boat", provider="google", n=2).data
    urls = [image["url"] for image in first["images"]]
    asked = {"prompt": "both at night", "provider": "google", "referenceImages": urls, "n": 2}
    quote = ring.create(**asked, dryRun=True).data
    assert [(line["what"], line["count"], line["totalUsd"]) for line in quote["prices"]][1] == (
        "reference image given to the model",
        4,
        pytest.approx(4 * 0.00168),
    )
    made = ring.create(**asked).data
    assert (made["state"], len(made["images"])) == ("done", 2)
    assert 0.0672 + 4 * 0.00168 < made["billedCostUsd"] <= quote["totalUsd"]
    sent = [request["body"] for request in sandbox.state.requests if "both at night" in str(request["body"])]
    assert len(sent) == 2
    for body in sent:
        parts = body["contents"][0]["parts"]
        assert [part.get("inlineData", {}).get("mimeType") for part in parts] == ["image/jpeg", "image/jpeg", None]
        assert "aspectRatio" not in body["generationConfig"]["imageConfig"]


def test_a_picture_that_is_blocked_among_others_is_told_in_a_warning(ring: RingProcess, sandbox: SandboxServer) -> None:
    sandbox.state.faults.add("google_blocked", after=1)
    reply = ring.create(prompt="three of them", provider="google", n=3)
    assert len(reply.data["images"]) == 2
    assert "Google returned 2 of 3 images" in reply.data["warnings"]
    assert "IMAGE_SAFETY" in reply.text


def test_a_ratio_that_google_lacks_is_refused_with_the_nearest(ring: RingProcess, sandbox: SandboxServer) -> None:
    reply = ring.create(prompt="share image", provider="google", aspectRatio="2:1")
    assert reply.content["code"] == "invalid_request"
    assert reply.content["error"].endswith("got '2:1'; the nearest are 16:9 and 21:9")
    assert list(sandbox.state.requests) == []


def test_a_rate_limit_is_waited_out_as_long_as_google_says(ring: RingProcess, sandbox: SandboxServer) -> None:
    sandbox.state.faults.add("rate_limited", retry_after=1)
    assert ring.create(prompt="patient", provider="google").data["state"] == "done"
    assert len(charges(sandbox, "patient")) == 1


@pytest.mark.parametrize(
    ("fault", "options", "code", "billed"),
    [
        ("google_blocked", {}, "content_refused", "yes"),
        ("google_error", {"status": 400}, "provider_rejected", "no"),
        ("google_error", {"status": 403}, "provider_auth", "no"),
        ("google_error", {"status": 503}, "provider_unavailable", "no"),
        ("html_502", {"status": 503}, "unknown_outcome", "unknown"),
        ("credits_exhausted", {}, "credits_exhausted", "no"),
        ("truncated_json", {}, "unknown_outcome", "unknown"),
        ("drop_after_accept", {}, "unknown_outcome", "unknown"),
    ],
)
def test_a_fault_of_google_is_its_code_and_word_on_money(
    ring: RingProcess, sandbox: SandboxServer, fault: str, options: dict[str, Any], code: str, billed: str
) -> None:
    sandbox.state.faults.add(fault, **options)
    told = ring.create(prompt=f"{fault} {options}", provider="google").content
    assert (told["code"], told["billed"]) == (code, billed)
    assert sandbox.state.faults.list_armed()[0].hits == 1


def test_a_clip_from_google_is_made_with_its_own_resolution(ring: RingProcess, sandbox: SandboxServer) -> None:
    made = ring.call("ring-video-create", {"prompt": "a clip from google", "provider": "google", "duration": 3}).data
    assert (made["provider"], made["model"], made["resolution"]) == ("google", "gemini-omni-1.2-flash", "360p")
    assert made["state"] == "done"
    assert made["video"]["duration"] == 3
    assert len(charges(sandbox, "a clip from google")) == 1


@pytest.mark.parametrize("wrong", [{"aspectRatio": "1:1"}, {"duration": 11}, {"provider": "openai"}])
def test_a_clip_that_google_cannot_make_is_refused_before_any_spend(
    ring: RingProcess, sandbox: SandboxServer, wrong: dict[str, object]
) -> None:
    reply = ring.call("ring-video-create", {"prompt": "x", "provider": "google", **wrong})
    assert reply.content["code"] == "invalid_request"
    assert "must be" in reply.content["error"]
    assert list(sandbox.state.requests) == []
