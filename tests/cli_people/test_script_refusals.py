"""``ring-mcp script`` with files, options and servers that are not as they should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.cli_people.odd_servers import answering
from tests.cli_people.people import ALICE, BAD_USAGE, FAILED, Person, environment, serving
from tests.cli_people.written import clip, paid, write

SHOUT = {"speaker": "anna", "line": "Cast off!"}

BAD: list[tuple[str, Any, str]] = [
    ("is not JSON", "{", "not JSON"),
    ("50 MB", " " * 50_000_000, "too large"),
    ("not an object", [], "must be a JSON object"),
    ("another version", {"schemaVersion": "2.0"}, "schemaVersion"),
    ("no clips", {"clips": []}, "needs at least one clip"),
    ("duplicate ids", {"clips": [clip("one"), clip("ONE")]}, "clips[1].id"),
    ("a stranger", {"clips": [{**clip("one"), "scene": {"dialogue": [SHOUT]}}]}, "'anna' is not in the cast"),
    ("duration 0", {"clips": [clip("one", 0)]}, "clips[0].duration"),
    ("duration 16", {"clips": [clip("one", 16)]}, "clips[0].duration"),
]


@pytest.mark.parametrize(("content", "said"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_file_ends_with_status_2_before_anything_is_made(
    person: Person, sandbox: SandboxServer, content: Any, said: str
) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    if isinstance(content, dict):
        text = json.dumps({"schemaVersion": "1.0", "requestId": "r", "clips": [clip("one")], **content})
    (person.folder / "bad.json").write_text(text)
    done = person.types("script", "bad.json")
    assert (done.returncode, done.stdout) == (BAD_USAGE, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not sandbox.state.books.charges()
    assert not (person.folder / "output").exists()


def test_wrong_usage_ends_with_status_2(person: Person) -> None:
    script = write(person, clip("one"), clip("two"))
    wrong: list[tuple[tuple[str, ...], str]] = [
        ((), "Missing argument"),
        (("missing.json",), "cannot be read"),
        ((script, "--force", "--resume"), "exclude each other"),
        ((script, "--source-url", "https://x.example/a.mp4"), "goes with --remaster"),
        ((script, "--remaster", "--source-url", "https://x.example/a.mp4"), "name it with --clip"),
        ((script, "--jobs", "0"), "--jobs"),
        ((script, "--output", script), "is a file"),
    ]
    for arguments, said in wrong:
        done = person.types("script", *arguments)
        assert (done.returncode, said in done.stderr) == (BAD_USAGE, True), done.stderr


def test_an_output_folder_that_cannot_be_written_costs_nothing(person: Person, sandbox: SandboxServer) -> None:
    done = person.types("script", write(person, clip("one")), "--output", "script.json/output")
    assert done.returncode == FAILED
    assert "manifest.json cannot be" in done.stderr
    assert "Traceback" not in done.stderr
    assert not sandbox.state.books.charges()


def test_an_odd_or_absent_server_is_told_in_its_own_words(remote: Person) -> None:
    script = write(remote, clip("one"), clip("two"))
    ours, rings = (b'{"success": true, "data": %s}' % data for data in (b'{"serverVersion": "9"}', b"{}"))
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
    for answer, said in (
        (b"", "did not answer"),
        (head % (len(rings), rings), "is a gateway of Ring Platform"),
        (head % (len(ours), ours), "answered with no list of jobs"),
    ):
        with answering(answer) as url:
            done = remote.types("script", script, "--gateway", url)
        assert done.returncode == FAILED
        assert said in done.stdout + done.stderr
        assert "ExceptionGroup" not in done.stderr
    told = remote.with_env(RING_SERVICE_TOKEN="").json("script", script, status=BAD_USAGE)
    assert told["code"] == "unauthorized"


@pytest.mark.long
def test_a_bounded_rate_holds_a_script_up_and_loses_nothing(
    remote: Person, sandbox: SandboxServer, tmp_path: Path
) -> None:
    names = [f"clip-{number}" for number in range(13)]
    script = write(remote, *(clip(name) for name in names))
    folder = tmp_path / "server"
    folder.mkdir()
    env = environment(
        folder, RING_SANDBOX=sandbox.url, RING_MCP_SERVICE_TOKENS=f"alice={ALICE}", RING_MAX_CALLS_PER_MINUTE="60"
    )
    with serving(env, folder) as url:
        alice = remote.with_env(RING_SERVICE_TOKEN=ALICE)
        told = alice.json("script", script, "--gateway", url, "--jobs", "50")
    assert {each["status"] for each in told["clips"]} == {"done"}
    assert paid(sandbox, *names) == [1] * len(names)


def test_a_server_without_time_is_said_to_be_busy(remote: Person) -> None:
    script = write(remote, clip("one"), clip("two"))
    refusal = b'{"success": false, "error": "too many requests"}'
    busy = b"HTTP/1.1 429 Too Many\r\nretry-after: 600\r\ncontent-length: %d\r\n\r\n%s" % (len(refusal), refusal)
    with answering(busy) as url:
        told = remote.json("script", script, "--gateway", url, "--jobs", "50", status=FAILED)
    assert (told["error"], told["billed"]) == (f"{url}: too many requests", "no")
