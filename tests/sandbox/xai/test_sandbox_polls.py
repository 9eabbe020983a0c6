"""What a poll can answer: checklist items 17 to 21, for clips and for deferred pictures."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from ring_mcp.sandbox.server import SandboxServer

CLIP = {"model": "grok-imagine-video", "prompt": "a fox in the snow", "duration": 1}
PICTURE = {"model": "grok-imagine-image", "prompt": "a lighthouse", "deferred": True}


@pytest.fixture(params=["videos", "images"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def job(xai: httpx2.Client, kind: str) -> str:
    """The path that polls a job just created."""
    body = CLIP if kind == "videos" else PICTURE
    return f"/{kind}/" + str(xai.post(f"/{kind}/generations", json=body).json()["request_id"])


@pytest.mark.parametrize(
    ("fault", "options", "status", "text"),
    [
        ("poll_404", {}, 404, "could be found with the given request_id"),
        ("poll_400", {}, 400, "could not be processed"),
        ("poll_500", {}, 500, "Internal error"),
        ("poll_500", {"status": 503}, 503, "Internal error"),
        ("poll_empty_202", {}, 202, ""),
        ("poll_unknown_status", {}, 200, '"status":"reviewing"'),
    ],
)
def test_a_passing_trouble_does_not_end_the_job(
    sandbox: SandboxServer, xai: httpx2.Client, job: str, fault: str, options: dict[str, Any], status: int, text: str
) -> None:
    sandbox.state.faults.add(fault, times=2, **options)

    for _ in range(2):
        reply = xai.get(job)
        assert reply.status_code == status
        assert text in reply.text
    assert xai.get(job).json()["status"] == "done"


def test_a_dropped_poll_does_not_end_the_job(sandbox: SandboxServer, xai: httpx2.Client, job: str) -> None:
    sandbox.state.faults.add("poll_drop")

    with pytest.raises(httpx2.RemoteProtocolError):
        xai.get(job)
    assert xai.get(job).json()["status"] == "done"


def test_a_failed_job_stays_failed_and_is_billed_only_when_asked(
    sandbox: SandboxServer, xai: httpx2.Client, kind: str, job: str
) -> None:
    sandbox.state.faults.add("poll_failed", code="service_unavailable", message="busy")

    for _ in range(2):
        reply = xai.get(job)
        assert reply.status_code == 200
        assert reply.json()["status"] == "failed"
        assert reply.json()["error"] == {"code": "service_unavailable", "message": "busy"}
        assert "video" not in reply.json()
    assert sandbox.state.books.total_ticks == 0

    sandbox.state.faults.add("poll_failed", billed=True)
    body = CLIP if kind == "videos" else PICTURE
    other = xai.post(f"/{kind}/generations", json=body).json()["request_id"]
    assert xai.get(f"/{kind}/{other}").json()["error"]["code"] == "internal_error"
    assert sandbox.state.books.total_ticks > 0


def test_a_job_can_expire(sandbox: SandboxServer, xai: httpx2.Client, kind: str, job: str) -> None:
    sandbox.state.faults.add("poll_expired")

    for _ in range(2):
        reply = xai.get(job)
        if kind == "videos":
            assert (reply.status_code, reply.json()) == (200, {"status": "expired"})
        else:
            assert reply.status_code == 404
    assert sandbox.state.books.charges()[0].state == "expired"


def test_moderation_can_come_as_400_on_a_poll_and_is_billed(
    sandbox: SandboxServer, xai: httpx2.Client, kind: str, job: str
) -> None:
    sandbox.state.faults.add("poll_moderated_400")

    for _ in range(2):
        reply = xai.get(job)
        assert reply.status_code == 400
        assert reply.json()["code"] == "imagine:content-moderated"
        assert reply.json()["error"] == f"Generated {kind[:-1]} rejected by content moderation."
        assert reply.json()["usage"]["cost_in_usd_ticks"] == sandbox.state.books.total_ticks > 0
    [charge] = sandbox.state.books.charges()
    assert (charge.state, charge.moderated) == ("moderated", True)


def test_moderation_on_a_poll_has_an_old_spelling(sandbox: SandboxServer, xai: httpx2.Client, job: str) -> None:
    sandbox.state.configure(code_style="old")
    sandbox.state.faults.add("poll_moderated_400")

    assert xai.get(job).json()["code"] == "Client specified an invalid argument"


def test_moderation_can_come_as_done_without_a_url(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.faults.add("respect_moderation_false")
    request_id = xai.post("/videos/generations", json=CLIP).json()["request_id"]

    reply = xai.get(f"/videos/{request_id}")

    assert reply.status_code == 200
    assert reply.json()["status"] == "done"
    assert reply.json()["video"] == {"url": "", "duration": 1, "respect_moderation": False}
    assert reply.json()["usage"] == {"cost_in_usd_ticks": 500_000_000}
    assert sandbox.state.books.charges()[0].moderated


def test_moderation_of_a_clip_at_creation_is_billed(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.faults.add("moderated", path="videos")

    reply = xai.post("/videos/generations", json=CLIP)

    assert (reply.status_code, reply.json()["usage"]) == (400, {"cost_in_usd_ticks": 500_000_000})
    assert reply.json()["error"] == "Generated video rejected by content moderation."


def test_done_can_lack_its_status(sandbox: SandboxServer, xai: httpx2.Client, job: str) -> None:
    sandbox.state.faults.add("done_without_status")

    body = xai.get(job).json()

    assert "status" not in body
    assert "video" in body or "data" in body
    assert xai.get(job).json() == body | {"status": "done"}


def test_done_can_be_nested_as_it_once_was(sandbox: SandboxServer, xai: httpx2.Client, job: str) -> None:
    sandbox.state.faults.add("legacy_nested")

    body = xai.get(job).json()

    assert set(body) == {"status", "response"}
    assert xai.get(job).json() == body["response"] | {"status": "done"}


def test_the_url_can_be_only_in_the_file_output(
    sandbox: SandboxServer, xai: httpx2.Client, kind: str, job: str
) -> None:
    sandbox.state.faults.add("url_in_file_output")

    body = xai.get(job).json()

    item = body["video"] if kind == "videos" else body["data"][0]
    assert item["url"] is None
    assert xai.get(item["file_output"]["public_url"]).status_code == 200


def test_a_bent_done_answer_waits_until_the_job_is_done(sandbox: SandboxServer, xai: httpx2.Client, job: str) -> None:
    sandbox.state.configure(pending_polls=2)
    sandbox.state.faults.add("legacy_nested")

    assert [xai.get(job).status_code for _ in range(2)] == [202, 202]
    assert "response" in xai.get(job).json()


@pytest.mark.parametrize(("empty", "answer"), [(False, {}), (True, {"request_id": ""})])
def test_a_clip_can_come_without_a_request_id(
    sandbox: SandboxServer, xai: httpx2.Client, empty: bool, answer: dict[str, str]
) -> None:
    sandbox.state.faults.add("no_request_id", path="videos", empty=empty)

    assert xai.post("/videos/generations", json=CLIP).json() == answer
    assert len(sandbox.state.books.charges()) == 1


def test_a_clip_whose_answer_is_lost_is_made_and_billed(sandbox: SandboxServer, xai: httpx2.Client) -> None:
    sandbox.state.faults.add("drop_after_accept", path="videos/generations")

    with pytest.raises(httpx2.RemoteProtocolError):
        xai.post("/videos/generations", json=CLIP)

    [charge] = sandbox.state.books.charges()
    assert charge.cost_ticks == 500_000_000
    assert xai.get(f"/videos/{charge.request_id}").json()["status"] == "done"


def test_a_sandbox_of_one_process_has_failed_what_it_never_had(
    sandbox: SandboxServer, xai: httpx2.Client, kind: str, job: str
) -> None:
    sandbox.state.configure(unknown_jobs="failed")

    reply = xai.get(f"/{kind}/5a0db0c5-0000-4000-8000-000000000000")
    assert (reply.status_code, reply.json()["status"]) == (200, "failed")
    assert "the sandbox that took this job ended" in reply.json()["error"]["message"]
    assert xai.get(job).json()["status"] == "done"
    assert xai.get(job, headers={"authorization": "Bearer nobody"}).status_code in (400, 401)
