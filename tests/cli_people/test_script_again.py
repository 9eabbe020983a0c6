"""``ring-mcp script`` a second time: resumed, forced, left with Ctrl-C, remastered. Nothing is paid twice unasked."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from typing import Any

import pytest

from ring_mcp.domain import JobState
from ring_mcp.sandbox.server import SandboxServer
from tests.cli_people.people import DONE, FAILED, UNDER_WAY, Person, ctrl_c
from tests.cli_people.written import FRAME, billed_usd, by_id, clip, paid, prompt_of, rows, sums, write
from tests.one_now import one_now
from tests.server.wire import LIMIT_S, charges, eventually

LONG_S = 600.0
INTERRUPTED = 130


@pytest.fixture(params=one_now(["person", "remote"]))
def anybody(request: pytest.FixtureRequest) -> Person:
    """The same commands in their own process and against a server."""
    typing: Person = request.getfixturevalue(request.param)
    return typing


def with_xai(sandbox: SandboxServer, *names: str) -> bool:
    return paid(sandbox, *names) == [1] * len(names)


@pytest.mark.parametrize("option", [[], ["--resume"]])
def test_the_same_again_pays_nothing_and_gives_the_same_clips(
    anybody: Person, sandbox: SandboxServer, option: list[str]
) -> None:
    script = write(anybody, clip("one"), clip("two", firstFrame=FRAME))
    first = anybody.json("script", script)
    again = anybody.json("script", script, *option)
    for told in (first, again):
        assert {each["jobId"] for each in told["clips"]} == {row["jobId"] for row in rows(anybody).values()}
    assert (again["quotedUsd"], again["billedUsd"]) == (0, 0)
    assert len(sandbox.state.books.charges()) == 3
    assert "stands already" in anybody.types("script", script).stdout


def test_without_the_manifest_the_ledger_knows_what_is_done(person: Person, sandbox: SandboxServer) -> None:
    script = write(person, clip("one"))
    first = person.json("script", script)
    shutil.rmtree(person.folder / "output")
    again = person.json("script", script)
    assert again["clips"][0]["jobId"] == first["clips"][0]["jobId"]
    assert paid(sandbox, "one") == [1]


def test_a_clip_whose_words_have_changed_is_a_new_one(person: Person, sandbox: SandboxServer) -> None:
    person.types("script", write(person, clip("one", firstFrame=FRAME), clip("two")))
    old = rows(person)
    changed = {**clip("one"), "scene": {"action": "it comes back"}, "video": {"qualityMode": "draft"}}
    told = person.json("script", write(person, changed, clip("two")))
    assert told["quotedUsd"] == 0.05
    assert len(charges(sandbox, "ACTION: it comes back")) == 1
    assert rows(person)["two::draft"]["jobId"] == old["two::draft"]["jobId"]
    assert rows(person)["one::draft_i2v"] == old["one::draft_i2v"]


@pytest.mark.long
def test_force_pays_anew_and_what_it_made_then_stands(person: Person, sandbox: SandboxServer) -> None:
    script = write(person, clip("one", thumbnail={"enabled": True, "overlays": [{"text": "A", "role": "title"}]}))
    first = person.json("script", script, "--download")["clips"][0]
    forced = person.json("script", script, "--force")
    assert forced["quotedUsd"] == forced["billedUsd"] == 0.05
    assert forced["clips"][0]["jobId"] != first["jobId"]
    assert "localPath" not in rows(person)["one::draft"], "the file is that of the first take"
    assert person.json("script", script)["clips"][0]["jobId"] == forced["clips"][0]["jobId"]
    assert paid(sandbox, "one") == [2]


@pytest.mark.long
def test_a_forced_run_that_is_killed_is_carried_on_without_force(person: Person, sandbox: SandboxServer) -> None:
    script = write(person, clip("one"), clip("two"))
    first = by_id(person.json("script", script))
    sandbox.state.configure(render_s=LONG_S)
    with person.begins("script", script, "--force") as process:
        eventually("the second takes are with xAI", lambda: paid(sandbox, "one", "two") == [2, 2])
        eventually("and on record", lambda: {job.state for job in person.jobs()} == {JobState.DONE, JobState.RENDERING})
        process.kill()
        process.wait(LIMIT_S)
    sandbox.state.configure(render_s=0)
    second = by_id(person.json("script", script))
    assert {each["status"] for each in second.values()} == {"done"}
    assert second["one"]["jobId"] != first["one"]["jobId"]
    assert paid(sandbox, "one", "two") == [2, 2]


@pytest.mark.long
def test_another_default_model_leaves_what_was_made_and_force_makes_it_anew(
    person: Person, sandbox: SandboxServer
) -> None:
    script = write(person, clip("one", firstFrame=FRAME))
    person.types("script", script)
    other = person.with_env(XAI_VIDEO_MODEL="grok-imagine-video")
    assert other.json("script", script)["quotedUsd"] == 0, "the manifest knows its job"

    shutil.rmtree(person.folder / "output")
    told = other.json("script", script)
    assert (told["quotedUsd"], told["clips"][0]["model"]) == (0, "grok-imagine-video-1.5"), "and so does the ledger"
    assert paid(sandbox, "one") == [1]
    made = other.json("script", script, "--force")
    assert made["clips"][0]["model"] == "grok-imagine-video"


@pytest.mark.long
def test_another_default_model_changes_no_clip_under_way(person: Person, sandbox: SandboxServer) -> None:
    script = write(person, clip("one"))
    sandbox.state.configure(render_s=LONG_S)
    with person.begins("script", script) as process:
        eventually("it renders", lambda: [job for job in person.jobs() if job.state == "rendering"])
        process.kill()
        process.wait(LIMIT_S)
    looked = person.json("script", script, "--dry-run")
    assert (looked["quotedUsd"], looked["reservedUsd"], looked["clips"][0]["status"]) == (0, 0.05, "open")
    sandbox.state.configure(render_s=0)
    told = person.with_env(XAI_VIDEO_MODEL="grok-imagine-video-1.5").json("script", script)
    assert (told["clips"][0]["status"], told["billedUsd"]) == ("done", 0.05)
    assert paid(sandbox, "one") == [1]


@pytest.mark.long
def test_a_dry_run_starts_nothing_that_was_left_unpaid(person: Person, sandbox: SandboxServer) -> None:
    """The still is with xAI, so the clip itself waits: a run that goes on would begin to pay for it."""
    script = write(person, clip("one", firstFrame=FRAME))
    sandbox.state.configure(deferred_s=LONG_S)
    with person.begins("script", script) as process:
        eventually("the still renders", lambda: [job for job in person.jobs() if job.state == "rendering"])
        process.kill()
        process.wait(LIMIT_S)
    sandbox.state.configure(deferred_s=0)
    assert person.json("script", script, "--dry-run")["clips"][0]["state"] == "planned"
    assert paid(sandbox, "one") == [0]
    assert person.types("script", script).returncode == DONE
    assert len(sandbox.state.books.charges()) == 2


def test_ctrl_c_leaves_the_jobs_and_the_next_run_picks_them_up(anybody: Person, sandbox: SandboxServer) -> None:
    script = write(anybody, clip("one"), clip("two"), clip("three"))
    sandbox.state.configure(render_s=LONG_S)
    with anybody.begins("script", script, "--jobs", "2", "--download") as process:
        eventually("two are with xAI", lambda: with_xai(sandbox, "one", "two"))
        eventually("their jobs are noted", lambda: len([r for r in rows(anybody).values() if r.get("jobId")]) == 2)
        status, stdout, stderr = ctrl_c(process)
    assert status == UNDER_WAY, stderr
    assert "Traceback" not in stderr
    assert "the same command again goes on with them" in stdout
    assert sums(stdout) == {"quoted": "$0.15", "reserved": "$0.10", "billed": "$0.00"}
    assert {row["status"] for row in rows(anybody).values()} == {"pending"}

    sandbox.state.configure(render_s=0)
    told = anybody.json("script", script)
    assert {each["status"] for each in told["clips"]} == {"done"}
    assert sum(each["billedUsd"] for each in told["clips"]) == pytest.approx(float(billed_usd(sandbox)))
    assert paid(sandbox, "one", "two", "three") == [1, 1, 1]


@pytest.mark.long
def test_ctrl_c_waits_for_the_answer_to_the_paid_request(person: Person, sandbox: SandboxServer) -> None:
    script = write(person, clip("one"))
    sandbox.state.configure(render_s=LONG_S)
    sandbox.state.faults.add("slow_reply", seconds=5, path="/videos")
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ring_mcp", "script", script],
        env={**person.env, "TERM": "xterm"},
        cwd=person.folder,
        stdin=end,
        stdout=subprocess.PIPE,
        stderr=end,
        start_new_session=True,
    )
    os.close(end)
    try:
        eventually("it is being sent", lambda: [job for job in person.jobs() if job.state == "submitting"])
        process.send_signal(signal.SIGINT)
        drawn = eventually("a word about it", lambda: os.read(terminal, 65536).decode().count("leaving"))
        stdout, _ = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
        os.close(terminal)
    assert (process.returncode, drawn) == (UNDER_WAY, 1)
    assert b"rendering" in stdout
    [job] = person.jobs()
    assert job.state == "rendering"


@pytest.mark.long
def test_a_second_ctrl_c_ends_at_once_and_nothing_is_sent_again(person: Person, sandbox: SandboxServer) -> None:
    script = write(person, clip("one"))
    sandbox.state.faults.add("stall", seconds=20, path="/videos")
    with person.begins("script", script) as process:
        eventually("it is being sent", lambda: [job for job in person.jobs() if job.state == "submitting"])
        process.send_signal(signal.SIGINT)
        assert b"Ctrl-C again" in process.stderr.readline()
        status, _, stderr = ctrl_c(process)
    assert (status, "Traceback" in stderr) == (INTERRUPTED, False), stderr
    done = person.types("script", script)
    assert (done.returncode, sums(done.stdout)["reserved"]) == (FAILED, "$0.05")
    assert person.jobs()[0].id in done.stdout
    assert paid(sandbox, "one") == [1]


def test_a_request_cut_off_is_unknown_reserved_and_never_sent_again(anybody: Person, sandbox: SandboxServer) -> None:
    script = write(anybody, clip("one"), clip("two"))
    sandbox.state.faults.add("drop_after_accept", path="/videos")
    first = anybody.json("script", script, "--jobs", "1", status=FAILED)
    again = anybody.json("script", script, status=FAILED)
    for told in (first, again):
        lost = by_id(told)["one"]
        assert (lost["state"], lost["billed"], lost["code"]) == ("unknown", "unknown", "unknown_outcome")
        assert "jobs resolve" in lost["nextAction"]
        assert told["reservedUsd"] == 0.05
    assert paid(sandbox, "one", "two") == [1, 1]


def test_two_runs_at_once_pay_once_and_lose_no_row(anybody: Person, sandbox: SandboxServer) -> None:
    names = [f"clip-{number}" for number in range(4)]
    script = write(anybody, *(clip(name) for name in names))
    sandbox.state.configure(render_s=0.5)
    with anybody.begins("script", script, "--json") as first, anybody.begins("script", script, "--json") as second:
        told = [json.loads(run.communicate(LIMIT_S)[0]) for run in (first, second)]
    assert [run["success"] for run in told] == [True, True]
    assert paid(sandbox, *names) == [1] * len(names)
    assert {row["status"] for row in rows(anybody).values()} == {"done"}
    assert len(rows(anybody)) == len(names)


def test_a_remaster_edits_the_done_draft_and_is_linked_to_it(anybody: Person, sandbox: SandboxServer) -> None:
    script = write(anybody, clip("one", 2), clip("two"))
    anybody.types("script", script)
    told = anybody.json("script", script, "--remaster")
    draft, edit = rows(anybody)["one::draft"], rows(anybody)["one::production_edit"]
    assert (edit["status"], edit["generationKind"]) == ("done", "edit")
    assert (edit["remasterFromRequestId"], edit["remasterFromVideoUrl"]) == (draft["requestId"], draft["url"])
    assert edit["url"] != draft["url"]
    assert draft["status"] == "done"
    assert told["billedUsd"] == pytest.approx(float(billed_usd(sandbox)) - 0.15)
    assert anybody.json("script", script, "--remaster")["quotedUsd"] == 0


@pytest.mark.long
def test_a_missing_or_long_draft_is_made_anew_at_720p(person: Person) -> None:
    script = write(person, clip("one"), clip("two", 9))
    person.types("script", script, "--clip", "two")
    done = person.types("script", script, "--remaster")
    assert done.returncode == DONE
    assert "longer than the 8.7 s that can be edited" in " ".join(done.stdout.split())
    for name in ("one", "two"):
        again = rows(person)[f"{name}::production"]
        assert (again["generationKind"], again["resolution"]) == ("generate", "720p")
    assert rows(person)["two::production"]["remasterFromRequestId"] == rows(person)["two::draft"]["requestId"]
    assert "remasterFromRequestId" not in rows(person)["one::production"]


@pytest.mark.long
def test_a_draft_under_way_is_not_paid_again_at_720p(person: Person, sandbox: SandboxServer) -> None:
    script = write(person, clip("one"))
    sandbox.state.configure(render_s=LONG_S)
    with person.begins("script", script) as process:
        eventually("it renders", lambda: [job for job in person.jobs() if job.state == "rendering"])
        ctrl_c(process)
    told = person.json("script", script, "--remaster", status=FAILED)
    assert "the draft is still under way" in told["clips"][0]["error"]
    assert rows(person)["one::draft"]["status"] == "pending"
    assert len(sandbox.state.books.charges()) == 1
    sandbox.state.configure(render_s=0)
    assert person.types("script", script).returncode == DONE
    assert person.json("script", script, "--remaster")["clips"][0]["qualityMode"] == "production_edit"
    assert rows(person)["one::production_edit"]["generationKind"] == "edit"


@pytest.mark.long
def test_a_given_source_is_edited_in_place_of_the_draft(person: Person, sandbox: SandboxServer) -> None:
    script = write(person, clip("one"), clip("two"))
    source = by_id(person.json("script", script))["two"]["url"]
    told = person.json("script", script, "--remaster", "--clip", "one", "--source-url", source)
    edit = rows(person)["one::production_edit"]
    assert (edit["generationKind"], edit["remasterFromVideoUrl"]) == ("edit", source)
    assert edit["remasterFromRequestId"] == rows(person)["one::draft"]["requestId"]
    assert told["success"] is True
    assert prompt_of("one") in [charge.prompt for charge in sandbox.state.books.charges()]


@pytest.mark.long
def test_a_720p_clip_is_remastered_only_when_its_words_changed(person: Person, sandbox: SandboxServer) -> None:
    production: dict[str, Any] = {"video": {"qualityMode": "production"}}
    person.types("script", write(person, clip("one", **production)))
    script = write(person, clip("one", **production), clip("two"))
    told = person.json("script", script, "--remaster")
    assert by_id(told)["one"]["url"] == rows(person)["one::production"]["url"]
    assert "at 720p already" in by_id(told)["one"]["warnings"][0]
    assert paid(sandbox, "one", "two") == [1, 1]
    assert person.json("script", script, "--remaster", "--clip", "one", "--force")["billedUsd"] > 0
    assert paid(sandbox, "one") == [2]
    changed = write(person, clip("one", **production, prompt="other words"))
    assert person.json("script", changed, "--remaster")["billedUsd"] > 0
