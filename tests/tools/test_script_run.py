"""``ring-script-run`` as a client has it: the table of jobs at once, each paid once, for nobody but their actor."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.server.wire import RingProcess, ToolReply, charges, environment

MAX_RESULT_BYTES = 900_000
FRAME = {"imagePrompt": "a gull on a mast", "imageResolution": "1k"}
SHOUT = {"speaker": "nobody", "line": "Cast off!"}


_campaign = ""


@pytest.fixture(autouse=True)
def campaign() -> None:
    """Words of this test alone: what others have paid for in the same words would stand here already."""
    global _campaign  # noqa: PLW0603
    _campaign = str(uuid.uuid4())


def said(name: str, deed: str = "casts off") -> str:
    return f"{name} {deed} in {_campaign}"


def clip(name: str, duration: int = 1, **more: Any) -> dict[str, Any]:
    return {"id": name, "duration": duration, "prompt": said(name), **more}


def script(*clips: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A campaign of its own."""
    return {"schemaVersion": "1.0", "requestId": f"harbour-{uuid.uuid4()}", "clips": list(clips), **more}


def run(ring: RingProcess, request: dict[str, Any], **arguments: Any) -> ToolReply:
    return ring.call("ring-script-run", {"request": request, **arguments})


def clips_of(reply: ToolReply) -> dict[str, dict[str, Any]]:
    return {each["clipId"]: each for each in reply.data["clips"]}


def finished(ring: RingProcess, reply: ToolReply) -> dict[str, dict[str, Any]]:
    """``data`` of each clip's job, waited for as a model does."""
    return {
        name: ring.call("ring-job-get", {"jobId": each["jobId"], "waitSeconds": 30}).data
        for name, each in clips_of(reply).items()
    }


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``allowed`` is what the operator allows, ``beside`` is not."""
    folder = tmp_path_factory.mktemp("inputs")
    for name in ("allowed", "beside"):
        (folder / name).mkdir()
    return folder


@pytest.fixture(scope="module")
def shared_ring(
    running: SandboxServer, tmp_path_factory: pytest.TempPathFactory, folders: Path
) -> Iterator[RingProcess]:
    home = tmp_path_factory.mktemp("ring")
    env = environment(
        home, RING_SANDBOX=running.url, RING_INPUT_DIRS=str(folders / "allowed"), VIDEO_GEN_POLL_INTERVAL_MS="100"
    )
    with RingProcess(env, home) as ring:
        yield ring


def test_the_jobs_are_answered_at_once_and_become_the_clips(ring: RingProcess, sandbox: SandboxServer) -> None:
    sandbox.state.configure(render_s=600, deferred_s=600)
    request = script(clip("one", 2), clip("two", firstFrame=FRAME))
    reply = run(ring, request)
    data = reply.data
    assert (data["requestId"], data["totalUsd"], data["sandbox"]) == (request["requestId"], 0.23, True)
    assert "ring-job-get" in data["nextAction"]
    for name, each in clips_of(reply).items():
        assert (each["status"], each["jobId"] in reply.text, name in reply.text) == ("open", True, True)
    assert "SANDBOX" in reply.text

    sandbox.state.configure(render_s=0, deferred_s=0)
    made = finished(ring, reply)
    assert {each["state"] for each in made.values()} == {"done"}
    assert made["two"]["firstFrame"]["url"].endswith(".jpg")
    again = clips_of(run(ring, request))
    assert {name: each["url"] for name, each in again.items()} == {n: each["video"]["url"] for n, each in made.items()}
    assert len(sandbox.state.books.charges()) == 3


def test_a_dry_run_has_each_price_and_spends_nothing(ring: RingProcess, sandbox: SandboxServer) -> None:
    request = script(clip("one", 4), clip("two", firstFrame=FRAME))
    reply = run(ring, request, dryRun=True)
    assert (reply.data["dryRun"], reply.data["totalUsd"]) == (True, 0.33)
    assert [(c["status"], c["quotedUsd"], c["qualityMode"]) for c in reply.data["clips"]] == [
        ("waiting", 0.2, "draft"),
        ("waiting", 0.13, "draft_i2v"),
    ]
    assert all("jobId" not in each for each in reply.data["clips"])
    assert reply.text.startswith("DRY RUN")
    assert not sandbox.state.books.charges()
    listed = ring.call("ring-job-list", {"pipelineRequestId": request["requestId"]})
    assert listed.data["jobs"] == []


def test_the_same_again_pays_nothing_and_a_change_anew(ring: RingProcess, sandbox: SandboxServer) -> None:
    request = script(clip("one"), clip("two"))
    first = clips_of(run(ring, request))
    reply = run(ring, request)
    assert {name: each["jobId"] for name, each in clips_of(reply).items()} == {n: c["jobId"] for n, c in first.items()}
    assert reply.data["totalUsd"] == 0

    request["clips"][1]["prompt"] = said("two", "comes back")
    third = run(ring, request)
    assert clips_of(third)["one"]["jobId"] == first["one"]["jobId"]
    assert clips_of(third)["two"]["jobId"] != first["two"]["jobId"]
    assert third.data["totalUsd"] == 0.05
    finished(ring, third)
    assert [len(charges(sandbox, p)) for p in (said("one"), said("two"), said("two", "comes back"))] == [1, 1, 1]


def test_only_the_named_clips_and_no_more_than_max_usd(ring: RingProcess, sandbox: SandboxServer) -> None:
    request = script(clip("one"), clip("two", 4), clip("three"))
    refused = run(ring, request, clips=["one", "two"], maxUsd=0.2)
    assert (refused.content["code"], refused.content["billed"]) == ("cap_exceeded", "no")
    assert "--" not in refused.text, "a model has no options of a command"
    assert not sandbox.state.books.charges()
    reply = run(ring, request, clips=["one", "three"], maxUsd=0.1)
    assert list(clips_of(reply)) == ["one", "three"]
    finished(ring, reply)
    unknown = run(ring, request, clips=["four"])
    assert "No clips matched four. Available: one, two, three" in unknown.text


def test_one_bad_clip_does_not_stop_the_others(ring: RingProcess, sandbox: SandboxServer) -> None:
    bad = clip("bad", firstFrame={"imageUrl": "http://192.168.0.1/a.jpg"})
    reply = run(ring, script(clip("one"), bad, clip("two")))
    clips = clips_of(reply)
    assert clips["bad"]["status"] == "error"
    assert "imageUrl cannot be used" in clips["bad"]["error"]
    assert (clips["bad"]["billed"], "jobId" in clips["bad"], bool(clips["bad"]["nextAction"])) == ("no", False, True)
    assert reply.data["totalUsd"] == 0.1
    for name in ("one", "two"):
        job = ring.call("ring-job-get", {"jobId": clips[name]["jobId"], "waitSeconds": 30})
        assert job.data["state"] == "done"
    assert len(sandbox.state.books.charges()) == 2


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_script_of_which_no_clip_can_be_made_is_refused(
    ring: RingProcess, sandbox: SandboxServer, dry_run: bool
) -> None:
    bad = {"imageUrl": "http://192.168.0.1/a.jpg"}
    reply = run(ring, script(clip("one", firstFrame=bad), clip("two", video={"model": "sora-2"})), dryRun=dry_run)
    assert (reply.content["code"], reply.content["billed"]) == ("invalid_request", "no")
    assert "clip one: imageUrl cannot be used" in reply.text
    assert "clip two: model must be one of" in reply.text
    assert "ring-job-get" not in reply.text, "there is no job to ask for"
    assert not sandbox.state.books.charges()


def test_a_clip_that_was_refused_is_told_and_not_paid_for_again(ring: RingProcess, sandbox: SandboxServer) -> None:
    sandbox.state.faults.add("moderated")
    request = script(clip("bad"))
    job_id = clips_of(run(ring, request))["bad"]["jobId"]
    assert ring.call("ring-job-get", {"jobId": job_id, "waitSeconds": 30}).is_error
    reply = run(ring, request)
    told = clips_of(reply)["bad"]
    assert (told["status"], told["billed"], told["jobId"], told["quotedUsd"]) == ("error", "yes", job_id, 0)
    assert len(charges(sandbox, said("bad"))) == 1


def test_a_remaster_finds_its_drafts_in_the_ledger(ring: RingProcess, sandbox: SandboxServer) -> None:
    sandbox.state.configure(render_s=600)
    request = script(clip("one", 2), clip("two"))
    drafts = run(ring, request, clips=["one"])
    waits = clips_of(run(ring, request, clips=["one"], remaster=True))["one"]
    assert (waits["status"], "still under way" in waits["error"]) == ("error", True)

    sandbox.state.configure(render_s=0)
    draft = finished(ring, drafts)["one"]
    edit, again = finished(ring, run(ring, request, remaster=True)).values()
    assert (edit["generationKind"], edit["remasterFromRequestId"]) == ("edit", draft["requestId"])
    assert edit["remasterFromVideoUrl"] == draft["video"]["url"]
    assert (again["generationKind"], again["resolution"], again["qualityMode"]) == ("generate", "720p", "production")


def test_a_file_in_an_allowed_folder_is_read(ring: RingProcess, folders: Path) -> None:
    path = folders / "allowed" / "script.json"
    path.write_text(json.dumps(script(clip("one"))))
    reply = ring.call("ring-script-run", {"path": str(path), "dryRun": True})
    assert reply.data["totalUsd"] == 0.05


def test_a_script_is_found_by_a_name_that_reads_the_same(ring: RingProcess, folders: Path) -> None:
    (folders / "allowed" / "my\u202fscript.json").write_text(json.dumps(script(clip("one"))))
    for name in ("my script.json", "my\\ script.json"):
        reply = ring.call("ring-script-run", {"path": str(folders / "allowed" / name), "dryRun": True})
        assert reply.data["totalUsd"] == 0.05


def test_no_other_file_is_read_and_nothing_is_told_of_it(ring: RingProcess, folders: Path) -> None:
    secret = folders / "beside" / "secret.json"
    secret.write_text("the-secret")
    link = folders / "allowed" / "link.json"
    link.symlink_to(secret)
    inside = folders / "allowed" / "inside.json"
    inside.write_text(json.dumps(script(clip("one"))))
    refused = (
        str(secret),
        str(link),
        str(folders / "allowed" / ".." / "beside" / "secret.json"),
        str(folders / "beside" / "missing.json"),
        "inside.json",
        "/proc/self/environ",
        "~nobody-lives-here/script.json",
    )
    texts = {ring.call("ring-script-run", {"path": path}).text for path in refused}
    assert len(texts) == 1, "whether a file is there is not told either"
    assert "folder of RING_INPUT_DIRS" in texts.pop()
    missing = ring.call("ring-script-run", {"path": str(folders / "allowed" / "missing.json")})
    assert (missing.content["code"], "cannot be read" in missing.text) == ("invalid_request", True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "give either request or path"),
        ({"request": script(clip("one")), "path": "/x.json"}, "give either request or path"),
        ({"request": {}}, "schemaVersion"),
        ({"request": script(clip("one"), schemaVersion="9")}, 'schemaVersion must be "1.0"'),
        ({"request": script(clip("one", 16))}, "clips[0].duration"),
        ({"request": script(clip("one"), clip("one"))}, "clips[1].id"),
        ({"request": script({**clip("one"), "scene": {"dialogue": [SHOUT]}})}, "not in the cast"),
        ({"request": script(clip("one")), "maxUsd": -1}, "maxUsd"),
        ({"request": script(clip("one")), "clips": []}, "clips"),
        ({"request": script(clip("one")), "maxUsd": True}, "maxUsd"),
        ({"request": script(clip("one")), "dryrun": True}, "dryRun"),
        ({"request": script(*(clip(f"c-{n}") for n in range(201))), "dryRun": True}, "at most 200 clips"),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_made(
    ring: RingProcess, sandbox: SandboxServer, arguments: dict[str, Any], said: str
) -> None:
    reply = ring.call("ring-script-run", arguments)
    assert reply.is_error
    assert (reply.content["code"], reply.content["billed"]) == ("invalid_request", "no")
    assert said in reply.text
    assert not sandbox.state.books.charges()


def test_as_many_clips_as_fit_stay_below_the_size_of_a_result(ring: RingProcess) -> None:
    long = "x" * 100
    bad = {"imageUrl": f"http://192.168.0.1/{'y' * 3000}.jpg"}
    request = script(*({**clip(f"{n:03}-{long[:90]}"), "firstFrame": bad} for n in range(199)), clip("good"))
    reply = run(ring, request, dryRun=True)
    assert reply.size_bytes < MAX_RESULT_BYTES
    assert len(reply.data["clips"]) == 200


def test_a_script_without_room_below_the_cap_is_refused(
    running: SandboxServer, sandbox: SandboxServer, tmp_path: Path
) -> None:
    env = environment(tmp_path, RING_SANDBOX=running.url, RING_MAX_USD_PER_DAY="0.16", VIDEO_GEN_POLL_INTERVAL_MS="100")
    request = script(clip("one"), clip("two", 3), clip("three"))
    with RingProcess(env, tmp_path) as ring:
        looked = run(ring, request, dryRun=True)
        assert "one, three" in looked.data["warnings"][0]
        refused = run(ring, request)
        assert (refused.is_error, refused.content["code"], refused.content["billed"]) == (True, "cap_exceeded", "no")
        assert "2 of 3 fit: one, three" in refused.content["nextAction"]
        assert "partial: true" in refused.content["nextAction"]
        assert "--" not in refused.text, "a model has no options of a command"
        assert not sandbox.state.books.charges()
        part = run(ring, request, partial=True)
        assert {name: each["status"] for name, each in clips_of(part).items()} == {
            "one": "open",
            "two": "error",
            "three": "open",
        }
        again = run(ring, request, clips=["two"])
        assert (again.content["success"], again.content["code"]) == (False, "cap_exceeded")
        assert "None of them fits" in again.content["nextAction"]


def test_another_request_id_and_a_thumbnail_pay_nothing_again(ring: RingProcess, sandbox: SandboxServer) -> None:
    request = script(clip("one"))
    made = finished(ring, run(ring, request))["one"]
    thumbnail = {"enabled": True, "overlays": [{"text": "Cast off", "role": "title"}]}
    request["clips"][0] |= {"id": "uno", "thumbnail": thumbnail}
    reply = run(ring, {**request, "requestId": "another"})
    told = clips_of(reply)["uno"]
    assert (reply.data["totalUsd"], told["jobId"], told["quotedUsd"]) == (0, made["jobId"], 0)
    seen = ring.call("ring-job-get", {"jobId": made["jobId"]}).data
    assert seen["thumbnail"]["url"].endswith(".png")
    assert seen["video"]["url"] == made["video"]["url"]
    assert len(sandbox.state.books.charges()) == 1


def test_what_is_paid_again_is_named_and_open_jobs_are_listed(ring: RingProcess, sandbox: SandboxServer) -> None:
    sandbox.state.configure(render_s=600)
    request = script(clip("one"))
    old = clips_of(run(ring, request))["one"]["jobId"]
    request["clips"][0]["prompt"] = said("one", "comes back")
    looked = run(ring, request, dryRun=True)
    assert old in clips_of(looked)["one"]["warnings"][0]
    reply = run(ring, request)
    assert [each["jobId"] for each in reply.data["superseded"]] == [old]
    assert re.search(rf"superseded: one  (planned|submitting|rendering)  {old}", reply.text)
    sandbox.state.configure(render_s=0)
    finished(ring, reply)
    ring.call("ring-job-get", {"jobId": old, "waitSeconds": 30})
    assert "superseded" not in run(ring, request).data


def test_a_corrected_clip_takes_the_still_that_was_paid_for(ring: RingProcess, sandbox: SandboxServer) -> None:
    frame = {"imagePrompt": said("a gull"), "imageResolution": "1k"}
    sandbox.state.faults.add("bare_422", path="/videos")
    request = script(clip("one", firstFrame=frame))
    job_id = clips_of(run(ring, request))["one"]["jobId"]
    assert ring.call("ring-job-get", {"jobId": job_id, "waitSeconds": 30}).is_error
    request["clips"][0]["prompt"] = said("one", "comes back")
    assert run(ring, request, dryRun=True).data["totalUsd"] == 0.09
    made = finished(ring, run(ring, request))["one"]
    assert (made["state"], made["firstFrame"]["billedCostUsd"]) == ("done", 0)
    assert [charge.kind for charge in sandbox.state.books.charges()] == ["image", "video"]


def test_of_three_calls_at_once_one_costs_anything(ring: RingProcess, sandbox: SandboxServer) -> None:
    request = script(clip("one"), clip("two"))
    with ThreadPoolExecutor(3) as pool:
        replies = list(pool.map(lambda _: run(ring, request), range(3)))
    assert sum(reply.data["totalUsd"] for reply in replies) == pytest.approx(0.1)
    assert len({each["jobId"] for reply in replies for each in reply.data["clips"]}) == 2
    finished(ring, replies[0])
    assert len(sandbox.state.books.charges()) == 2


def test_a_path_that_is_no_regular_file_is_not_opened(ring: RingProcess, folders: Path) -> None:
    pipe = folders / "allowed" / "pipe.json"
    os.mkfifo(pipe)
    reply = ring.call("ring-script-run", {"path": str(pipe)})
    assert (reply.content["code"], "no regular file" in reply.text) == ("invalid_request", True)
