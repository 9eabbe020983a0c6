"""A successful answer, on every path to one: matches its schema, is small, shows a preview, tells what it cost."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from PIL import Image

from ring_mcp.domain import JobState
from ring_mcp.domain.fields import MAX_WAIT_S
from ring_mcp.jobs.watch import PROGRESS_INTERVAL_S
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.tools.job_answers import report
from tests.ledger_samples import planned
from tests.server.wire import RingProcess, ToolReply, charges, environment, eventually

MAX_RESULT_BYTES = 900_000
MAX_PREVIEW_BYTES = 64 * 1024
LONG_S = 600.0


@pytest.fixture(scope="module")
def schemas(shared_ring: RingProcess) -> dict[str, Any]:
    return {tool["name"]: tool["outputSchema"] for tool in shared_ring.request("tools/list")["tools"]}


@pytest.fixture
def check(schemas: dict[str, Any]) -> Callable[[str, ToolReply], dict[str, Any]]:
    """Check a success against the schema that its tool declares; returns its data."""

    def checked(tool: str, reply: ToolReply) -> dict[str, Any]:
        data = reply.data
        jsonschema.validate(reply.content, schemas[tool], jsonschema.Draft202012Validator)
        assert reply.content["success"] is True
        if schemas[tool]["properties"]["data"].get("additionalProperties") is True:
            return data  # of whichever tool made the job
        declared = schemas[tool]["properties"]["data"]["properties"]
        assert data.keys() <= declared.keys(), "fields that the schema does not know"
        assert None not in data.values(), "unset fields are left out"
        assert reply.size_bytes < MAX_RESULT_BYTES
        return data

    return checked


def preview_of(reply: ToolReply) -> Image.Image:
    (block,) = [block for block in reply.blocks if block["type"] == "image"]
    assert block["mimeType"] == "image/jpeg"
    content = base64.b64decode(block["data"], validate=True)
    assert len(content) <= MAX_PREVIEW_BYTES
    image = Image.open(io.BytesIO(content))
    image.load()
    assert image.format == "JPEG"
    return image


def test_a_finished_call_matches_its_schema(ring: RingProcess, check: Any) -> None:
    reply = ring.create(prompt="done", refCode="r1", resolution="1k", aspectRatio="3:2")
    data = check("ring-image-create", reply)
    assert data["success"] is True
    assert (data["provider"], data["model"], data["prompt"]) == ("xai", "grok-imagine-image-2.0", "done")
    assert (data["state"], data["aspectRatio"], data["resolution"], data["sandbox"]) == ("done", "3:2", "1k", True)
    assert data["images"][0].keys() >= {"url", "size", "contentType", "recordId", "sha256", "width", "height"}
    assert "SANDBOX" in reply.text
    assert "estimated $0.04, billed $0.04" in reply.text
    assert data["jobId"] in reply.text


def test_a_call_without_wait_answers_a_handle_to_redeem(ring: RingProcess, sandbox: SandboxServer, check: Any) -> None:
    sandbox.state.configure(deferred_s=LONG_S)
    handle = ring.create(prompt="slow", waitSeconds=0)
    data = check("ring-image-create", handle)
    assert data["state"] in ("planned", "submitting", "rendering")
    assert data["images"] == []
    assert data["estimatedCostUsd"] == 0.06
    assert data["jobId"] in data["nextAction"]
    assert "ring-job-get" in handle.text
    assert data["jobId"] in handle.text

    def state() -> str:
        waiting = ring.call("ring-job-get", {"jobId": data["jobId"], "waitSeconds": 0.1})
        return str(check("ring-job-get", waiting)["state"])

    eventually("the provider has it", lambda: state() == "rendering")
    assert len(charges(sandbox, "slow")) == 1

    sandbox.state.configure(deferred_s=0)
    got = check("ring-job-get", ring.call("ring-job-get", {"jobId": data["jobId"]}))
    assert (got["state"], got["jobId"]) == ("done", data["jobId"])
    again = ring.call("ring-job-get", {"jobId": data["jobId"]})
    assert check("ring-job-get", again) == got
    preview_of(again)
    assert len(charges(sandbox, "slow")) == 1


def test_an_identical_call_joins_the_one_under_way_and_says_so(
    ring: RingProcess, sandbox: SandboxServer, check: Any
) -> None:
    sandbox.state.configure(deferred_s=LONG_S)
    first = check("ring-image-create", ring.create(prompt="twice", waitSeconds=0))
    joined = check("ring-image-create", ring.create(prompt="twice", waitSeconds=0))
    assert (joined["joined"], joined["jobId"]) == (True, first["jobId"])
    sandbox.state.configure(deferred_s=0)
    done = ring.create(prompt="twice")
    assert check("ring-image-create", done)["joined"] is True
    assert "nothing new was paid" in done.text
    assert len(charges(sandbox, "twice")) == 1


def test_after_delivery_an_identical_call_is_a_new_paid_request(ring: RingProcess, sandbox: SandboxServer) -> None:
    first, second = ring.create(prompt="again").data, ring.create(prompt="again").data
    assert first["jobId"] != second["jobId"]
    assert first["url"] != second["url"]
    assert len(charges(sandbox, "again")) == 2


def test_a_key_stands_for_its_one_result_for_ever(ring: RingProcess, sandbox: SandboxServer, check: Any) -> None:
    first = ring.create(prompt="keyed", idempotencyKey="k1").data
    second = check("ring-image-create", ring.create(prompt="keyed", idempotencyKey="k1"))
    assert (second["jobId"], second["url"], second["joined"]) == (first["jobId"], first["url"], True)
    assert len(charges(sandbox, "keyed")) == 1


def test_a_dry_run_matches_its_schema_and_has_no_preview(ring: RingProcess, sandbox: SandboxServer, check: Any) -> None:
    reply = ring.create(prompt="how much", n=10, dryRun=True)
    data = check("ring-image-create", reply)
    assert data["dryRun"] is True
    assert data["estimatedCostUsd"] == 0.6
    assert "jobId" not in data
    assert [block["type"] for block in reply.blocks] == ["text"]
    assert not sandbox.state.requests


def test_health_matches_its_schema(ring: RingProcess, check: Any) -> None:
    reply = ring.health()
    data = check("ring-health", reply)
    for part in data["checks"]:
        assert f"{part['status']}: {part['name']}: {part['detail']}" in reply.text


def test_ten_pictures_are_one_small_answer_with_one_preview(
    ring: RingProcess, sandbox: SandboxServer, check: Any
) -> None:
    reply = ring.create(prompt="ten" + " and a long prompt" * 400, n=10, aspectRatio="16:9")
    data = check("ring-image-create", reply)
    assert len({image["url"] for image in data["images"]}) == 10
    assert max(preview_of(reply).size) <= 512
    assert reply.text.splitlines()[0] == data["images"][0]["url"]
    assert sandbox.state.books.charges()[0].n == 10


def test_the_preview_shows_the_picture_that_was_made(ring: RingProcess) -> None:
    reply = ring.create(prompt="wide", aspectRatio="2:1")
    preview = preview_of(reply)
    assert abs(preview.width / preview.height - 2) < 0.05
    with Image.open(reply.data["images"][0]["localPath"]) as picture:
        mean = picture.convert("RGB").resize((1, 1)).getpixel((0, 0))
    shown = preview.convert("RGB").resize((1, 1)).getpixel((0, 0))
    assert isinstance(mean, tuple)
    assert isinstance(shown, tuple)
    assert all(abs(a - b) < 12 for a, b in zip(mean, shown, strict=True))


def test_previews_can_be_switched_off_and_links_on(tmp_path: Path, sandbox: SandboxServer, check: Any) -> None:
    env = environment(tmp_path, RING_SANDBOX=sandbox.url, RING_RESULT_PREVIEW="off", RING_RESULT_LINKS="on")
    with RingProcess(env, tmp_path) as ring:
        reply = ring.create(prompt="linked", n=2)
        data = check("ring-image-create", reply)
        assert [block["type"] for block in reply.blocks] == ["text", "resource_link", "resource_link"]
        for block, image in zip(reply.blocks[1:], data["images"], strict=True):
            assert (block["uri"], block["mimeType"]) == (image["url"], "image/jpeg")
            assert block["name"] == image["url"].rsplit("/", 1)[-1]
        again = ring.call("ring-job-get", {"jobId": data["jobId"]})
        assert [block["type"] for block in again.blocks] == ["text", "resource_link", "resource_link"]
        assert [block["type"] for block in ring.health().blocks] == ["text"]


def test_without_being_asked_for_there_are_no_links(ring: RingProcess) -> None:
    assert [block["type"] for block in ring.create(prompt="plain").blocks] == ["text", "image"]


def test_progress_is_only_sent_to_whoever_asked_for_it(ring: RingProcess) -> None:
    ring.create(prompt="quiet")
    assert ring.call("ring-image-create", {"prompt": "loud"}, token="t1").data["state"] == "done"
    assert ring.progress("t1")
    assert "quiet" not in str(ring.progress("t1"))


async def test_progress_rises_for_as_long_as_a_call_may_wait() -> None:
    told: list[float] = []

    async def progress(percent: float, message: str) -> None:
        told.append(percent)

    tell, job = report(progress), planned(state=JobState.STORING)
    for _ in range(int(MAX_WAIT_S / PROGRESS_INTERVAL_S)):
        await tell(job)
    assert all(before < after < 100 for before, after in itertools.pairwise(told))
