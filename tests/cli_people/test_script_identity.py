"""Which clip is which: by script, clip and words. What was paid for is known again, and what is not is said before."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.domain import JobState
from ring_mcp.sandbox.server import SandboxServer
from tests.cli_people.people import DONE, FAILED, Person
from tests.cli_people.written import FRAME, billed_usd, by_id, clip, manifest, paid, rows, sums, write
from tests.one_now import one_now
from tests.server.wire import LIMIT_S, charges, eventually

LONG_S = 600.0
THUMBNAIL = {"enabled": True, "overlays": [{"text": "Harbour", "role": "title"}]}


@pytest.fixture(params=one_now(["person", "remote"]))
def anybody(request: pytest.FixtureRequest) -> Person:
    """The same commands in their own process and against a server."""
    typing: Person = request.getfixturevalue(request.param)
    return typing


def written_as(person: Person, name: str, *clips: dict[str, Any], **more: Any) -> str:
    """A second script in the same folder."""
    Path(person.folder / write(person, *clips, **more)).rename(person.folder / name)
    return name


def all_rows(person: Person) -> list[dict[str, Any]]:
    return list(manifest(person)["clips"])


def cents(*amounts: float) -> float:
    return round(sum(amounts), 6)


@pytest.mark.long
def test_clips_of_two_scripts_with_one_name_keep_apart_in_one_folder(person: Person, sandbox: SandboxServer) -> None:
    for name in ("harbour", "forest"):
        words = {**clip("01"), "scene": {"action": f"{name} wakes"}}
        script = written_as(person, f"{name}.json", words, requestId=name)
        assert person.types("script", script, "--download").returncode == DONE
    kept = {row["pipelineRequestId"]: row for row in all_rows(person)}
    assert set(kept) == {"harbour", "forest"}
    paths = {name: Path(row["localPath"]) for name, row in kept.items()}
    assert paths["harbour"].name == "01-draft.mp4"
    assert paths["harbour"] != paths["forest"]
    assert {path.name for path in paths["harbour"].parent.iterdir()} == {path.name for path in paths.values()}

    told = person.json("script", "harbour.json", "--remaster", "--download")
    edit = next(row for row in all_rows(person) if row["qualityMode"] == "production_edit")
    assert edit["remasterFromVideoUrl"] == kept["harbour"]["url"]
    assert edit["remasterFromRequestId"] == kept["harbour"]["requestId"]
    assert Path(by_id(told)["01"]["localPath"]).name == "01-production_edit.mp4"


def test_a_file_of_somebody_else_is_not_written_over(person: Person) -> None:
    taken = person.folder / "mine" / "one-draft.mp4"
    taken.parent.mkdir()
    taken.write_bytes(b"of another project")
    told = person.json("script", write(person, clip("one")), "--download", "mine")
    saved = Path(told["clips"][0]["localPath"])
    assert taken.read_bytes() == b"of another project"
    assert saved.name == f"one-draft-{told['clips'][0]['jobId'][:8]}.mp4"
    assert saved.read_bytes()[4:8] == b"ftyp"
    again = person.json("script", "script.json", "--download", "mine")
    assert again["clips"][0]["localPath"] == str(saved)
    assert {path.name for path in taken.parent.iterdir()} == {taken.name, saved.name}


@pytest.mark.long
def test_a_draft_of_other_words_is_not_remastered(person: Person, sandbox: SandboxServer) -> None:
    person.types("script", write(person, clip("one")))
    changed = {**clip("one"), "scene": {"action": "it comes back"}}
    told = person.json("script", write(person, changed), "--remaster", status=FAILED)
    assert "made of other words" in told["clips"][0]["error"]
    assert "--source-url" in told["clips"][0]["nextAction"]
    assert len(sandbox.state.books.charges()) == 1
    source = rows(person)["one::draft"]["url"]
    assert person.types("script", "script.json", "--remaster", "--source-url", source).returncode == DONE


@pytest.mark.long
def test_a_thumbnail_added_later_is_drawn_on_the_stored_clip_for_free(anybody: Person, sandbox: SandboxServer) -> None:
    first = anybody.json("script", write(anybody, clip("one"), clip("two", firstFrame=FRAME)))
    before = len(sandbox.state.books.charges())
    for words in (THUMBNAIL, {**THUMBNAIL, "template": "title_card"}):
        script = write(anybody, clip("one", thumbnail=words), clip("two", firstFrame=FRAME, thumbnail=words))
        assert anybody.json("script", script, "--dry-run")["quotedUsd"] == 0
        told = anybody.json("script", script)
        assert [each["jobId"] for each in told["clips"]] == [each["jobId"] for each in first["clips"]]
        assert (told["billedUsd"], told["quotedUsd"]) == (0, 0)
        drawn = {row["thumbnailUrl"] for row in rows(anybody).values()}
        assert len(drawn) == 2
        assert all(url.endswith(".png") for url in drawn)
    seen = {row["thumbnailUrl"] for row in rows(anybody).values()}
    assert anybody.types("script", "script.json").returncode == DONE
    assert {row["thumbnailUrl"] for row in rows(anybody).values()} == seen, "nothing is drawn twice"
    assert len(sandbox.state.books.charges()) == before


@pytest.mark.parametrize("is_on_record", [True, False], ids=["manifest", "ledger alone"])
@pytest.mark.parametrize(
    "edit",
    one_now(
        [{"clip": "uno"}, {"purpose": "press"}, {"refCode": "r-7"}, {"requestId": "another"}, {"mode": "draft_i2v"}]
    ),
)
def test_an_edit_that_no_provider_sees_pays_nothing_again(
    anybody: Person, sandbox: SandboxServer, edit: dict[str, str], is_on_record: bool
) -> None:
    first = anybody.json("script", write(anybody, clip("one", firstFrame=FRAME)))
    if not is_on_record:
        shutil.rmtree(anybody.folder / "output")
    edit = dict(edit)
    name, mode = edit.pop("clip", "one"), edit.pop("mode", None)
    words = {**clip("one", firstFrame=FRAME), "id": name}
    script = write(anybody, {**words, "video": {"qualityMode": mode}} if mode else words, **edit)
    assert anybody.json("script", script, "--dry-run")["quotedUsd"] == 0
    told = anybody.json("script", script)
    assert told["clips"][0]["jobId"] == first["clips"][0]["jobId"]
    assert (told["billedUsd"], len(sandbox.state.books.charges())) == (0, 2)


def test_two_clips_with_the_same_words_are_two_takes(person: Person, sandbox: SandboxServer) -> None:
    script = write(person, clip("one"), {**clip("one"), "id": "again"})
    told = person.json("script", script)
    assert len({each["jobId"] for each in told["clips"]}) == 2
    assert paid(sandbox, "one") == [2]
    assert person.json("script", script)["quotedUsd"] == 0


@pytest.mark.long
def test_what_was_paid_and_is_paid_again_is_named_before_the_spend(person: Person, sandbox: SandboxServer) -> None:
    first = person.json("script", write(person, clip("one"), clip("two")))
    script = write(person, {**clip("one"), "scene": {"action": "it comes back"}}, clip("two"))
    quote = by_id(person.json("script", script, "--dry-run"))
    assert "paid for before ($0.05" in quote["one"]["warnings"][0]
    assert by_id(first)["one"]["jobId"] in quote["one"]["warnings"][0]
    assert "warnings" not in quote["two"]
    sandbox.state.faults.add("moderated")
    done = person.types("script", script)
    assert "paid for before" in done.stderr, "on stderr, before the first request"


@pytest.mark.long
def test_a_job_whose_clip_was_edited_is_listed_carried_on_and_counted(anybody: Person, sandbox: SandboxServer) -> None:
    script = write(anybody, clip("one"))
    sandbox.state.configure(render_s=LONG_S)
    with anybody.begins("script", script) as process:
        eventually("its job is noted", lambda: "jobId" in next(iter(rows_if_any(anybody)), {}))
        eventually("it is with xAI", lambda: paid(sandbox, "one") == [1])
        eventually("and on record", lambda: {job.state for job in anybody.jobs()} <= {JobState.RENDERING})
        process.kill()
        process.wait(LIMIT_S)
    old = rows(anybody)["one::draft"]["jobId"]
    changed = write(anybody, {**clip("one"), "scene": {"action": "it comes back"}})
    looked = anybody.json("script", changed, "--dry-run")
    assert [each["jobId"] for each in looked["superseded"]] == [old]
    sandbox.state.configure(render_s=0)
    told = anybody.json("script", changed)
    [superseded] = told["superseded"]
    assert (superseded["id"], superseded["jobId"], superseded["status"]) == ("one", old, "done")
    assert superseded["url"]
    assert cents(told["billedUsd"]) == cents(float(billed_usd(sandbox)))
    assert [each["jobId"] for each in rows(anybody)["one::draft"]["superseded"]] == [old]
    assert "superseded" not in anybody.json("script", changed), "it has been told"


def rows_if_any(person: Person) -> list[dict[str, Any]]:
    return all_rows(person) if (person.folder / "output" / "manifest.json").exists() else []


@pytest.mark.long
def test_quotes_and_limits_ask_the_ledger_what_is_paid(anybody: Person, sandbox: SandboxServer) -> None:
    anybody.json("script", write(anybody, clip("one"), clip("two", firstFrame=FRAME)))
    shutil.rmtree(anybody.folder / "output")
    before = len(sandbox.state.books.charges())
    script = write(anybody, clip("one"), clip("two", firstFrame=FRAME), clip("three"))
    assert anybody.json("script", script, "--dry-run")["quotedUsd"] == 0.05
    told = anybody.json("script", script, "--max-usd", "0.05")
    assert (told["quotedUsd"], told["billedUsd"]) == (0.05, 0.05)
    assert len(sandbox.state.books.charges()) == before + 1


@pytest.mark.parametrize("folders", one_now([["output"] * 3, ["a", "b", "c"]]), ids=["one manifest", "three manifests"])
def test_three_runs_at_once_agree_to_the_cent(anybody: Person, sandbox: SandboxServer, folders: list[str]) -> None:
    sandbox.state.configure(render_s=0.5, deferred_s=0.2)
    script = write(anybody, clip("one"), clip("two", firstFrame=FRAME), clip("three", 2), clip("four"))
    with ThreadPoolExecutor(3) as pool:
        told = list(pool.map(lambda folder: anybody.json("script", script, "--output", folder), folders))
    total = cents(float(billed_usd(sandbox)))
    assert paid(sandbox, "one", "two", "three", "four") == [1, 1, 1, 1]
    assert cents(*(each["billedUsd"] for each in told)) == total
    for each in told:
        assert cents(*(one["billedUsd"] for one in each["clips"])) == total, "what each clip has cost"
    for folder in set(folders):
        content = json.loads((anybody.folder / folder / "manifest.json").read_text())
        assert {row["status"] for row in content["clips"]} == {"done"}
        costs = [row["billedCostUsd"] + row.get("firstFrameBilledCostUsd", 0) for row in content["clips"]]
        assert cents(*costs) == total
    runs = [
        run
        for folder in sorted(set(folders))
        for run in json.loads((anybody.folder / folder / "manifest.json").read_text())["runs"]
    ]
    assert cents(*(run["billedUsd"] for run in runs)) == total
    again = anybody.types("script", script, "--output", folders[0])
    assert sums(again.stdout) == {"quoted": "$0.00", "reserved": "$0.00", "billed": "$0.00"}


def test_a_script_above_the_cap_starts_by_halves_only_when_told_to(person: Person, sandbox: SandboxServer) -> None:
    capped = person.with_env(RING_MAX_USD_PER_DAY="0.16")
    script = write(person, clip("one"), clip("two", 3), clip("three"))
    looked = capped.types("script", script, "--dry-run")
    assert (looked.returncode, "one, three" in " ".join(looked.stdout.split())) == (DONE, True)
    told = capped.json("script", script, status=FAILED)
    assert (told["code"], told["billed"]) == ("cap_exceeded", "no")
    assert "$0.25" in told["error"]
    assert "one, three" in told["nextAction"]
    assert "--partial" in told["nextAction"]
    assert not sandbox.state.books.charges()
    half = capped.json("script", script, "--partial", "--jobs", "1", status=FAILED)
    assert [each.get("code") for each in half["clips"]] == [None, "cap_exceeded", None]
    assert paid(sandbox, "one", "two", "three") == [1, 0, 1]


def test_a_clip_above_the_cap_of_a_call_keeps_the_others_back(person: Person, sandbox: SandboxServer) -> None:
    capped = person.with_env(RING_MAX_USD_PER_CALL="0.10")
    told = capped.json("script", write(person, clip("one"), clip("two", 3)), status=FAILED)
    assert (told["code"], "the cap per call" in told["error"]) == ("cap_exceeded", True)
    assert not sandbox.state.books.charges()


@pytest.mark.long
def test_an_edit_and_a_clip_made_again_have_rows_and_files_apart(person: Person, sandbox: SandboxServer) -> None:
    script = write(person, clip("one"))
    person.types("script", script, "--remaster", "--download")
    person.types("script", script)
    assert person.types("script", script, "--remaster", "--download").returncode == DONE
    made = rows(person)
    assert set(made) == {"one::draft", "one::production", "one::production_edit"}
    kinds = {name: made[f"one::{name}"]["generationKind"] for name in ("production", "production_edit")}
    assert kinds == {"production": "generate", "production_edit": "edit"}
    assert {Path(made[key]["localPath"]).name for key in made if "localPath" in made[key]} == {
        "one-production.mp4",
        "one-production_edit.mp4",
    }


@pytest.mark.parametrize("version", one_now([3, 2, None]))
def test_a_manifest_of_rings_own_is_a_start_for_remasters(
    person: Person, sandbox: SandboxServer, version: int | None
) -> None:
    source = person.json("script", write(person, clip("one")))["clips"][0]["url"]
    shutil.rmtree(person.folder / "output")
    row = {
        "_key": "one::draft",
        "id": "one",
        "qualityMode": "draft",
        "status": "done",
        "url": source,
        "requestId": "r-1",
    }
    content: dict[str, Any] = {"clips": [row], "runs": []}
    (person.folder / "output").mkdir()
    (person.folder / "output" / "manifest.json").write_text(
        json.dumps(content if version is None else {"version": version, **content})
    )
    done = person.types("script", "script.json", "--remaster")
    assert (done.returncode, "not a readable manifest" in done.stderr) == (DONE, False), done.stdout
    edit = rows(person)["one::production_edit"]
    assert (edit["remasterFromVideoUrl"], edit["remasterFromRequestId"]) == (source, "r-1")
    assert manifest(person)["version"] == 3


def test_a_done_row_unknown_to_this_ledger_is_named_before_the_spend(person: Person, sandbox: SandboxServer) -> None:
    row = {"id": "one", "qualityMode": "draft", "status": "done", "url": "https://cdn.example/a.mp4"}
    (person.folder / "output").mkdir()
    (person.folder / "output" / "manifest.json").write_text(json.dumps({"version": 3, "clips": [row], "runs": []}))
    quote = person.json("script", write(person, clip("one")), "--dry-run")
    assert "https://cdn.example/a.mp4" in quote["clips"][0]["warnings"][0]


@pytest.mark.long
def test_a_still_whose_clip_was_refused_is_taken_by_the_corrected_clip(anybody: Person, sandbox: SandboxServer) -> None:
    sandbox.state.faults.add("bare_422", path="/videos")
    first = anybody.json("script", write(anybody, clip("one", firstFrame=FRAME)), status=FAILED)
    corrected = write(anybody, {**clip("one", firstFrame=FRAME), "scene": {"action": "it comes back"}})
    quote = anybody.json("script", corrected, "--dry-run")
    assert (first["billedUsd"], quote["quotedUsd"]) == (0.04, 0.09)
    second = anybody.json("script", corrected)
    assert [charge.kind for charge in sandbox.state.books.charges()] == ["image", "video"]
    assert cents(first["billedUsd"], second["billedUsd"]) == cents(float(billed_usd(sandbox)))
    third = write(anybody, {**clip("one", firstFrame=FRAME), "scene": {"action": "it leaves again"}})
    anybody.json("script", third)
    assert [charge.kind for charge in sandbox.state.books.charges()].count("image") == 2, "that still has its clip"


def test_jobs_of_the_ledger_have_the_same_sums_as_the_run(person: Person, sandbox: SandboxServer) -> None:
    told = person.json("script", write(person, clip("one", 2), clip("two", firstFrame=FRAME)))
    jobs = person.jobs()
    assert {job.state for job in jobs} == {JobState.DONE}
    assert cents(*(float(job.billed_usd or 0) for job in jobs)) == cents(told["billedUsd"])
    assert len(charges(sandbox, "ACTION: one casts off")) == 1
