"""A successful answer, on every path to one: matches its schema, is small, shows a preview, tells what it cost."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
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
from tests.benchmarks.measuring import folder
from tests.benchmarks.tokens import JOBS, MAX_JOB_LIST, MAX_PICTURE, PROMPTS, count_answer
from tests.ledger_samples import planned
from tests.server.wire import RingProcess, ToolReply, charges, environment, eventually, path_of

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
        if tool == "ring-job-get":
            return data  # of whichever tool made the job
        declared = data_of(schemas[tool]) | (
            data_of(schemas["ring-image-create"]) if tool == "ring-video-create" else {}
        )
        told = schemas[tool]["properties"]["data"].get("description", "")
        if tool == "ring-video-create":
            told += schemas["ring-image-create"]["properties"]["data"]["description"]
        assert data.keys() <= declared.keys() | set(re.findall(r"\w+", told)), "fields that the schema does not know"
        assert None not in data.values(), "unset fields are left out"
        assert reply.size_bytes < MAX_RESULT_BYTES
        return data

    return checked


def data_of(schema: dict[str, Any]) -> dict[str, Any]:
    """The fields of ``data`` that an output schema names."""
    return dict(schema["properties"]["data"]["properties"])


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
    assert (data["state"], data["sandbox"]) == ("done", True)
    assert not {"aspectRatio", "resolution", "servedModel"} & data.keys(), "its pixels and its model say as much"
    assert data["images"][0].keys() >= {"url", "size", "contentType", "recordId", "width", "height"}
    assert "SANDBOX" in reply.text
    assert "billed $0.04" in reply.text
    assert f"job {data['jobId'][:8]}" in reply.text


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
    with Image.open(path_of(reply.data["url"])) as picture:
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


@pytest.mark.parametrize("setting", ["on", "off"])
def test_how_much_picture_comes_along_is_the_callers_choice(
    tmp_path: Path, sandbox: SandboxServer, setting: str
) -> None:
    def shown(reply: ToolReply) -> int:
        return sum(block["type"] == "image" for block in reply.blocks)

    env = environment(tmp_path, RING_SANDBOX=sandbox.url, RING_RESULT_PREVIEW=setting)
    with RingProcess(env, tmp_path) as ring:
        reply = ring.create(prompt="asked nothing")
        job = {"jobId": reply.data["jobId"]}
        assert shown(reply) == shown(ring.call("ring-job-get", job)) == (setting == "on")
        assert shown(ring.create(prompt="asked for none", preview="none")) == 0
        assert shown(ring.call("ring-job-get", {**job, "preview": "none"})) == 0
        preview_of(ring.create(prompt="asked for one", preview="small"))
        preview_of(ring.call("ring-job-get", {**job, "preview": "small"}))
        tools = {tool["name"]: tool["inputSchema"]["properties"] for tool in ring.request("tools/list")["tools"]}
        told = f"Default: {'small' if setting == 'on' else 'none'}."
        for name in ("ring-image-create", "ring-video-create", "ring-job-get"):
            assert tools[name]["preview"]["description"].endswith(told)


def test_several_jobs_show_their_pictures_when_asked(ring: RingProcess) -> None:
    ids = [ring.create(prompt=f"one of {n}", preview="none").data["jobId"] for n in range(3)]
    quiet, loud = (ring.call("ring-job-get", {"jobIds": ids, **more}) for more in ({}, {"preview": "small"}))
    assert [block["type"] for block in quiet.blocks] == ["text"]
    assert [block["type"] for block in loud.blocks] == ["text", "image", "image", "image"]
    assert loud.size_bytes < MAX_RESULT_BYTES


def test_a_preview_that_is_gone_is_said_to_be(sandbox: SandboxServer, tmp_path: Path) -> None:
    with RingProcess(environment(tmp_path, RING_SANDBOX=sandbox.url), tmp_path) as ring:
        job = {"jobId": ring.create(prompt="forgotten").data["jobId"]}
        (preview,) = (tmp_path / "state").rglob(f"{job['jobId']}.jpg")
        preview.unlink()
        assert "no preview is kept" in ring.call("ring-job-get", {**job, "preview": "small"}).text
        assert "no preview" not in ring.call("ring-job-get", job).text


def test_a_path_stands_once_in_text_and_in_rings_fields_alone(ring: RingProcess) -> None:
    reply = ring.create(prompt="where is it")
    path = str(path_of(reply.data["url"]))
    assert reply.text.count(path) == 1
    assert json.dumps(reply.content).count(path) == 2
    assert "sha256" not in reply.data["images"][0]


def test_an_estimate_that_is_not_the_bill_says_whose_it_is(ring: RingProcess) -> None:
    """Ring's rate of a mode knows no resolution."""
    reply = ring.call("ring-video-create", {"prompt": "a boat", "duration": 1, "resolution": "720p"})
    assert "estimated $0.05 by the mode's rate, billed $0.07" in reply.text


@pytest.mark.long
def test_an_answer_and_a_list_are_cheap_to_read(sandbox: SandboxServer) -> None:
    """In a folder whose path is as long as people have it: it stands three times in an answer."""
    with folder() as home, RingProcess(environment(home, RING_SANDBOX=sandbox.url), home) as ring:
        makers = itertools.cycle(("xai", "google"))
        asked = [{"prompt": prompt, "provider": next(makers)} for prompt in (PROMPTS * JOBS)[:JOBS]]
        made = [ring.create(**each, preview="none") for each in asked]
        again = [ring.call("ring-job-get", {"jobId": reply.data["jobId"], "preview": "none"}) for reply in made[:2]]
        costs = [sum(count_answer(reply.result, reply.data["prompt"]).values()) for reply in (*made, *again)]
        assert sum(costs) / len(costs) <= MAX_PICTURE, "of one alone it would be chance: ids are random"
        listed = ring.call("ring-job-list", {"limit": JOBS})
        assert len(listed.data["jobs"]) == JOBS
        assert sum(count_answer(listed.result).values()) <= MAX_JOB_LIST


def test_a_list_says_enough_to_go_on(ring: RingProcess) -> None:
    made = ring.create(prompt="a picture to be found again " * 10, refCode="r").data
    reply = ring.call("ring-job-list", {"refCode": "r"})
    (job,) = reply.data["jobs"]
    assert (job["jobId"], job["kind"], job["state"], job["costUsd"]) == (made["jobId"], "image", "done", 0.06)
    assert job["prompt"].startswith("a picture to be found")
    assert reply.data["sandbox"] is True
    short = next(line for line in reply.text.splitlines() if "found again" in line).split()[1]
    assert made["jobId"].startswith(short)
    assert ring.call("ring-job-get", {"jobId": short}).data["url"] == made["url"]
    assert ring.call("ring-job-get", {"jobId": short[:2]}).is_error


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
