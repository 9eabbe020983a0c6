"""How the beginning of a session is written down, and how it is read again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ring_mcp.server import front
from ring_mcp.server.recording import METHODS, Tape, keep_conversation, take_apart, write_recording

ASKED = (b'{"id":', b',"method":"ping"}\n', b'{"jsonrpc":"2.0","id":', b',"result":{}}\n')
NOTE = (b'{"method":"notifications/initialized"}\n', b"", b"", b"")


class Known(front.Front):
    """A front of a server in this process, which has nothing on its pipes."""

    def __init__(self, file: Path) -> None:
        self.file = str(file)
        self.arguments = []
        self.conversations = []
        self.has_changed = False

    def is_stale(self) -> bool:
        return self.has_changed


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    conversations = [(ASKED, NOTE, ASKED), (NOTE,), ()]
    file = tmp_path / "recording"
    file.touch(mode=0o600)
    file.write_bytes(write_recording(conversations))
    assert front.read_recording(str(file)) == conversations


@pytest.mark.parametrize("number", ["1", '"a"', '"id"', "1234"])
@pytest.mark.parametrize("space", ["", " "])
def test_a_request_is_taken_apart_around_its_id(number: str, space: str) -> None:
    nested = f'{{"params":{{"id":{number},"x":{number}}},"id":{space}{number},"method":"tools/list"}}\n'
    parts = take_apart(nested)
    assert parts is not None
    identity, before, after = parts
    assert (before + identity + after, identity) == (nested.encode(), number.encode())
    assert json.loads(before + b"99" + after) == {**json.loads(nested), "id": 99}


@pytest.mark.parametrize(
    "line",
    [
        '{"id":1,"method":"tools/call"}\n',
        '{"id":1,"method":"tools/list"}',
        '{"id":1.0,"method":"tools/list"}\n',
        '{"id":null,"method":"tools/list"}\n',
        '{"id":"\\u0061","method":"tools/\ufffd"}\n',
        '{"method":"notifications/cancelled"}\n',
        '{"id":1,"method":"ping","params":"' + "x" * 20_000 + '"}\n',
        "[" * 20_000 + "\n",
        "[1]\n",
        "hello\n",
        "\n",
    ],
)
def test_other_lines_belong_to_no_beginning(line: str) -> None:
    assert take_apart(line) is None


def test_no_call_of_a_tool_is_ever_recorded() -> None:
    assert not [method for method in METHODS if "call" in method or "get" in method or "read" in method]


def tape(folder: Path) -> tuple[Tape, Known]:
    known = Known(folder / "starts" / "one")
    return Tape(known), known


def ask(number: int) -> str:
    return f'{{"id":{number},"method":"ping"}}\n'


def reply(number: int, what: str = "result") -> bytes:
    return f'{{"jsonrpc":"2.0","id":{number},"{what}":{{}}}}\n'.encode()


def test_a_beginning_is_kept_when_all_of_it_is_answered(tmp_path: Path) -> None:
    recorder, known = tape(tmp_path)
    recorder.hear(ask(1))
    recorder.hear(ask(2))
    recorder.say(reply(2))
    recorder.keep()
    assert not Path(known.file).exists()
    recorder.say(reply(1))
    recorder.keep()
    assert front.read_recording(known.file) == [(ASKED, ASKED)]
    assert Path(known.file).stat().st_mode & 0o777 == 0o600


def test_after_a_call_nothing_more_is_kept(tmp_path: Path) -> None:
    recorder, known = tape(tmp_path)
    for line in (ask(1), '{"id":2,"method":"tools/call"}\n', ask(3)):
        recorder.hear(line)
    for number in (1, 2, 3):
        recorder.say(reply(number))
    recorder.keep()
    assert front.read_recording(known.file) == [(ASKED,)]


def test_a_refusal_ends_what_is_kept(tmp_path: Path) -> None:
    recorder, known = tape(tmp_path)
    for number in (1, 2, 3):
        recorder.hear(ask(number))
    recorder.say(reply(1))
    recorder.say(reply(2, "error"))
    recorder.say(reply(3))
    recorder.keep()
    assert front.read_recording(known.file) == [(ASKED,)]


def test_an_id_that_comes_again_ends_what_is_kept(tmp_path: Path) -> None:
    recorder, known = tape(tmp_path)
    recorder.hear(ask(1))
    recorder.say(reply(1))
    recorder.hear(ask(1))
    recorder.say(reply(1))
    recorder.keep()
    assert front.read_recording(known.file) == [(ASKED,)]


def test_what_changed_since_the_start_is_not_kept(tmp_path: Path) -> None:
    recorder, known = tape(tmp_path)
    known.has_changed = True
    recorder.hear(ask(1))
    recorder.say(reply(1))
    recorder.keep()
    assert not Path(known.file).exists()


def test_the_longer_beginning_stays_and_few_are_kept(tmp_path: Path) -> None:
    _, known = tape(tmp_path)
    keep_conversation(known, (ASKED,))
    keep_conversation(known, (ASKED, NOTE))
    assert front.read_recording(known.file) == [(ASKED, NOTE)]
    for number in range(10):
        keep_conversation(known, ((b"%d\n" % number, b"", b"", b""),))
    found = front.read_recording(known.file)
    assert (len(found), found[0][0][0]) == (6, b"9\n")


def test_old_recordings_make_room(tmp_path: Path) -> None:
    _, known = tape(tmp_path)
    folder = tmp_path / "starts"
    folder.mkdir()
    for number in range(50):
        (folder / f"old-{number}").touch()
        os.utime(folder / f"old-{number}", (number, number))
    keep_conversation(known, (ASKED,))
    left = {file.name for file in folder.iterdir()}
    assert len(left) == 40
    assert {"one", "old-49"} <= left
    assert "old-0" not in left


def test_a_full_or_missing_disk_is_no_matter(tmp_path: Path) -> None:
    recorder, known = tape(tmp_path)
    (tmp_path / "starts").write_text("no folder")
    recorder.hear(ask(1))
    recorder.say(reply(1))
    recorder.keep()
    assert not Path(known.file).exists()
