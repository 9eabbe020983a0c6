"""``ring-mcp direct``: a legacy jobs file on the xAI key alone, paid for once whatever happens to the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.domain import Job, JobState
from ring_mcp.sandbox.server import SandboxServer
from tests.cli_people.people import BAD_USAGE, DONE, FAILED, UNDER_WAY, Person, ctrl_c
from tests.one_now import one_now
from tests.server.wire import LIMIT_S, charges, eventually

CLIPS = [
    {"id": "01_boat", "duration": 2, "aspect_ratio": "16:9", "imageUrl": "", "prompt": "a boat casts off"},
    {"id": "02_gull", "duration": 1, "prompt": "a gull lands"},
]


def write(person: Person, clips: list[dict[str, Any]] | None = None) -> str:
    modes: dict[str, Any] = {"draft": {}}
    content = {"project": "harbour", "workflow": "legacy", "modes": modes, "clips": clips or CLIPS}
    (person.folder / "jobs.json").write_text(json.dumps(content))
    return "jobs.json"


def manifest(person: Person) -> dict[str, Any]:
    return dict(json.loads((person.folder / "output" / "manifest.json").read_text()))


def rows(person: Person) -> dict[str, dict[str, Any]]:
    return {row["_key"]: row for row in manifest(person)["clips"]}


def test_clips_come_from_xai_past_storage_and_ledger(person: Person, sandbox: SandboxServer) -> None:
    done = person.with_env(FILE_BACKEND="ringbase", RING_MCP_SERVICE_TOKENS="t").types(
        "direct", write(person), "--download"
    )

    assert done.returncode == DONE, done.stderr
    assert "saved at" in done.stdout
    for clip in CLIPS:
        row = rows(person)[f"{clip['id']}::draft"]
        path = person.folder / "output" / "files" / f"{clip['id']}-draft.mp4"
        assert (row["status"], row["duration"], row["localPath"]) == ("done", clip["duration"], str(path))
        assert row["url"] == row["temporaryUrl"]
        assert path.read_bytes()[4:8] == b"ftyp"
        [charge] = charges(sandbox, str(clip["prompt"]))
        assert row["billedCostUsd"] == charge.cost_ticks / 10**10
    assert not person.jobs()
    assert not list((person.folder / "state").rglob("*.mp4"))
    [run] = manifest(person)["runs"]
    assert (run["direct"], run["clipIds"]) == (True, ["01_boat", "02_gull"])


def test_the_same_again_pays_nothing_another_take_is_asked_for(person: Person, sandbox: SandboxServer) -> None:
    arguments = ("direct", write(person), "01_boat", "--download")
    person.types(*arguments)
    first = rows(person)["01_boat::draft"]
    again = person.types(*arguments)

    assert again.returncode == DONE
    assert "stands already" in again.stdout
    assert len(charges(sandbox, "a boat casts off")) == 1
    assert rows(person)["01_boat::draft"]["localPath"] == first["localPath"]

    assert person.types("direct", "jobs.json", "01_boat", "--force").returncode == DONE
    take = rows(person)["01_boat::draft"]
    assert take["requestId"] != first["requestId"]
    assert "localPath" not in take, "the file is that of the first take"
    assert len(charges(sandbox, "a boat casts off")) == 2
    assert not charges(sandbox, "a gull lands")


def own_jobs(person: Person) -> list[Job]:
    """What is in the ledger beside the manifest."""
    return list(person.with_env(RING_STATE_DIR=str(person.folder / "output" / ".ring-direct")).jobs())


def is_rendering(person: Person) -> bool:
    ledgers = (person.folder / "output").glob(".ring-direct/*/ledger.db")
    return any(ledgers) and [job.state for job in own_jobs(person)] == [JobState.RENDERING] * len(CLIPS)


def test_a_run_that_is_killed_is_carried_on_and_paid_for_once(person: Person, sandbox: SandboxServer) -> None:
    sandbox.state.configure(render_s=600)
    with person.begins("direct", write(person)) as process:
        eventually("the clips are with xAI", lambda: is_rendering(person))
        process.kill()
        process.wait(LIMIT_S)
    sandbox.state.configure(render_s=0)

    assert person.types("direct", "jobs.json").returncode == DONE
    assert len(charges(sandbox, "a boat casts off")) == 1
    assert {row["status"] for row in rows(person).values()} == {"done"}


def test_ctrl_c_leaves_the_clip_and_says_how_to_go_on(person: Person, sandbox: SandboxServer) -> None:
    sandbox.state.configure(render_s=600)
    with person.begins("direct", write(person)) as process:
        eventually("the clips are with xAI", lambda: is_rendering(person))
        status, stdout, stderr = ctrl_c(process)
    assert status == UNDER_WAY, stderr
    assert "the same command again goes on with them" in stdout

    sandbox.state.configure(render_s=0)
    assert person.types("direct", "jobs.json").returncode == DONE
    assert len(charges(sandbox, "a boat casts off")) == 1


def test_a_remaster_edits_the_done_draft_and_is_linked_to_it(person: Person, sandbox: SandboxServer) -> None:
    person.types("direct", write(person), "01_boat")
    done = person.types("direct", "jobs.json", "01_boat", "--remaster")

    assert done.returncode == DONE, done.stderr
    draft, edit = rows(person)["01_boat::draft"], rows(person)["01_boat::production_edit"]
    assert (edit["generationKind"], edit["remasterFromRequestId"]) == ("edit", draft["requestId"])
    assert edit["remasterFromVideoUrl"] == draft["url"]
    assert draft["status"] == "done"


def test_a_draft_too_long_to_edit_is_made_anew_at_720p(person: Person) -> None:
    person.types("direct", write(person, [{**CLIPS[0], "duration": 9, "resolution": "480p"}]))
    done = person.types("direct", "jobs.json", "--remaster")

    assert done.returncode == DONE, done.stderr
    draft, again = rows(person)["01_boat::draft"], rows(person)["01_boat::production"]
    assert (again["generationKind"], again["resolution"]) == ("generate", "720p")
    assert again["remasterFromRequestId"] == draft["requestId"]


def test_a_failed_clip_stops_no_other_and_the_status_tells(person: Person, sandbox: SandboxServer) -> None:
    bad = {**CLIPS[0], "imageUrl": "http://192.168.0.1/a.jpg"}
    done = person.types("direct", write(person, [bad, CLIPS[1]]))

    assert done.returncode == FAILED
    assert "01_boat: imageUrl cannot be used" in done.stdout
    assert rows(person)["01_boat::draft_i2v"]["status"] == "error"
    assert rows(person)["02_gull::draft"]["status"] == "done"
    assert not charges(sandbox, "a boat casts off")


def test_an_address_that_has_expired_is_told_and_the_clip_stays_done(person: Person, sandbox: SandboxServer) -> None:
    arguments = ("direct", write(person), "01_boat")
    person.types(*arguments)
    sandbox.state.skip(3 * 86400)
    done = person.types(*arguments, "--download")

    assert done.returncode == FAILED, "it was asked for and not delivered"
    assert "its temporary address has expired" in done.stdout
    assert rows(person)["01_boat::draft"]["status"] == "done"
    assert list((person.folder / "output").glob("files/*")) == []


def test_a_saved_clip_outlives_its_address(person: Person, sandbox: SandboxServer) -> None:
    arguments = ("direct", write(person), "01_boat", "--download")
    person.types(*arguments)
    [saved] = (person.folder / "output").glob("files/*")
    sandbox.state.skip(3 * 86400)
    again = person.types(*arguments)
    assert (again.returncode, again.stderr) == (DONE, "")
    assert f"saved at {saved}" in again.stdout
    saved.unlink()
    assert "has expired" in person.types(*arguments).stdout


@pytest.mark.parametrize(
    ("flag", "mode"),
    one_now(
        [("--draft", "draft_i2v"), ("--production", "production"), ("--i2v", "draft_i2v"), ("--720p", "production")], 2
    ),
)
def test_the_flags_are_the_modes(person: Person, tmp_path: Path, flag: str, mode: str) -> None:
    image = tmp_path / "frame.jpg"
    image.write_bytes((Path(__file__).parents[2] / "examples" / "lighthouse.jpg").read_bytes())
    jobs = write(person, [{**CLIPS[1], "imageUrl": str(image)}])

    done = person.with_env(RING_INPUT_DIRS=str(tmp_path)).types("direct", jobs, flag)

    assert done.returncode == DONE, done.stderr
    assert list(rows(person)) == [f"02_gull::{mode}"]


def test_wrong_usage_is_told_before_anything_is_made(person: Person) -> None:
    jobs = write(person)
    wrong: list[tuple[tuple[str, ...], str]] = [
        (("direct", jobs, "03"), "No clips matched 03. Available: 01_boat, 02_gull"),
        (("direct", "no.json"), "the jobs file no.json cannot be read"),
        (("direct", jobs, "--source-url", "https://example.com/a.mp4"), "--source-url goes with --remaster"),
    ]
    for arguments, text in wrong:
        done = person.types(*arguments)
        assert (done.returncode, text in done.stderr) == (BAD_USAGE, True), done.stderr
    no_key = person.with_env(RING_SANDBOX="").types("direct", jobs)
    assert (no_key.returncode, "Missing XAI_API_KEY in .env.local" in no_key.stderr) == (FAILED, True)
    assert not (person.folder / "output" / "manifest.json").exists()


def test_without_a_jobs_file_it_is_rings_own_in_this_folder(person: Person, sandbox: SandboxServer) -> None:
    (person.folder / write(person)).rename(person.folder / "xai-video-jobs.json")
    done = person.types("direct", "--draft", "01_boat", "--download")
    assert done.returncode == DONE, done.stderr
    assert (person.folder / "output" / "files" / "01_boat-draft.mp4").is_file()
    assert not charges(sandbox, "a gull lands")
    assert person.types("direct").returncode == DONE, "all of them"
    assert [len(charges(sandbox, str(clip["prompt"]))) for clip in CLIPS] == [1, 1]
    (person.folder / "xai-video-jobs.json").unlink()
    missing = person.types("direct", "01_boat")
    assert (missing.returncode, "xai-video-jobs.json cannot be read" in missing.stderr) == (BAD_USAGE, True)


def test_two_projects_with_one_clip_id_keep_apart_in_one_folder(person: Person) -> None:
    for name in ("first", "second"):
        (person.folder / name).mkdir()
        clips = [{**CLIPS[1], "prompt": f"the {name} gull"}]
        (person.folder / name / "jobs.json").write_text(json.dumps({"clips": clips}))
        assert person.types("direct", f"{name}/jobs.json", "--download").returncode == DONE
    kept = manifest(person)["clips"]
    assert len({row["pipelineRequestId"] for row in kept}) == 2
    assert len({row["localPath"] for row in kept}) == 2
    assert all(Path(row["localPath"]).is_file() for row in kept)
    person.types("direct", "first/jobs.json", "--remaster")
    edit = next(row for row in manifest(person)["clips"] if row["qualityMode"] == "production_edit")
    assert edit["remasterFromRequestId"] == kept[0]["requestId"]
