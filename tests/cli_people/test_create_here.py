"""``ring-mcp image`` and ``ring-mcp video`` in their own process, against the sandbox."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ring_mcp.cli.commands import cli
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.tools.image_create import ImageCreateArguments
from ring_mcp.tools.tool import Arguments
from ring_mcp.tools.video_create import VideoCreateArguments
from tests.cli_people.people import BAD_USAGE, DONE, FAILED, UNDER_WAY, Person, ctrl_c, terminal
from tests.server.wire import LIMIT_S, charges, environment, eventually
from tests.warm import command

LONG_S = 600.0
OWN_OPTIONS = {"as_json", "opened", "wait_s", "gateway", "thumbnail_template", "yes"}
"""What is not an argument of the tool (``wait_s`` is its waitSeconds, ``thumbnail_template`` is in its thumbnail)."""


def test_help_tells_what_the_registry_and_its_overlay_have(tmp_path: Path) -> None:
    overlay = tmp_path / "mine.json"
    overlay.write_text(json.dumps({"imageModels": {"grok-imagine-image": {"aspectRatios": ["7:3"]}}}))
    plain, changed = (
        command(environment(tmp_path, **more), tmp_path, "image", "--help").stdout
        for more in ({}, {"RING_PRESETS_FILE": str(overlay)})
    )
    assert "low, medium." in plain
    assert "1k, 1.5k, 2k." in " ".join(plain.split())
    assert "7:3" not in plain
    assert "7:3" in changed


@pytest.mark.parametrize(("name", "model"), [("image", ImageCreateArguments), ("video", VideoCreateArguments)])
def test_every_argument_of_the_tool_is_an_option(name: str, model: type[Arguments]) -> None:
    parameters = cli.commands[name].params
    others = {"wait_seconds", "preview"}  # --wait-s and --open
    assert {p.name for p in parameters if p.name} - OWN_OPTIONS == model.model_fields.keys() - others
    options = [option for p in parameters if isinstance(p, click.Option) for option in p.opts]
    assert "--aspect-ratio" in options
    assert not [option for option in options if "_" in option]


@pytest.mark.parametrize(
    ("name", "typed", "meant"),
    [
        ("image", "--size", "--aspect-ratio or --resolution"),
        ("image", "--count", "--n"),
        ("image", "-n", "--n"),
        ("image", "--image", "--reference-images"),
        ("image", "--aspectRatio=16:9", "--aspect-ratio"),
        ("image", "--budget", "--max-usd"),
        ("video", "--seconds", "--duration"),
        ("video", "--mode", "--quality-mode"),
        ("video", "--image", "--image-url"),
        ("video", "--end-image", "--last-frame-url"),
    ],
)
def test_an_option_of_others_leads_to_the_one_that_is_there(name: str, typed: str, meant: str) -> None:
    refused = CliRunner().invoke(cli, [name, "a boat", typed, "2"])
    assert refused.exit_code == BAD_USAGE
    assert f"Did you mean {meant}?" in refused.output


def test_an_option_like_no_other_gets_no_hint() -> None:
    refused = CliRunner().invoke(cli, ["image", "a boat", "--output", "boat.jpg"])
    assert (refused.exit_code, "Did you mean" in refused.output) == (BAD_USAGE, False)


def test_addresses_of_pictures_are_whole_in_a_narrow_terminal(person: Person) -> None:
    done = person.with_env(COLUMNS="60").types("image", "two kites over a harbour", "--n", "2", "--purpose", "p" * 60)
    assert (done.returncode, done.stderr) == (DONE, "")
    urls = [line.split()[1] for line in done.stdout.splitlines() if line.strip().startswith("url")]
    assert len(urls) == 2
    assert all(Path(url.removeprefix("file://")).is_file() for url in urls)
    assert min(len(url) for url in urls) > 60
    for part in ("SANDBOX", "picture 2 of 2", "billed $0.12, estimated $0.12", "image/jpeg", "\n  job "):
        assert part in done.stdout
    assert all(len(line) <= 60 for line in done.stdout.splitlines() if len(line.split()) > 3)


def test_a_script_gets_one_json_object_and_nothing_else(person: Person, sandbox: SandboxServer) -> None:
    made = person.json("image", "for a script", "--resolution", "1k", "--aspect-ratio", "16:9", "--ref-code", "r-1")
    assert (made["success"], made["state"], made["sandbox"], made["resolution"]) == (True, "done", True, "1k")
    assert Path(made["images"][0]["localPath"]).is_file()
    assert len(charges(sandbox, "for a script")) == 1


def test_the_provider_can_be_google(person: Person, sandbox: SandboxServer) -> None:
    made = person.json("image", "from the other one", "--provider", "google", "--n", "2")
    assert (made["provider"], made["state"], len(made["images"])) == ("google", "done", 2)
    assert len(charges(sandbox, "from the other one")) == 2
    done = person.types("image", "wide", "--provider", "google", "--aspect-ratio", "2:1")
    assert done.returncode == BAD_USAGE
    assert "the nearest are 16:9 and 21:9" in " ".join(done.stderr.split())


def test_a_clip_is_made_with_its_first_frame(person: Person) -> None:
    arguments = ("--duration", "2", "--first-frame-prompt", "a boat", "--clip-id", "c-1")
    done = person.types("video", "a boat turns", *arguments)
    assert (done.returncode, done.stderr) == (DONE, "")
    lines = done.stdout.splitlines()
    assert lines.index("clip") < lines.index("first frame")
    assert "draft_i2v" in done.stdout
    assert {job.kind for job in person.jobs()} == {"image", "video"}


def test_an_estimate_that_is_not_the_bill_says_whose_it_is(person: Person) -> None:
    """Ring's rate of a mode knows no resolution."""
    done = person.types("video", "a boat", "--duration", "1", "--resolution", "720p")
    assert "billed $0.07, estimated $0.05 by the mode's rate" in " ".join(done.stdout.split())


def test_a_clip_has_the_thumbnail_that_was_asked_for(person: Person) -> None:
    done = person.types("video", "a boat", "--duration", "1", "--thumbnail", "Лодка", "--thumbnail-template", "cta_bar")
    assert (done.returncode, done.stderr) == (DONE, "")
    lines = done.stdout.splitlines()
    assert lines.index("clip") < lines.index("thumbnail")
    assert "1280 x 720 px" in done.stdout
    lonely = person.types("video", "a boat", "--thumbnail-template", "cta_bar")
    assert lonely.returncode == BAD_USAGE


def test_a_picture_is_edited_with_what_was_made_before(person: Person) -> None:
    first = person.json("image", "a boat", "--resolution", "1k")
    options = [part for _ in range(2) for part in ("--reference-images", first["url"])]
    made = person.json("image", "both at night", *options, "--quality", "low", "--resolution", "1k")
    assert (made["success"], made["billedCostUsd"]) == (True, 0.06)


def test_a_dry_run_names_the_price_and_spends_nothing(person: Person, sandbox: SandboxServer) -> None:
    done = person.with_env(RING_MAX_USD_PER_DAY="1").types("video", "x", "--duration", "10", "--dry-run")
    assert done.returncode == DONE
    for part in ("DRY RUN", "costs     $0.50", "10 x $0.05", "cap left  $1.00 today"):
        assert part in done.stdout
    assert not sandbox.state.books.charges()
    assert not person.jobs()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("image", " "), "prompt is required"),
        (("image", "x", "--n", "99"), "n must be between 1 and 10"),
        (("image", "x", "--resolution", "9k"), "resolution must be one of"),
        (("video", "x", "--quality-mode", "best"), "qualityMode"),
        (("video", "x", "--ref-code", "r" * 300), "refCode"),
        (("video", "x", "--thumbnail", "a", "--thumbnail-template", "bar"), "thumbnail.template"),
        (("video", "x", "--thumbnail", ""), "thumbnail.overlays[0].text"),
    ],
)
def test_wrong_usage_ends_with_status_2_and_names_the_argument(
    person: Person, arguments: tuple[str, ...], said: str
) -> None:
    told = person.json(*arguments, status=BAD_USAGE)
    assert (told["success"], told["billed"]) == (False, "no")
    assert said in told["error"]


def test_without_a_key_it_fails_and_says_so(tmp_path: Path, person: Person) -> None:
    del person.env["RING_SANDBOX"]
    done = person.types("image", "x")
    assert (done.returncode, done.stdout) == (FAILED, "")
    assert "XAI_API_KEY is not configured" in done.stderr
    wrong = person.with_env(RING_MAX_USD_PER_DAY="much", RING_INLINE_WAIT_S="long").types("image", "x")
    assert (wrong.returncode, wrong.stderr.count("error: ")) == (BAD_USAGE, 2)


def test_a_person_with_a_token_is_who_it_names(person: Person) -> None:
    guarded = person.with_env(RING_MCP_SERVICE_TOKENS="carol=tok")
    refused = guarded.with_env(RING_SERVICE_TOKEN="another").types("image", "x")
    assert refused.returncode == BAD_USAGE
    assert "Invalid service token" in refused.stderr
    made = guarded.with_env(RING_SERVICE_TOKEN="tok").json("image", "x")
    [job] = person.jobs()
    assert (job.id, job.actor_id) == (made["jobId"], "carol")


def test_whoever_has_the_servers_own_settings_needs_no_token(person: Person) -> None:
    person.with_env(RING_MCP_SERVICE_TOKENS="carol=tok").json("image", "x")
    [job] = person.jobs()
    assert job.actor_id == "ring-mcp-service"


def test_a_refusal_by_moderation_fails_and_says_what_it_cost(person: Person, sandbox: SandboxServer) -> None:
    sandbox.state.faults.add("moderated")
    done = person.types("image", "something bad")
    assert (done.returncode, done.stdout) == (FAILED, "")
    assert "error: " in done.stderr
    assert "Change the prompt" in done.stderr
    assert person.jobs()[0].id in done.stderr


def test_a_failure_is_told_once_in_lines_that_fit(person: Person, sandbox: SandboxServer) -> None:
    sandbox.state.faults.add("drop_after_accept")
    failed = person.with_env(COLUMNS="60").types("image", "lost in the wire")
    assert failed.returncode == FAILED
    assert " ".join(failed.stderr.split()).count("after the request was sent") == 1
    assert failed.stderr.startswith("error: ")
    assert max(map(len, failed.stderr.splitlines())) <= 60


def test_a_longer_job_is_left_with_status_3_and_fetched_later(person: Person, sandbox: SandboxServer) -> None:
    sandbox.state.configure(render_s=LONG_S)
    left = person.types("video", "slow boat", "--duration", "2", "--wait-s", "0")
    assert left.returncode == UNDER_WAY
    [job] = person.jobs()
    assert job.state == "rendering", "it was not left before the provider had it"
    assert f"ring-mcp jobs resume {job.id}" in left.stdout
    waited = person.json("jobs", "resume", job.id, "--wait-s", "0.2", status=UNDER_WAY)
    assert waited["state"] == "rendering"
    sandbox.state.configure(render_s=0)
    assert person.json("jobs", "resume", job.id)["video"]["contentType"] == "video/mp4"
    assert len(charges(sandbox, "slow boat")) == 1


@pytest.mark.long
def test_a_job_that_outlasts_its_time_is_kept(person: Person, sandbox: SandboxServer) -> None:
    sandbox.state.configure(deferred_s=LONG_S)
    done = person.with_env(IMAGE_GEN_POLL_TIMEOUT_MS="2500").types("image", "late")
    assert (done.returncode, done.stdout) == (UNDER_WAY, "")
    assert "timed out" in done.stderr
    assert f"ring-mcp jobs resume {person.jobs()[0].id}" in done.stderr


def test_ctrl_c_leaves_the_job_and_prints_how_to_get_it(person: Person, sandbox: SandboxServer) -> None:
    sandbox.state.configure(render_s=LONG_S)
    with person.begins("video", "left alone", "--duration", "2") as process:
        eventually("the provider has it", lambda: [job for job in person.jobs() if job.state == "rendering"])
        status, stdout, stderr = ctrl_c(process)
    assert status == UNDER_WAY, stderr
    [job] = person.jobs()
    assert job.state == "rendering"
    assert f"ring-mcp jobs resume {job.id}" in stdout
    assert "Traceback" not in stderr
    sandbox.state.configure(render_s=0)
    assert person.json("jobs", "resume", job.id)["state"] == "done"
    assert len(charges(sandbox, "left alone")) == 1


@pytest.mark.long
def test_ctrl_c_waits_for_the_answer_to_a_paid_request(person: Person, sandbox: SandboxServer) -> None:
    sandbox.state.configure(deferred_s=LONG_S)
    sandbox.state.faults.add("slow_reply", seconds=5)
    with person.begins("image", "in the middle") as process:
        eventually("it is being sent", lambda: [job for job in person.jobs() if job.state == "submitting"])
        status, stdout, stderr = ctrl_c(process)
    assert (status, person.jobs()[0].state) == (UNDER_WAY, "rendering")
    assert "leaving" in stderr
    assert person.jobs()[0].id in stdout


def test_open_shows_the_first_file_and_keeps_stdout_clean(person: Person, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    viewers = tmp_path / "bin"
    viewers.mkdir()
    for name in ("xdg-open", "open"):
        (viewers / name).write_text(f'#!/bin/sh\necho noise of a browser\necho "$1" >> {shown}\n')
        (viewers / name).chmod(0o755)
    looking = person.with_env(PATH=f"{viewers}{os.pathsep}{os.environ['PATH']}")
    made = looking.json("image", "look", "--n", "2", "--open")
    eventually("the viewer was started", shown.exists)
    assert eventually("its argument", lambda: shown.read_text().strip()) == made["images"][0]["localPath"]


def test_without_a_viewer_the_picture_is_made_and_its_address_told(person: Person) -> None:
    done = person.with_env(PATH="/nonexistent").types("image", "nobody looks", "--open")
    assert done.returncode == DONE
    assert "open it yourself: /" in done.stderr


@pytest.mark.long
def test_a_bar_is_on_a_terminals_stderr_alone(person: Person, sandbox: SandboxServer) -> None:
    sandbox.state.configure(render_s=LONG_S)
    with (
        terminal() as (end, drawn),
        subprocess.Popen(
            [sys.executable, "-m", "ring_mcp", "video", "bar", "--duration", "1", "--json"],
            env={**person.env, "TERM": "xterm"},
            cwd=person.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=end,
        ) as process,
    ):
        eventually("it is drawn that it renders", lambda: b"rendering" in drawn)
        sandbox.state.configure(render_s=0)
        stdout, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == DONE, drawn.decode()
    assert json.loads(stdout)["state"] == "done"


def test_looking_at_health_does_not_take_over_the_jobs_of_others(person: Person, sandbox: SandboxServer) -> None:
    sandbox.state.configure(deferred_s=LONG_S)
    assert person.types("image", "left over", "--wait-s", "0").returncode == UNDER_WAY
    before = person.jobs()
    sandbox.state.configure(deferred_s=0)
    assert person.types("health").returncode == DONE
    assert person.jobs() == before


@pytest.mark.long
@pytest.mark.parametrize("typed", [("image", "left alone"), ("video", "left alone", "--duration", "1")])
def test_what_a_sandbox_took_and_did_not_make_ends_with_the_next(tmp_path: Path, typed: tuple[str, ...]) -> None:
    person = Person(environment(tmp_path, RING_SANDBOX="on"), tmp_path)
    left = person.types(*typed, "--wait-s", "0")
    assert left.returncode == UNDER_WAY, left.stdout + left.stderr
    [job] = person.jobs()

    done = person.types("jobs", "resume", job.id)
    assert done.returncode == FAILED
    assert "the sandbox that took this job ended" in " ".join((done.stdout + done.stderr).split())
    assert person.types(*typed).returncode == DONE


def run_into_a_full_disk(person: Person, *arguments: str) -> subprocess.CompletedProcess[str]:
    with Path("/dev/full").open("w") as full:
        return subprocess.run(
            [sys.executable, "-m", "ring_mcp", *arguments],
            env=person.env,
            cwd=person.folder,
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )


@pytest.mark.parametrize("switches", [[], ["--json"]])
def test_a_result_that_cannot_be_written_is_told_on_stderr(person: Person, switches: list[str]) -> None:
    done = run_into_a_full_disk(person, "image", "buoy", *switches)
    [job] = person.jobs()
    assert job.id in done.stderr
    assert job.assets[0].url in done.stderr
    assert "error: what it says cannot be written: No space left on device" in done.stderr
    assert (done.returncode, "Traceback" in done.stderr, "Exception" in done.stderr) == (FAILED, False, False)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("typed", [["presets"], ["--help"]])
def test_output_that_cannot_be_written_is_no_traceback(person: Person, typed: list[str], unbuffered: str) -> None:
    done = run_into_a_full_disk(person.with_env(PYTHONUNBUFFERED=unbuffered), *typed)
    assert done.returncode == FAILED
    assert done.stderr.startswith("error: what it says cannot be written: No space left on device\n")
    assert "Exception" not in done.stderr
