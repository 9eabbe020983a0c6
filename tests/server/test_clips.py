"""Clips through the SDK's own client, in both eras: longer than the wait, with progress, found and read again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.server.wire import RingProcess, SdkClient, charges, environment, eventually, text_of

PACE = {"VIDEO_GEN_POLL_INTERVAL_MS": "30"}


@pytest.fixture(scope="module", params=["auto", "legacy"])
def client(
    request: pytest.FixtureRequest, running: SandboxServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SdkClient]:
    folder = tmp_path_factory.mktemp(request.param)
    with SdkClient(environment(folder, RING_SANDBOX=running.url, **PACE), folder, request.param) as client:
        yield client


@pytest.fixture
def prompt(request: pytest.FixtureRequest) -> str:
    """One of its own for each test and era, so that no call joins another test's job."""
    return f"clip of {request.node.name}"


def test_a_clip_longer_than_the_wait_is_first_a_handle(client: SdkClient, sandbox: SandboxServer, prompt: str) -> None:
    sandbox.state.configure(render_s=600)
    asked = {"prompt": prompt, "duration": 1, "waitSeconds": 0.2, "clipId": "c1"}
    handle = client.call("ring-video-create", asked)
    assert not handle.is_error
    waiting = handle.structured_content["data"]
    assert waiting["state"] in ("planned", "submitting", "rendering")
    assert "video" not in waiting
    assert f"Call ring-job-get with jobId {waiting['jobId']}" in text_of(handle)

    def state() -> str:
        still = client.call("ring-job-get", {"jobId": waiting["jobId"], "waitSeconds": 0.1})
        return str(still.structured_content["data"]["state"])

    eventually("it renders", lambda: state() == "rendering")

    sandbox.state.skip(601)
    done = client.call("ring-job-get", {"jobId": waiting["jobId"]})
    data = done.structured_content["data"]
    assert data["state"] == "done"
    assert text_of(done).splitlines()[0] == data["video"]["url"]
    assert (data["clipId"], data["qualityMode"], data["estimatedCostUsd"]) == ("c1", "draft", 0.05)
    assert [block.type for block in done.content] == ["text", "image"]
    assert len(charges(sandbox, prompt)) == 1


def test_job_get_answers_exactly_what_the_create_call_answered(
    client: SdkClient, sandbox: SandboxServer, prompt: str
) -> None:
    created = client.call("ring-video-create", {"prompt": prompt, "duration": 1})
    got = client.call("ring-job-get", {"jobId": created.structured_content["data"]["jobId"]})
    assert got.structured_content == created.structured_content
    assert [block.model_dump() for block in got.content] == [block.model_dump() for block in created.content]


def test_progress_rises_with_the_providers_own(client: SdkClient, sandbox: SandboxServer, prompt: str) -> None:
    sandbox.state.configure(render_s=100)
    seen: list[float] = []

    def note(progress: float, total: float | None, message: str | None) -> None:
        assert total == 100
        assert message
        seen.append(progress)
        sandbox.state.skip(20)

    assert not client.call("ring-video-create", {"prompt": prompt, "duration": 1}, note).is_error
    assert seen == sorted(set(seen))
    assert any(20 < progress < 90 for progress in seen)


def test_jobs_are_found_again_by_what_is_known_of_them(client: SdkClient, sandbox: SandboxServer, prompt: str) -> None:
    facts = {"clipId": prompt, "pipelineRequestId": "p-1", "refCode": "r-1"}
    created = client.call("ring-video-create", {"prompt": prompt, "duration": 1, **facts}).structured_content["data"]
    query = {"clipId": prompt, "pipelineRequestId": "p-1", "refCode": "r-1", "kind": "video", "state": "done"}
    found = client.call("ring-job-list", query).structured_content["data"]["jobs"]
    assert [job["jobId"] for job in found] == [created["jobId"]]
    assert (found[0]["kind"], found[0]["state"], found[0]["clipId"]) == ("video", "done", prompt)
    again = client.call("ring-job-get", {"jobIds": [job["jobId"] for job in found]}).structured_content["data"]["jobs"]
    assert again[0]["video"]["url"] == created["video"]["url"]
    assert client.call("ring-job-list", {"clipId": "nobody's"}).structured_content["data"] == {"jobs": []}


def test_a_job_and_the_presets_can_be_read_as_resources(client: SdkClient, sandbox: SandboxServer, prompt: str) -> None:
    created = client.call("ring-video-create", {"prompt": prompt, "duration": 1}).structured_content["data"]
    assert json.loads(client.read(f"ring://jobs/{created['jobId']}")) == created
    presets = json.loads(client.read("ring://presets"))
    assert set(presets["modes"]) == {"draft", "draft_i2v", "production", "production_i2v"}
    with pytest.raises(Exception, match="there is no resource"):
        client.read("ring://jobs/nobody")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"prompt": ""}, "prompt is required"),
        ({"duration": 0}, "duration must be a whole number of seconds from 1 to 15"),
        ({"duration": 16}, "duration must be a whole number of seconds from 1 to 15"),
        ({"duration": 2.5}, "duration: "),
        ({"duration": True}, "duration: must be a number"),
        ({"qualityMode": "best"}, "qualityMode: "),
        ({"qualityMode": "draft_i2v"}, "requires imageUrl"),
        ({"aspectRatio": "2:1"}, "aspectRatio must be one of"),
        ({"resolution": "4k"}, "resolution must be one of"),
        ({"model": "veo-3"}, "model must be one of"),
        ({"remaster": "yes please"}, "remaster: "),
        ({"imageUrl": "ftp://example.com/a.jpg"}, "imageUrl must be an http(s) address"),
        ({"imageUrl": "http://192.168.0.1/a.jpg"}, "on a private network"),
        ({"sourceVideoUrl": "http://[fd00::1]/a.mp4", "remaster": True}, "on a private network"),
        ({"persistToFilebase": 3}, "persistToFilebase: "),
        ({"clipId": {"name": 7}}, "clipId: "),
        ({"waitSeconds": -1}, "waitSeconds: "),
        ({"qualitymode": "draft"}, "did you mean qualityMode?"),
    ],
)
def test_a_wrong_argument_is_named_and_nothing_is_spent(
    client: SdkClient, sandbox: SandboxServer, arguments: dict[str, object], text: str
) -> None:
    result = client.call("ring-video-create", {"prompt": "x", **arguments})
    assert result.is_error
    assert text in result.structured_content["error"]
    assert result.structured_content["billed"] == "no"
    assert not sandbox.state.books.charges()


def test_an_unknown_job_is_said_to_be_unknown(client: SdkClient, sandbox: SandboxServer) -> None:
    result = client.call("ring-job-get", {"jobId": "nobody"})
    assert (result.is_error, result.structured_content["code"]) == (True, "not_found")


def test_a_clip_goes_on_when_its_server_is_killed(sandbox: SandboxServer, tmp_path: Path) -> None:
    env = environment(tmp_path, RING_SANDBOX=sandbox.url, **PACE)
    sandbox.state.configure(render_s=600)
    with RingProcess(env, tmp_path) as first:
        asked = {"prompt": "killed", "duration": 1, "waitSeconds": 0.5}
        job_id = first.call("ring-video-create", asked).data["jobId"]
        first.kill()
    sandbox.state.skip(601)
    with RingProcess(env, tmp_path) as second:
        assert second.call("ring-job-get", {"jobId": job_id}).data["state"] == "done"
    assert len(charges(sandbox, "killed")) == 1
