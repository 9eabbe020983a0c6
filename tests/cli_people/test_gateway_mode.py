"""The same commands against a running ``ring-mcp serve``: a person who has an address and a token, and nothing else."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.clients.gateway import open_gateway
from ring_mcp.sandbox.server import SandboxServer
from tests.cli_people.odd_servers import answering
from tests.cli_people.people import BAD_USAGE, BOB, DONE, FAILED, UNDER_WAY, Person, ctrl_c, environment, serving
from tests.server.wire import charges, eventually

LONG_S = 600.0


ESCAPES = "\x1b\x07\r\x9b"


def test_a_picture_comes_from_the_server_and_nothing_is_kept_here(remote: Person, sandbox: SandboxServer) -> None:
    done = remote.with_env(COLUMNS="60").types("image", "from afar", "--n", "2")
    assert (done.returncode, done.stderr) == (DONE, "")
    urls = [line.split()[1] for line in done.stdout.splitlines() if line.strip().startswith("url")]
    assert [url.startswith(remote.env["RING_API_BASE_URL"] + "files/") for url in urls] == [True, True]
    assert len(charges(sandbox, "from afar")) == 1
    assert not Path(remote.env["RING_STATE_DIR"]).exists()


def test_the_address_may_have_a_slash_or_be_an_option(remote: Person, server: str) -> None:
    del remote.env["RING_API_BASE_URL"]
    for url in (server, f"{server}/api/mcp/v1/"):
        assert remote.json("image", "x", "--dry-run", "--gateway", url)["dryRun"] is True


def test_a_clip_that_is_still_under_way_is_fetched_later(remote: Person, sandbox: SandboxServer) -> None:
    sandbox.state.configure(render_s=LONG_S)
    left = remote.json("video", "slow", "--duration", "1", "--wait-s", "0.3", status=UNDER_WAY)
    sandbox.state.configure(render_s=0)
    made = remote.json("jobs", "resume", left["jobId"])
    assert made["video"]["url"].startswith("http://127.0.0.1:")
    assert len(charges(sandbox, "slow")) == 1


def test_ctrl_c_leaves_the_job_to_the_server(remote: Person, sandbox: SandboxServer) -> None:
    sandbox.state.configure(render_s=LONG_S)
    with remote.begins("video", "left there", "--duration", "1") as process:
        eventually("the server has it", lambda: [job for job in there(remote) if job["prompt"] == "left there"])
        status, stdout, stderr = ctrl_c(process)
    assert status == UNDER_WAY, stderr
    assert "ring-mcp jobs resume" in stdout
    assert "Traceback" not in stderr


def test_jobs_are_listed_and_shown_for_their_own_actor_alone(remote: Person, sandbox: SandboxServer) -> None:
    made = remote.json("image", "mine")
    sandbox.state.faults.add("moderated")
    assert remote.types("image", "refused").returncode == FAILED
    listed = [
        json.loads(line)
        for line in remote.types(
            "jobs", "list", "--json", "--limit", "2", "--state", "done", "--state", "refused"
        ).stdout.splitlines()
    ]
    assert [job["prompt"] for job in listed] == ["refused", "mine"]
    assert json.loads(remote.types("jobs", "show", made["jobId"]).stdout)["images"] == made["images"]
    failed = remote.types("jobs", "show", listed[0]["jobId"])
    assert (failed.returncode, json.loads(failed.stdout)["code"]) == (DONE, "content_refused")
    bob = remote.with_env(RING_SERVICE_TOKEN=BOB)
    assert "no jobs" in bob.types("jobs", "list").stdout
    foreign = bob.types("jobs", "show", made["jobId"])
    assert (foreign.returncode, foreign.stdout) == (FAILED, "")
    assert "there is no job" in foreign.stderr


def test_the_spend_of_the_own_actor_and_what_the_caps_leave(remote: Person) -> None:
    remote.json("image", "paid for")
    report = remote.json("spend", "--since", "1h")
    assert report["total"]["jobs"] >= 1
    assert report["total"]["settledUsd"] >= 0.06
    assert {row["model"] for row in report["models"]} >= {"grok-imagine-image-2.0"}
    assert 0 < report["capLeftUsd"]["today"] < 50


def test_health_of_the_server(remote: Person) -> None:
    report = remote.json("doctor")
    assert report["sandbox"] is True
    assert [check["status"] for check in report["checks"] if check["name"] == "sums"] == ["warning"], (
        "nobody has looked"
    )


def test_what_the_server_says_is_what_the_person_reads(remote: Person, sandbox: SandboxServer) -> None:
    wide = remote.with_env(COLUMNS="250")
    refused = wide.types("image", "x", "--n", "99")
    assert (refused.returncode, refused.stdout) == (BAD_USAGE, "")
    assert "n must be between 1 and 10" in refused.stderr
    sandbox.state.faults.add("moderated")
    moderated = wide.json("image", "x", status=FAILED)
    assert (moderated["code"], moderated["state"]) == ("content_refused", "refused")
    assert moderated["jobId"]
    assert moderated["nextAction"]


def test_without_a_token_nothing_is_sent_and_a_wrong_one_is_told(remote: Person) -> None:
    wrong = remote.with_env(RING_SERVICE_TOKEN="wrong").types("jobs", "list")
    assert (wrong.returncode, wrong.stdout) == (BAD_USAGE, "")
    assert "Invalid service token" in wrong.stderr
    del remote.env["RING_SERVICE_TOKEN"]
    for arguments in (("image", "x"), ("spend",)):
        none = remote.with_env(RING_API_BASE_URL="http://127.0.0.1:1").types(*arguments)
        assert (none.returncode, none.stdout) == (BAD_USAGE, "")
        assert "RING_SERVICE_TOKEN is not set" in none.stderr


def test_a_server_that_cannot_be_reached_is_one_plain_line(remote: Person) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        done = remote.with_env(COLUMNS="250").types("image", "x", "--gateway", url)
        listed = remote.types("jobs", "list", "--gateway", url)
    assert (done.returncode, done.stdout) == (FAILED, "")
    first, second = done.stderr.splitlines()
    assert first == f"error: {url} cannot be reached: Connection refused"
    assert "ring-mcp serve" in second
    assert listed.returncode == FAILED
    assert "Traceback" not in listed.stderr
    for address in ("not an address", "localhost:8787", "http://"):
        nonsense = remote.types("health", "--gateway", address)
        assert (nonsense.returncode, nonsense.stdout) == (BAD_USAGE, "")
        assert "error: --gateway: " in nonsense.stderr


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 1\r\n\r\n<", "not as a ring-mcp"),
        (b"HTTP/1.1 302 Found\r\nlocation: https://other.example/\r\ncontent-length: 0\r\n\r\n", "other.example"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", "not as a ring-mcp"),
        (b"", "did not answer"),
        (b"HTTP/1.1 429 Too Many\r\nretry-after: x\r\ncontent-length: 40\r\n\r\n"
         b'{"success": false, "error": "too many!"}', "too many!"),
    ],
    ids=["proxy", "redirect", "another server", "dropped", "busy"],
)  # fmt: skip
def test_a_stranger_at_that_address_ends_in_words_not_in_a_traceback(remote: Person, answer: bytes, said: str) -> None:
    with answering(answer) as url:
        done = remote.with_env(COLUMNS="250").types("image", "x", "--gateway", url)
    assert (done.returncode, done.stdout) == (FAILED, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "content"),
    [
        (("jobs", "list"), {"success": False, "error": f"no{ESCAPES}", "nextAction": f"do{ESCAPES}"}),
        (("image", "x"), {"success": False, "error": f"no{ESCAPES}", "nextAction": f"do{ESCAPES}"}),
        (("health",), {"success": True, "data": dict.fromkeys(("status", "service", "serverVersion"), f"no{ESCAPES}")}),
        *(
            ((*command, "--json"), {"success": True, "data": {"jobs": [{"jobId": f"no{ESCAPES}\u2028\ud800"}]}})
            for command in (("jobs", "list"), ("health",), ("image", "x", "--dry-run"))
        ),
        (
            ("health",),
            {"success": True, "data": {"checks": [dict.fromkeys(("name", "status", "detail"), f"no{ESCAPES}")]}},
        ),
    ],
)
def test_a_terminal_obeys_no_words_of_a_server(
    remote: Person, arguments: tuple[str, ...], content: dict[str, object]
) -> None:
    body = json.dumps(content).encode()
    head = f"HTTP/1.1 {'200 OK' if content['success'] else '400 Bad'}\r\ncontent-length: {len(body)}\r\n\r\n"
    with answering(head.encode() + body) as url:
        done = remote.types(*arguments, "--gateway", url)
    shown = done.stdout + done.stderr
    assert "no" in shown
    assert not set(ESCAPES) & set(shown)


@pytest.mark.parametrize(
    ("listed", "shown"),
    [
        ({"jobId": "0123456789", "state": "done", "prompt": "a boat", "costUsd": 0.06}, ["01234567", "-", "$0.06"]),
        ({"createdAt": "2026-11-21T08:00:00.000Z", "kind": "image", "costUsd": 0.5}, ["11-21", "≤ $0.50"]),
        ({"createdAt": "yesterday", "costUsd": "much", "prompt": None}, ["-"]),
        ({"createdAt": 5, "costUsd": True, "url": 7, "clipId": ["x"], "sandbox": "yes"}, ["-"]),
        ({}, ["-"]),
    ],
)
def test_a_job_of_which_a_gateway_says_little_is_listed(
    remote: Person, listed: dict[str, object], shown: list[str]
) -> None:
    with answering(said({"jobs": [listed]})) as url:
        done = remote.types("jobs", "list", "--gateway", url)
        [line] = remote.types("jobs", "list", "--json", "--gateway", url).stdout.splitlines()
        spent = remote.types("spend", "--gateway", url)
    assert (done.returncode, done.stderr) == (DONE, "")
    assert all(each in done.stdout for each in shown)
    assert json.loads(line) == listed
    assert (spent.returncode, spent.stdout) == (FAILED, ""), "no sums of which a part is missing"
    assert "without what it cost" in spent.stderr


@pytest.mark.parametrize("data", [{}, {"jobs": {}}, {"jobs": ["x"]}, {"jobs": None}])
@pytest.mark.parametrize("command", [("jobs", "list"), ("spend",)])
def test_an_answer_that_is_no_list_of_jobs_is_told(
    remote: Person, data: dict[str, object], command: tuple[str, ...]
) -> None:
    with answering(said(data)) as url:
        done = remote.types(*command, "--gateway", url)
    assert (done.returncode, done.stdout) == (FAILED, "")
    assert "answered with no list of jobs" in done.stderr


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("jobs", "cancel", "0123456789"), "does not say what became of it"),
        (("jobs", "show", "0123456789", "--text"), ""),
        (("health",), "status: None"),
    ],
)
def test_an_answer_that_says_nothing_is_no_traceback(remote: Person, command: tuple[str, ...], told: str) -> None:
    with answering(said({})) as url:
        done = remote.types(*command, "--gateway", url)
    assert told in done.stdout
    assert "Traceback" not in done.stderr


def said(data: dict[str, object]) -> bytes:
    """A gateway's answer of this ``data``."""
    body = json.dumps({"success": True, "data": data}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def test_an_empty_gateway_means_in_this_process(remote: Person, sandbox: SandboxServer) -> None:
    here = remote.with_env(RING_SANDBOX=sandbox.url)
    assert here.json("image", "made here", "--gateway", "")["url"].startswith("file://")


def test_a_job_survives_a_restart_of_the_server_and_of_the_person(tmp_path: Path, sandbox: SandboxServer) -> None:
    sandbox.state.configure(render_s=LONG_S)
    folder = tmp_path / "server"
    folder.mkdir()
    env = environment(folder, RING_SANDBOX=sandbox.url, RING_MCP_SERVICE_TOKENS="tok", VIDEO_GEN_POLL_INTERVAL_MS="100")
    person = Person(environment(tmp_path, RING_SERVICE_TOKEN="tok"), tmp_path)
    with serving(env, folder) as url:
        left = person.json("video", "survives", "--wait-s", "0", "--gateway", url, status=UNDER_WAY)
    away = person.json("jobs", "resume", left["jobId"], "--wait-s", "0", "--gateway", url, status=UNDER_WAY)
    assert away["code"] == "gateway_away"
    sandbox.state.configure(render_s=0)
    with serving(env, folder) as url:
        assert person.json("jobs", "resume", left["jobId"], "--gateway", url)["state"] == "done"
    assert len(charges(sandbox, "survives")) == 1


def test_a_server_with_its_own_sandbox_says_so(tmp_path: Path) -> None:
    env = environment(tmp_path, RING_MCP_SERVICE_TOKENS="tok", RING_SERVICE_TOKEN="tok")
    with serving(env, tmp_path, "--sandbox") as url:
        assert Person(env, tmp_path).json("health", "--gateway", url)["sandbox"] is True


def there(remote: Person) -> list[dict[str, Any]]:
    """The jobs that the server knows of, without starting a command for it."""

    async def ask() -> list[dict[str, Any]]:
        async with open_gateway(
            remote.env["RING_API_BASE_URL"].rstrip("/"), remote.env["RING_SERVICE_TOKEN"]
        ) as client:
            return await client.jobs()

    return asyncio.run(ask())
