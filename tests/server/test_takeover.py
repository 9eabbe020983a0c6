"""The server comes in behind a front: what differs is noticed, and what cannot be trusted is not used."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ring_mcp.server import front
from ring_mcp.server.recording import ANSWER, COMPARED_FOR_S, write_recording
from ring_mcp.server.takeover import TakeOver
from tests.one_now import one_now
from tests.server.fast_starts import INITIALIZED, Session, gate_of, initialize, line, modern, record
from tests.server.wire import LIMIT_S, environment

WHOAMI = line("tools/call", 90, {"name": "ring-whoami", "arguments": {}})


@dataclass(frozen=True)
class Recorded:
    """A folder in which a session has been recorded once, and what was."""

    env: dict[str, str]
    folder: Path
    file: Path
    content: bytes


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("recorded")
    env = environment(folder, RING_SANDBOX="1", **gate_of(folder))
    record(env, folder, [(initialize(1), 1), (INITIALIZED + line("tools/list", 2), 1)])
    file = the_recording(folder)
    return Recorded(env, folder, file, file.read_bytes())


@pytest.fixture
def folder(recorded: Recorded) -> Path:
    """With the recording as it was made, whatever a test before this one has made of it."""
    shutil.rmtree(recorded.file.parent)
    recorded.file.parent.mkdir()
    recorded.file.write_bytes(recorded.content)
    (recorded.folder / "broken").unlink(missing_ok=True)
    return recorded.folder


@pytest.fixture
def env(recorded: Recorded) -> dict[str, str]:
    return dict(recorded.env)


def the_recording(folder: Path) -> Path:
    [file] = (folder / ".cache" / "ring-mcp" / "starts").iterdir()
    return file


def rewrite(file: Path) -> None:
    """As if the server had once had another name for its first tool."""
    conversations = front.read_recording(str(file))
    changed = [
        [tuple(part.replace(b"ring-image-create", b"ring-image-crate") for part in exchange) for exchange in each]
        for each in conversations
    ]
    file.write_bytes(write_recording(changed))  # type: ignore[arg-type]


@pytest.mark.long
def test_a_recording_that_is_wrong_is_noticed_and_removed(env: dict[str, str], folder: Path) -> None:
    file = the_recording(folder)
    rewrite(file)
    with Session(env, folder, is_open=False) as session:
        session.send(initialize(1))
        session.read()
        session.send(INITIALIZED + line("tools/list", 2))
        session.read()
        session.send(WHOAMI)
        session.open_gate()
        session.read()
        session.end()
    assert b"ring-image-crate" in session.said[1]
    assert [message["id"] for message in session.messages()] == [1, 2, 90]
    assert not session.messages()[2]["result"].get("isError")
    assert "the fast start was wrong" in session.stderr
    assert not file.exists()


@pytest.mark.parametrize("way", one_now(["changed", "torn", "others may write", "empty", "a folder"]))
def test_a_recording_that_cannot_be_trusted_is_not_used(env: dict[str, str], folder: Path, way: str) -> None:
    file = the_recording(folder)
    content = file.read_bytes()
    if way == "torn":
        file.write_bytes(content[:-100])
    elif way == "changed":
        file.write_bytes(content.replace(b"ring-image-create", b"ring-image-crate"))
    elif way == "others may write":
        rewrite(file)
        file.chmod(0o666)
    elif way == "empty":
        file.write_bytes(b"")
    else:
        file.unlink()
        file.mkdir()
    with Session(env, folder, is_open=True) as session:
        session.send(initialize(1))
        session.read()
        session.send(INITIALIZED + line("tools/list", 2))
        session.read()
        session.end()
    assert b"ring-image-create" in session.said[1]
    assert session.status == 0


def test_a_start_that_fails_takes_the_recording_with_it(env: dict[str, str], folder: Path) -> None:
    (folder / "broken").touch()
    with Session(env, folder, is_open=False) as session:
        session.send(initialize(1))
        session.read()
        session.open_gate()
        session.end()
    assert session.status == 1
    assert "this start fails" in session.stderr
    assert not list((folder / ".cache" / "ring-mcp" / "starts").iterdir())


def test_a_gateways_tools_are_never_recorded(tmp_path: Path) -> None:
    env = environment(tmp_path, RING_API_BASE_URL="http://127.0.0.1:9", **gate_of(tmp_path))
    record(env, tmp_path, [(initialize(1), 1)])
    assert not (tmp_path / ".cache").exists()


def test_what_changes_the_answers_is_answered_by_the_server(env: dict[str, str], folder: Path) -> None:
    overlay = folder / "own.json"
    overlay.write_text('{"videoModels": {"no": "such"}}')
    with Session({**env, "RING_PRESETS_FILE": str(overlay)}, folder, is_open=True) as session:
        session.end(initialize(1))
    assert (session.said, session.status) == ([], 2)


class Before(front.Front):
    """A front that has answered these lines, heard others after them, and been stopped."""

    def __init__(self, answered: bytes, others: bytes, stdin: int, file: Path) -> None:
        self.file = str(file)
        ids = [json.loads(each).get("id") for each in answered.splitlines()]
        self.answers = [(b"%d" % number, ANSWER + b"%d,was %d\n" % (number, number)) for number in ids if number]
        self.heard, self.done, self.stdin = bytearray(answered + others), len(answered), stdin
        self.is_forgotten = False

    def forget(self) -> None:
        self.is_forgotten = True


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A recording that was compared just now."""
    (tmp_path / "recording").touch()
    return tmp_path / "recording"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


LIST = line("tools/list", 2)


async def read(session: TakeOver, count: int) -> list[str]:
    """Lines as the server gets them, each request answered as the front has answered it, or anyhow."""
    got = list[str]()
    async with asyncio.timeout(LIMIT_S):
        async for each in session.lines():
            got.append(each)
            identity = json.loads(each).get("id")
            if isinstance(identity, int):
                await answer(session, identity)
            if len(got) == count:
                break
    return got


async def answer(session: TakeOver, identity: int) -> None:
    session.passes(f'{{"jsonrpc":"2.0","id":{identity},was {identity}\n')
    await session.went_out()


@pytest.mark.parametrize("heard_chars", [len(WHOAMI), 30, 0], ids=["whole", "half", "not read"])
async def test_a_call_that_waits_goes_before_the_list(pipe: tuple[int, int], file: Path, heard_chars: int) -> None:
    begun = Before(initialize(1) + INITIALIZED + LIST, WHOAMI[:heard_chars], pipe[0], file)
    os.write(pipe[1], WHOAMI[heard_chars:])
    lines = await read(TakeOver(begun, records=False), 4)
    assert lines[:3] == [initialize(1).decode(), INITIALIZED.decode(), WHOAMI.decode()]
    assert json.loads(lines[3]) == {**json.loads(LIST), "id": json.loads(lines[3])["id"]}
    assert json.loads(lines[3])["id"] not in (1, 2, 90)


async def test_the_list_waits_for_the_answer_to_a_call(pipe: tuple[int, int], file: Path) -> None:
    session = TakeOver(Before(initialize(1) + LIST, WHOAMI, pipe[0], file), records=False)
    lines = session.lines()
    await anext(lines)
    await answer(session, 1)
    assert await anext(lines) == WHOAMI.decode()
    following = asyncio.ensure_future(anext(lines))
    for _ in range(20):  # turns of the loop
        await asyncio.sleep(0)
    assert not following.done()
    await answer(session, 90)
    assert json.loads(await asyncio.wait_for(following, LIMIT_S))["method"] == "tools/list"


async def test_the_list_is_never_put_into_a_line(pipe: tuple[int, int], file: Path) -> None:
    ping = line("ping", 91)
    os.write(pipe[1], ping[20:])
    lines = await read(TakeOver(Before(initialize(1) + LIST, WHOAMI + ping[:20], pipe[0], file), records=False), 4)
    assert [json.loads(each)["method"] for each in lines] == ["initialize", "tools/call", "ping", "tools/list"]


async def test_without_a_call_the_list_is_not_late(pipe: tuple[int, int], file: Path) -> None:
    lines = await read(TakeOver(Before(initialize(1) + LIST, b"", pipe[0], file), records=False), 2)
    assert [json.loads(each)["method"] for each in lines] == ["initialize", "tools/list"]


async def test_a_list_that_decides_the_era_is_read_in_order(pipe: tuple[int, int], file: Path) -> None:
    lists = modern("tools/list", 2) + modern("tools/list", 3)
    begun = Before(modern("server/discover", 1) + lists, WHOAMI, pipe[0], file)
    lines = await read(TakeOver(begun, records=False), 4)
    assert [json.loads(each)["id"] for each in lines[:3]] == [1, 2, 90]


@pytest.mark.parametrize("said", ["was 2", "is another"])
async def test_what_a_late_list_says_is_compared(pipe: tuple[int, int], file: Path, said: str) -> None:
    begun = Before(initialize(1) + LIST, WHOAMI, pipe[0], file)
    session = TakeOver(begun, records=False)
    identity = json.loads((await read(session, 3))[2])["id"]
    assert not session.passes(f'{ANSWER.decode()}"{identity}",{said}\n')
    assert begun.is_forgotten == (said != "was 2")
    # The client's own request may have the id of the first list.
    assert session.passes(ANSWER.decode() + "2,was 2\n")


@pytest.mark.parametrize("age_s", [COMPARED_FOR_S + 60, -COMPARED_FOR_S - 60])
async def test_a_list_not_compared_for_a_day_is_read_in_order(pipe: tuple[int, int], file: Path, age_s: float) -> None:
    then_s = time.time() - age_s
    os.utime(file, (then_s, then_s))
    lines = await read(TakeOver(Before(initialize(1) + LIST, WHOAMI, pipe[0], file), records=False), 3)
    assert [json.loads(each)["id"] for each in lines] == [1, 2, 90]
    assert time.time() - file.stat().st_mtime < COMPARED_FOR_S, "it was as recorded"
    assert COMPARED_FOR_S == 24 * 3600


async def test_a_recording_is_old_until_all_of_it_was_compared(pipe: tuple[int, int], file: Path) -> None:
    session = TakeOver(Before(initialize(1) + LIST, WHOAMI, pipe[0], file), records=False)
    os.utime(file, (0, 0))
    identity = json.loads((await read(session, 3))[2])["id"]
    assert file.stat().st_mtime == 0
    assert not session.passes(f'{ANSWER.decode()}"{identity}",was 2\n')
    assert file.stat().st_mtime > 0


async def test_a_recording_that_was_wrong_is_not_called_compared(pipe: tuple[int, int], file: Path) -> None:
    session = TakeOver(Before(initialize(1) + LIST, WHOAMI, pipe[0], file), records=False)
    os.utime(file, (0, 0))
    assert not session.passes(ANSWER.decode() + "1,is another\n")
    session.passes(ANSWER.decode() + '"ring-mcp-again-0",was 2\n')
    assert file.stat().st_mtime == 0
