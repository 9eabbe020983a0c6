"""The server comes in behind a front: what differs is noticed, and what cannot be trusted is not used."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from ring_mcp.server import front
from ring_mcp.server.recording import write_recording
from tests.one_now import one_now
from tests.server.fast_starts import INITIALIZED, Session, gate_of, initialize, line, record
from tests.server.wire import environment

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
