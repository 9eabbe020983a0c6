"""``ring-mcp jobs``: a person looks at the ledger that a server has written, carries a job on, settles another."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.cells import cell_len

from ring_mcp.sandbox.server import SandboxServer
from tests.server.wire import RingProcess, charges, environment
from tests.warm import command

LONG_S = 600.0
ODD_PROMPT = "[/red] not markup\n  \x1b[31mnor colour \N{RIGHT-TO-LEFT OVERRIDE} 日本語"


@dataclass(frozen=True)
class Ledger:
    """What a server left behind before it ended."""

    folder: Path
    env: dict[str, str]
    sandbox: SandboxServer
    done: str
    odd: str
    unknown: str
    advice: str
    parked: str


@pytest.fixture(scope="module")
def ledger(running: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    folder = tmp_path_factory.mktemp("jobs")
    env = environment(folder, RING_SANDBOX=running.url, IMAGE_GEN_POLL_TIMEOUT_MS="2500")
    with RingProcess(env, folder) as ring:
        done = ring.create(prompt="two of them", n=2).data["jobId"]
        odd = ring.create(prompt=ODD_PROMPT).data["jobId"]
        running.state.faults.add("drop_after_accept")
        unknown = ring.create(prompt="unknown").content
        assert unknown["code"] == "unknown_outcome"
        running.state.configure(deferred_s=LONG_S)
        parked = ring.create(prompt="parked").content
        assert parked["code"] == "timeout"
    return Ledger(folder, env, running, done, odd, unknown["jobId"], unknown["nextAction"], parked["jobId"])


@pytest.mark.long
def test_each_of_the_newest_jobs_is_one_line_whatever_its_prompt(ledger: Ledger) -> None:
    listed = command({**ledger.env, "COLUMNS": "120"}, ledger.folder, "jobs", "list")
    assert (listed.returncode, listed.stderr) == (0, "")
    whose, heading, *lines = [line for line in listed.stdout.splitlines() if line]
    assert whose.startswith("SANDBOX: ")
    assert heading.split() == ["job", "when", "(UTC)", "kind", "state", "cost", "prompt"]
    newest_first = [ledger.parked, ledger.unknown, ledger.odd, ledger.done]
    assert [line.split()[0] for line in lines] == [job_id[:8] for job_id in newest_first]
    assert "[/red] not markup" in lines[2]
    assert "日本語" in lines[2]
    assert "$0.12" in lines[3]
    assert "≤ $0.06" in lines[1]
    assert "\x1b" not in listed.stdout


def test_jobs_can_be_listed_by_state_as_one_json_object_a_line(ledger: Ledger) -> None:
    listed = command(ledger.env, ledger.folder, "jobs", "list", "--json", "--state", "done", "--state", "unknown")
    jobs = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [job["jobId"] for job in jobs] == [ledger.unknown, ledger.odd, ledger.done]
    assert jobs[1]["prompt"] == ODD_PROMPT.replace("\x1b[31m", "")  # what would colour a terminal is gone
    assert (jobs[2]["state"], jobs[2]["estimatedCostUsd"], jobs[2]["billedCostUsd"]) == ("done", 0.12, 0.12)
    assert jobs[2]["url"].startswith("file://")
    limited = command(ledger.env, ledger.folder, "jobs", "list", "--json", "--limit", "1")
    assert len(limited.stdout.splitlines()) == 1


def test_a_job_is_shown_with_its_audit_rows_in_order(ledger: Ledger) -> None:
    shown = command(ledger.env, ledger.folder, "jobs", "show", ledger.done)
    found = json.loads(shown.stdout)
    assert (found["job"]["id"], found["job"]["state"]) == (ledger.done, "done")
    assert [record["index"] for record in found["records"]] == [0, 1]
    assert [record["id"] for record in found["records"]] == [a["record_id"] for a in found["job"]["assets"]]
    assert {record["prompt"] for record in found["records"]} == {"two of them"}


@pytest.mark.parametrize("width", [60, 100])
def test_no_line_of_a_table_is_wider_than_the_terminal(ledger: Ledger, width: int) -> None:
    listed = command({**ledger.env, "COLUMNS": str(width)}, ledger.folder, "jobs", "list")
    assert all(cell_len(line) <= width for line in listed.stdout.splitlines())
    assert "two of them" in listed.stdout


def test_a_wide_terminal_shows_addresses_too(ledger: Ledger) -> None:
    listed = command({**ledger.env, "COLUMNS": "300"}, ledger.folder, "jobs", "list")
    assert listed.stdout.count("file://") == 2


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (("--state", "open"), ["parked"]),
        (("--kind", "video"), []),
        (("--since", "1h", "--state", "done", "--limit", "1"), ["odd"]),
        (("--since", "2100-01-01"), []),
        (("--ref-code", "none"), []),
    ],
)
def test_jobs_are_found_by_what_the_tool_takes(ledger: Ledger, filters: tuple[str, ...], found: list[str]) -> None:
    listed = command(ledger.env, ledger.folder, "jobs", "list", "--json", *filters)
    assert listed.returncode == 0, listed.stderr
    assert [json.loads(line)["jobId"] for line in listed.stdout.splitlines()] == [getattr(ledger, n) for n in found]


def test_the_beginning_of_an_id_is_enough_and_text_is_for_people(ledger: Ledger) -> None:
    shown = command(ledger.env, ledger.folder, "jobs", "show", ledger.done[:8], "--text")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines()[1].split() == ["job", ledger.done]
    assert "settled $0.12" in shown.stdout
    assert shown.stdout.count("\noutput ") == 2
    odd = command(ledger.env, ledger.folder, "jobs", "show", ledger.odd, "--text").stdout
    assert "[/red] not markup" in odd
    unknown = command(ledger.env, ledger.folder, "jobs", "show", ledger.unknown, "--text").stdout
    assert "[unknown_outcome, billed: unknown]" in unknown
    assert re.search(r"^  next step +Do not", unknown, re.MULTILINE)


def test_a_shown_job_fits_a_narrow_terminal(ledger: Ledger) -> None:
    shown = command({**ledger.env, "COLUMNS": "60"}, ledger.folder, "jobs", "show", ledger.unknown, "--text").stdout
    assert shown.startswith("SANDBOX: ")
    assert max(map(len, shown.splitlines())) <= 60


def test_figures_stand_beside_the_end_of_a_name_of_two_lines(ledger: Ledger) -> None:
    told = command({**ledger.env, "COLUMNS": "56"}, ledger.folder, "spend").stdout.splitlines()
    assert "image" in [line.strip() for line in told]
    [line] = [line for line in told if "grok-imagine-image-2.0" in line]
    assert "$0.18" in line


@pytest.mark.parametrize("action", [("show",), ("resume",), ("cancel",), ("resolve", "--paid"), ("adopt",)])
def test_a_beginning_that_is_too_short_is_told(ledger: Ledger, action: tuple[str, ...]) -> None:
    done = command(ledger.env, ledger.folder, "jobs", *action, ledger.done[:4])
    assert (done.returncode, done.stdout) == (1, "")
    assert f"'{ledger.done[:4]}' is too short for the beginning of a job's id: six characters" in done.stderr


@pytest.mark.parametrize("action", [("show",), ("resume",), ("cancel",), ("resolve", "--paid")])
@pytest.mark.parametrize("blank", ["", " "])
def test_an_empty_id_is_told(ledger: Ledger, action: tuple[str, ...], blank: str) -> None:
    done = command(ledger.env, ledger.folder, "jobs", *action, blank)
    assert (done.returncode, done.stdout) == (2, "")
    assert "it may not be empty" in done.stderr


@pytest.mark.parametrize("chars", [6, 8, 20])
def test_a_beginning_is_taken_in_capitals_too(ledger: Ledger, chars: int) -> None:
    shown = command(ledger.env, ledger.folder, "jobs", "show", ledger.done[:chars].upper())
    assert json.loads(shown.stdout)["job"]["id"] == ledger.done


@pytest.mark.parametrize("action", [("show",), ("resume",), ("resolve", "--paid")])
def test_a_job_that_does_not_exist_is_told_on_stderr(ledger: Ledger, action: tuple[str, ...]) -> None:
    done = command(ledger.env, ledger.folder, "jobs", *action, "no-such-job")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no job 'no-such-job'; `ring-mcp jobs list` shows the newest" in done.stderr


def test_a_parked_job_is_carried_on_without_paying_again(ledger: Ledger) -> None:
    waited = command(ledger.env, ledger.folder, "jobs", "resume", ledger.parked, "--wait-s", "0")
    assert waited.returncode == 3
    assert json.loads(waited.stdout)["state"] == "rendering"
    ledger.sandbox.state.configure(deferred_s=0)
    resumed = command(ledger.env, ledger.folder, "jobs", "resume", ledger.parked)
    assert resumed.returncode == 0, resumed.stderr
    result = json.loads(resumed.stdout)
    assert (result["jobId"], result["state"]) == (ledger.parked, "done")
    assert Path(result["images"][0]["localPath"]).exists()
    again = command(ledger.env, ledger.folder, "jobs", "resume", ledger.parked)
    assert json.loads(again.stdout) == result
    assert len(charges(ledger.sandbox, "parked")) == 1


def test_an_unknown_job_is_settled_by_a_person_once_never_guessed(ledger: Ledger) -> None:
    for switches in ((), ("--paid", "--not-paid")):
        guess = command(ledger.env, ledger.folder, "jobs", "resolve", ledger.unknown, *switches)
        assert guess.returncode == 2
        assert "--paid or --not-paid" in guess.stderr
    other = command(ledger.env, ledger.folder, "jobs", "resolve", ledger.done, "--not-paid")
    assert other.returncode == 1
    assert "it is settled already" in other.stderr

    # As the refusal of a server of the sandbox tells it: whoever types has its settings and not its sandbox.
    of_whom = {name: value for name, value in ledger.env.items() if name != "RING_SANDBOX"}
    assert f"`ring-mcp jobs resolve {ledger.unknown} --sandbox --paid|--not-paid`" in ledger.advice
    assert command(of_whom, ledger.folder, "jobs", "resolve", ledger.unknown, "--paid").returncode == 1
    settled = command(of_whom, ledger.folder, "jobs", "resolve", ledger.unknown, "--sandbox", "--paid")
    assert settled.returncode == 0, settled.stderr
    assert settled.stdout.strip() == f"{ledger.unknown} is settled: $0.06 counts against the caps"
    twice = command(ledger.env, ledger.folder, "jobs", "resolve", ledger.unknown, "--not-paid")
    assert twice.returncode == 1
    shown = json.loads(command(ledger.env, ledger.folder, "jobs", "show", ledger.unknown).stdout)["job"]
    assert (shown["state"], shown["settled_usd"], shown["failure"]["billed"]) == ("failed", "0.06", "yes")


def test_a_job_that_was_not_paid_frees_its_reservation(tmp_path: Path, sandbox: SandboxServer) -> None:
    env = environment(tmp_path, RING_SANDBOX=sandbox.url, RING_MAX_USD_PER_DAY="0.06")
    sandbox.state.faults.add("drop_before_accept")
    with RingProcess(env, tmp_path) as ring:
        job_id = ring.create(prompt="not paid").content["jobId"]
        assert ring.create(prompt="another").content["code"] == "cap_exceeded"
        settled = command(env, tmp_path, "jobs", "resolve", job_id, "--not-paid")
        assert settled.stdout.strip() == f"{job_id} is settled: $0.00 counts against the caps"
        assert ring.create(prompt="another").data["state"] == "done"


def test_without_jobs_the_list_says_so(env: dict[str, str], tmp_path: Path) -> None:
    assert command(env, tmp_path, "jobs", "list").stdout == "no jobs\n"
    assert command(env, tmp_path, "jobs", "list", "--json").stdout == ""


def test_a_ledger_that_cannot_be_used_is_one_message_and_no_traceback(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    done = command({**env, "RING_STATE_DIR": str(tmp_path / "file")}, tmp_path, "jobs", "list")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: the state folder ")
    assert "Traceback" not in done.stderr


def test_a_wrong_configuration_ends_with_status_2(env: dict[str, str], tmp_path: Path) -> None:
    done = command({**env, "FILE_BACKEND": "ftp", "RING_INLINE_WAIT_S": "x"}, tmp_path, "jobs", "list")
    assert done.returncode == 2
    assert "FILE_BACKEND: must be one of 'local', 'ringbase' or 's3'" in done.stderr
    assert "RING_INLINE_WAIT_S: must be a number" in done.stderr
