"""``ring-mcp script``: the clips of a file, made here or by a server, and what is told of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.cli_people.people import BAD_USAGE, DONE, FAILED, Person, terminal
from tests.cli_people.written import (
    FRAME,
    action_of,
    billed_usd,
    by_id,
    clip,
    manifest,
    paid,
    prompt_of,
    rows,
    sums,
    write,
)
from tests.server.wire import LIMIT_S, charges, eventually

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(params=["person", "remote"])
def anybody(request: pytest.FixtureRequest) -> Person:
    """The same commands in their own process and against a server."""
    typing: Person = request.getfixturevalue(request.param)
    return typing


def test_every_clip_is_made_and_the_sums_are_those_of_the_books(anybody: Person, sandbox: SandboxServer) -> None:
    script = write(anybody, clip("one", 2), clip("two", firstFrame=FRAME), clip("three"))
    done = anybody.types("script", script)

    assert (done.returncode, done.stderr) == (DONE, "")
    assert paid(sandbox, "one", "two", "three") == [1, 1, 1]
    assert len(sandbox.state.books.charges()) == 4, "three clips and a still"
    total = f"${billed_usd(sandbox):.2f}"
    assert sums(done.stdout) == {"quoted": total, "reserved": "$0.00", "billed": total}
    assert {row["status"] for row in rows(anybody).values()} == {"done"}
    assert set(rows(anybody)) == {"one::draft", "two::draft_i2v", "three::draft"}
    assert rows(anybody)["two::draft_i2v"]["firstFrameUrl"].endswith(".jpg")
    [run] = manifest(anybody)["runs"]
    assert (run["clipIds"], run["remaster"], run["direct"]) == (["one", "two", "three"], False, False)
    assert run["requestPath"] == str(anybody.folder / script)
    assert run["finishedAt"] >= run["startedAt"]


def test_a_clip_is_sent_with_its_compiled_prompt_after_its_still(person: Person, sandbox: SandboxServer) -> None:
    cast = [{"id": "anna", "description": "a tall woman in red", "label": "Anna"}]
    spoken = clip("one", firstFrame={**FRAME, "imagePrompt": "{{anna}} waits"})
    spoken["scene"]["dialogue"] = [{"speaker": "anna", "line": "Cast off!", "tone": "urgent"}]
    assert person.types("script", write(person, spoken, cast=cast, requestId="harbour")).returncode == DONE

    still, made = sandbox.state.books.charges()
    assert (still.kind, still.prompt) == ("image", "a tall woman in red waits")
    assert made.prompt.startswith(f'{prompt_of("one")} DIALOGUE: Anna (urgent) says: "Cast off!"')
    row = rows(person)["one::draft_i2v"]
    assert (row["resolution"], row["generationKind"], row["pipelineRequestId"]) == ("480p", "generate", "harbour")


def test_only_the_named_clips_are_made_and_rows_of_others_stay(person: Person, sandbox: SandboxServer) -> None:
    script = write(person, clip("one"), clip("two"), clip("three"))
    person.types("script", script, "--clip", "one")
    assert person.types("script", script, "--clip", "two", "--clip-id", "three").returncode == DONE
    assert paid(sandbox, "one", "two", "three") == [1, 1, 1]
    assert set(rows(person)) == {"one::draft", "two::draft", "three::draft"}
    unknown = person.types("script", script, "--clip", "four")
    assert unknown.returncode == BAD_USAGE
    assert "No clips matched four. Available: one, two, three" in unknown.stderr


def test_a_dry_run_tells_each_price_the_total_and_the_caps(anybody: Person, sandbox: SandboxServer) -> None:
    script = write(anybody, clip("one", 4), clip("two", 3, firstFrame=FRAME))
    done = anybody.with_env(RING_MAX_USD_PER_DAY="50", COLUMNS="60").types("script", script, "--dry-run")

    assert done.returncode == DONE
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["one", "draft", "grok-imagine-video", "4", "$0.20"] in lines
    assert ["two", "draft_i2v", "grok-imagine-video-1.5", "3", "$0.29"] in lines
    assert sums(done.stdout) == {"quoted": "$0.49", "reserved": "$0.00", "billed": "$0.00"}
    assert any(line[:2] == ["cap", "left"] and line[-1] == "today" for line in lines)
    assert not sandbox.state.books.charges()
    assert not (anybody.folder / "output").exists()
    told = anybody.json("script", script, "--dry-run")
    assert (told["dryRun"], told["quotedUsd"], by_id(told)["two"]["quotedUsd"]) == (True, 0.49, 0.29)


def test_one_json_object_tells_what_became_of_each_clip(person: Person) -> None:
    told = person.json("script", write(person, clip("one"), clip("two", 2)), "--download")
    assert (told["success"], told["quotedUsd"], told["billedUsd"], told["reservedUsd"]) == (True, 0.15, 0.15, 0)
    made = by_id(told)["two"]
    assert (made["status"], made["qualityMode"], made["duration"], made["billedUsd"]) == ("done", "draft", 2, 0.1)
    assert Path(made["localPath"]).is_file()
    assert made["url"] == rows(person)["two::draft"]["url"]
    assert made["jobId"] == rows(person)["two::draft"]["jobId"]


def test_addresses_stay_whole_in_a_narrow_terminal(person: Person) -> None:
    name = "a-clip-with-a-name-that-is-longer-than-a-narrow-terminal-is-wide"
    done = person.with_env(COLUMNS="60").types("script", write(person, clip(name)))
    assert done.returncode == DONE
    assert rows(person)[f"{name}::draft"]["url"] in done.stdout
    table = done.stdout.partition("quoted")[0].splitlines()
    assert max(len(line) for line in table) <= 60
    assert name in "".join(line.split()[0] for line in table[2:] if line.strip())


@pytest.mark.parametrize("folder", [None, "mine/deep"])
def test_clips_are_saved_to_the_folder(anybody: Person, folder: str | None) -> None:
    arguments = ["--download", *([folder] if folder else [])]
    done = anybody.types("script", write(anybody, clip("one")), *arguments)
    assert done.returncode == DONE
    saved = anybody.folder / (folder or "output/files") / "one-draft.mp4"
    assert saved.read_bytes()[4:8] == b"ftyp"
    assert [path.name for path in saved.parent.iterdir()] == ["one-draft.mp4"]
    assert f"saved at {saved}" in done.stdout
    assert rows(anybody)["one::draft"]["localPath"] == str(saved)


def test_a_file_of_an_earlier_take_is_replaced_whole(person: Person) -> None:
    script = write(person, clip("one"))
    person.types("script", script, "--download", "mine")
    saved = person.folder / "mine" / "one-draft.mp4"
    saved.write_bytes(b"something else")
    assert person.types("script", script, "--download", "mine").returncode == DONE
    assert Path(saved).read_bytes()[4:8] == b"ftyp"


def test_what_could_not_be_saved_is_told_of_a_done_clip(anybody: Person, sandbox: SandboxServer) -> None:
    (anybody.folder / "taken").write_text("a file")
    script = write(anybody, clip("one"))
    told = anybody.json("script", script, "--download", "taken", status=FAILED)
    assert told["success"] is False
    assert by_id(told)["one"]["status"] == rows(anybody)["one::draft"]["status"] == "done"
    assert "taken/one-draft.mp4 could not be saved" in by_id(told)["one"]["warnings"][0]
    assert anybody.types("script", script, "--download").returncode == DONE
    assert paid(sandbox, "one") == [1]


def test_a_clip_that_is_refused_does_not_stop_the_others(person: Person, sandbox: SandboxServer) -> None:
    sandbox.state.faults.add("moderated", after=1)
    script = write(person, clip("one"), clip("bad"), clip("two"))
    told = person.json("script", script, "--jobs", "1", status=FAILED)

    clips = by_id(told)
    assert [clips[name]["status"] for name in ("one", "bad", "two")] == ["done", "error", "done"]
    assert (clips["bad"]["code"], clips["bad"]["billed"]) == ("content_refused", "yes")
    assert clips["bad"]["nextAction"]
    assert told["billedUsd"] == float(billed_usd(sandbox)), "the refused one was billed, too"
    assert rows(person)["bad::draft"]["error"] == clips["bad"]["error"]

    again = person.types("script", script)
    assert again.returncode == FAILED
    assert "does not pay for it again; --force does" in again.stdout
    assert sums(again.stdout) == {"quoted": "$0.00", "reserved": "$0.00", "billed": "$0.00"}
    assert paid(sandbox, "one", "bad", "two") == [1, 1, 1]


def test_a_clip_that_cost_nothing_is_tried_again(person: Person, sandbox: SandboxServer) -> None:
    sandbox.state.faults.add("bare_422")
    script = write(person, clip("one"))
    assert person.types("script", script).returncode == FAILED
    told = person.json("script", script)
    assert (told["quotedUsd"], told["billedUsd"]) == (0.05, 0.05)
    assert "error" not in rows(person)["one::draft"]


def test_more_than_max_usd_starts_nothing(person: Person, sandbox: SandboxServer) -> None:
    script = write(person, clip("one", 4), clip("two", firstFrame=FRAME))
    told = person.json("script", script, "--max-usd", "0.30", status=FAILED)
    assert (told["code"], told["billed"]) == ("cap_exceeded", "no")
    assert "would cost $0.33" in told["error"]
    assert not sandbox.state.books.charges()
    assert person.types("script", script, "--max-usd", "$0.33").returncode == DONE
    assert person.types("script", script, "--max-usd", "0").returncode == DONE, "all of it stands already"
    for amount in ("much", "-1", "NaN"):
        assert person.types("script", script, "--max-usd", amount).returncode == BAD_USAGE


@pytest.mark.long
def test_thumbnails_and_texts_of_the_world_are_made_as_they_are_written(person: Person, sandbox: SandboxServer) -> None:
    thumbnail = {"enabled": True, "overlays": [{"text": "Гавань", "role": "title"}]}
    odd = "שלום 👋🏽 مرحبا"
    done = person.types("script", write(person, clip("one", thumbnail=thumbnail), {**clip("two"), "prompt": odd}))
    assert (done.returncode, done.stderr) == (DONE, "")
    assert Path(rows(person)["one::draft"]["thumbnailUrl"].removeprefix("file://")).is_file()
    assert len(charges(sandbox, odd)) == 1
    thumbnail["overlays"] = [{"text": "x" * 10_000, "role": "title"}]
    cut = person.json("script", write(person, clip("three", thumbnail=thumbnail)))
    assert "cut" in cut["clips"][0]["warnings"][0]


def test_a_clip_is_edited_by_whoever_made_its_draft(person: Person, sandbox: SandboxServer) -> None:
    script = write(
        person, clip("one", 3), clip("two", 3, video={"provider": "xai"}), defaults={"videoProvider": "google"}
    )
    told = by_id(person.json("script", script))
    assert told["one"]["model"].startswith("gemini")
    assert told["two"]["model"].startswith("grok")
    assert (told["one"]["status"], told["two"]["status"]) == ("done", "done")
    assert person.types("script", script, "--remaster").returncode == DONE
    edits = {name: rows(person)[f"{name}::production_edit"] for name in ("one", "two")}
    assert {row["generationKind"] for row in edits.values()} == {"edit"}
    assert (edits["one"]["model"], edits["two"]["model"]) == ("gemini-omni-1.2-flash", "grok-imagine-video")
    assert edits["one"]["resolution"] == "720p"
    assert len(sandbox.state.books.charges()) == 4
    assert person.types("script", script, "--remaster").returncode == DONE
    assert len(sandbox.state.books.charges()) == 4, "what was edited is not edited again"


def test_a_first_frame_may_come_from_google(person: Person, sandbox: SandboxServer) -> None:
    script = write(person, clip("one", firstFrame={"imagePrompt": FRAME["imagePrompt"], "imageProvider": "google"}))
    told = person.json("script", script)
    still = next(charge for charge in sandbox.state.books.charges() if charge.kind == "image")
    assert still.endpoint.startswith("/google") or "gemini" in still.model
    assert told["billedUsd"] == pytest.approx(float(billed_usd(sandbox)))


@pytest.mark.long
def test_a_terminal_sees_a_bar_for_each_clip_on_stderr(person: Person, sandbox: SandboxServer) -> None:
    sandbox.state.configure(render_s=600)
    with (
        terminal() as (end, drawn),
        subprocess.Popen(
            [sys.executable, "-m", "ring_mcp", "script", write(person, clip("one"), clip("two")), "--json"],
            env={**person.env, "TERM": "xterm"},
            cwd=person.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=end,
        ) as process,
    ):
        for part in ("one", "two", "rendering", "━"):
            eventually(f"{part} is drawn", lambda: part.encode() in drawn)  # noqa: B023 - asked at once
        sandbox.state.configure(render_s=0)
        stdout, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == DONE, drawn.decode()
    assert json.loads(stdout)["success"] is True


def test_the_schema_is_that_of_the_examples(person: Person) -> None:
    printed = json.loads(person.types("script", "--schema").stdout)
    assert printed == json.loads((EXAMPLES / "scripted-request.schema.json").read_text())
    assert action_of("one") not in json.dumps(printed)
