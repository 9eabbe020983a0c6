"""A front answers while the server is loaded, and nobody can tell: both ways say the same, byte for byte."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from platformdirs import user_cache_path

from ring_mcp import config, config_trust
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.server import front
from tests.one_now import one_now
from tests.server.fast_starts import INITIALIZED, Session, gate_of, initialize, line, modern, record
from tests.server.wire import charges, environment

FUTURE = "2099-01-01"
WHOAMI = line("tools/call", 90, {"name": "ring-whoami", "arguments": {}})
THREE = modern("prompts/list", 2) + modern("resources/list", 3) + modern("tools/list", 4)
LONG = line("tools/call", 5, {"name": "ring-image-create", "arguments": {"prompt": "p" * 200_000}})

Home = tuple[dict[str, str], Path]


INITIALIZE = [(initialize(1), 1), (INITIALIZED + line("tools/list", 2), 1), (line("ping", 3), 1)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A folder in which a session has been recorded, of a server that started cold."""
    folder = tmp_path_factory.mktemp("fast")
    env = environment(folder, RING_SANDBOX="1", **gate_of(folder))
    record(env, folder, INITIALIZE)
    return env, folder


@pytest.fixture(scope="module")
def forked_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A folder with recordings of both eras, and one of a client of the future, of servers that were forked."""
    folder = tmp_path_factory.mktemp("forked")
    env = environment(folder, RING_SANDBOX="1", **gate_of(folder))
    for steps in (
        INITIALIZE,
        [(initialize(1, FUTURE), 1), (INITIALIZED + line("tools/list", 2), 1)],
        [(modern("server/discover", "probe-1"), 1), (THREE, 3)],
        [(modern("server/discover", "probe-1"), 1), (initialize(0), 1), (INITIALIZED, 0)],
    ):
        record(env, folder, steps, is_gated=True)
    return env, folder


OPEN = "the server is loaded now"
Step = tuple[bytes, int] | str

CONVERSATIONS: dict[str, Sequence[Step]] = {
    "initialize, list, call": [(initialize(1), 1), (INITIALIZED + line("tools/list", 2), 1), OPEN, (WHOAMI, 1)],
    "ids are texts": [(initialize("a-1"), 1), (INITIALIZED + line("tools/list", "b:2"), 1), OPEN, (WHOAMI, 1)],
    "discover, three lists, call": [
        (modern("server/discover", "probe-9"), 1),
        (THREE, 3),
        OPEN,
        (modern("tools/call", 5, name="ring-whoami", arguments={}), 1),
    ],
    "discover, then initialize": [
        (modern("server/discover", "probe-9"), 1),
        (initialize(0), 1),
        (INITIALIZED, 0),
        OPEN,
        (line("tools/list", 1), 1),
    ],
    "all at once, with a call": [(initialize(1) + INITIALIZED + line("tools/list", 2) + WHOAMI, 0), OPEN, (b"", 3)],
    "all at once, then a call": [
        (initialize(1) + INITIALIZED + line("tools/list", 2), 2),
        (WHOAMI, 0),
        OPEN,
        (b"", 1),
    ],
    "in pieces": [(initialize(1)[:40], 0), (initialize(1)[40:] + INITIALIZED[:9], 1), (INITIALIZED[9:], 0), OPEN],
    "a piece of a call": [(initialize(1), 1), (INITIALIZED + WHOAMI[:30], 0), OPEN, (WHOAMI[30:], 1)],
    "cancelled when answered": [
        (initialize(1), 1),
        (INITIALIZED + line("tools/list", 2), 1),
        (line("notifications/cancelled", None, {"requestId": 2}) + WHOAMI, 0),
        OPEN,
        (b"", 1),
    ],
    "garbage": [
        (initialize(1), 1),
        (b"hello\n\n{}\n[]\n\xff\xfe\x00\n" + b'{"id": 7, "method": "ping"}\n' + line("tools/list", 8), 0),
        OPEN,
        (b"", 2),
    ],
    "garbage first": [(b"hello\n" + initialize(1), 0), OPEN, (b"", 1), (INITIALIZED + line("tools/list", 2), 1)],
    "initialized twice": [(initialize(1), 1), (INITIALIZED + INITIALIZED + line("tools/list", 2), 0), OPEN, (b"", 1)],
    "initialize twice": [(initialize(1), 1), (initialize(2), 0), OPEN, (b"", 1), (INITIALIZED + WHOAMI, 1)],
    "the same id twice": [(initialize(1), 1), (INITIALIZED + line("tools/list", 1), 0), OPEN, (b"", 1)],
    "an id with leading zeros": [(initialize(1), 1), (line("tools/list", 2).replace(b": 2", b": 02"), 0), OPEN],
    "a version of the future": [
        (initialize(1, FUTURE), 1),
        (INITIALIZED + line("tools/list", 2), 1),
        OPEN,
        (WHOAMI, 1),
    ],
    "a cursor": [(initialize(1), 1), (INITIALIZED + line("tools/list", 2, {"cursor": "x"}), 0), OPEN, (b"", 1)],
    "a line of 200 kB": [(initialize(1), 1), (INITIALIZED + LONG, 0), OPEN, (b"", 1), (WHOAMI, 1)],
    "nothing before the server": [OPEN, (initialize(1), 1), (INITIALIZED + line("tools/list", 2), 1), (WHOAMI, 1)],
    "list without initialize": [(line("tools/list", 2), 0), OPEN, (b"", 1)],
    "an unknown method": [(initialize(1), 1), (INITIALIZED + line("tools/sing", 2), 0), OPEN, (b"", 1)],
}


def converse(home: Home, steps: Sequence[Step], *switches: str, is_gated: bool) -> tuple[list[bytes], int | None]:
    """Lines and status. With a switch the server is there from the start; else it is loaded where the steps say so."""
    env, folder = home
    with Session(
        env, folder, *switches, is_open=bool(switches), is_warm=bool(switches), is_gated=is_gated and not switches
    ) as session:
        for step in steps:
            if isinstance(step, str):
                session.open_gate()
            else:
                session.send(step[0])
                session.read(step[1])
        session.end()
        assert "Traceback" not in session.stderr
        return session.said, session.status


@pytest.mark.parametrize("name", one_now(CONVERSATIONS, 3))
def test_a_session_is_the_same_with_and_without_a_front(forked_home: Home, name: str) -> None:
    steps = CONVERSATIONS[name]
    assert converse(forked_home, steps, is_gated=True) == converse(forked_home, steps, "--no-fast-start", is_gated=True)


@pytest.mark.long
def test_a_cold_session_is_the_same_with_and_without_a_front(home: Home) -> None:
    steps = CONVERSATIONS["initialize, list, call"]
    assert converse(home, steps, is_gated=False) == converse(home, steps, "--no-fast-start", is_gated=False)


@pytest.mark.long
@pytest.mark.parametrize("last", [b"", WHOAMI[:25]], ids=["whole lines", "half a line"])
def test_a_client_that_leaves_while_the_server_loads_ends_it(home: Home, last: bytes) -> None:
    env, folder = home
    with Session(env, folder, is_open=False) as session:
        session.send(initialize(1))
        session.read()
        session.send(INITIALIZED + line("tools/list", 2))
        session.read()
        session.open_gate()
        session.end(last)
    with Session(env, folder, "--no-fast-start", is_open=True, is_warm=True) as ordinary:
        ordinary.send(initialize(1))
        ordinary.read()
        ordinary.send(INITIALIZED + line("tools/list", 2))
        ordinary.read()
        ordinary.end(last)
    assert (session.said, session.status) == (ordinary.said, ordinary.status)


@pytest.mark.parametrize("number", one_now([signal.SIGTERM, signal.SIGINT]))
@pytest.mark.parametrize("is_loaded", one_now([False, True]), ids=["loading", "loaded"])
def test_a_signal_ends_it_as_it_ends_an_ordinary_one(home: Home, number: int, is_loaded: bool) -> None:
    env, folder = home
    status = []
    for switches in ([], ["--no-fast-start"]):
        with Session(env, folder, *switches, is_open=is_loaded) as session:
            session.send(initialize(1))
            if is_loaded:
                session.read()
                session.send(INITIALIZED + WHOAMI)
                session.read()
            elif not switches:
                session.read()
            else:
                session.wait_for_gate()
            session.signal(number)
            session.end()
            status.append(session.status)
    assert status[0] == status[1]


def test_a_call_while_the_server_loads_is_paid_once(tmp_path: Path, sandbox: SandboxServer) -> None:
    env = environment(tmp_path, RING_SANDBOX=sandbox.url, **gate_of(tmp_path))
    record(env, tmp_path, [(initialize(1), 1), (INITIALIZED + line("tools/list", 2), 1)])
    with Session(env, tmp_path, is_open=False) as session:
        session.send(initialize(1))
        session.read()
        create = {"name": "ring-image-create", "arguments": {"prompt": "asked early", "resolution": "1k"}}
        session.send(INITIALIZED + line("tools/list", 2))
        session.read()
        session.send(line("tools/call", 3, create))
        session.open_gate()
        session.read()
        session.end()
    assert [message["id"] for message in session.messages()] == [1, 2, 3]
    assert session.messages()[2]["result"]["structuredContent"]["data"]["state"] == "done"
    assert len(charges(sandbox, "asked early")) == 1


def test_a_broken_configuration_is_told_as_ever(home: Home) -> None:
    env, folder = home
    with Session({**env, "RING_KEEP_DAYS": "many"}, folder, is_open=True) as session:
        session.end(initialize(1))
    assert (session.said, session.status) == ([], 2)
    assert "RING_KEEP_DAYS" in session.stderr


@pytest.mark.long
def test_with_the_switch_nothing_is_recorded(tmp_path: Path) -> None:
    env = environment(tmp_path, RING_SANDBOX="1", **gate_of(tmp_path))
    record(env, tmp_path, [(initialize(1), 1)], "--no-fast-start")
    assert not (tmp_path / ".cache" / "ring-mcp").exists()
    record(env, tmp_path, [(initialize(1), 1)])
    assert len(list((tmp_path / ".cache" / "ring-mcp" / "starts").iterdir())) == 1


# What a recording is looked up by.

Change = Callable[[Path, dict[str, str]], Any]


def _write(name: str, text: str) -> Change:
    def change(folder: Path, env: dict[str, str]) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    return change


CHANGES: dict[str, Change] = {
    "a key": lambda folder, env: env.update(XAI_API_KEY="another"),
    "a setting taken away": lambda folder, env: env.pop("RING_KEEP_DAYS"),
    "a name nobody knows": lambda folder, env: env.update(SOMETHING="new"),
    "the file's text": _write(".env.local", "RING_KEEP_DAYS=9"),
    "the named file": lambda folder, env: env.update(RING_ENV_FILE="other.env"),
    "trust in the folder": _write(".config/ring-mcp/trusted-folders.json", "[]"),
    "prices of one's own": _write("own.json", '{"a": 2}'),
}


@pytest.mark.parametrize("name", CHANGES)
def test_after_a_change_another_recording_is_looked_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {"HOME": str(tmp_path), "RING_KEEP_DAYS": "8", "RING_PRESETS_FILE": "own.json", "XAI_API_KEY": "one"}
    _write(".env.local", "RING_KEEP_DAYS=8")(tmp_path, env)
    _write("own.json", '{"a": 1}')(tmp_path, env)
    monkeypatch.chdir(tmp_path)
    before = front.find_recording([], env)
    assert before is not None
    assert front.find_recording([], dict(env)) == before
    CHANGES[name](tmp_path, env)
    assert front.find_recording([], env) != before


def test_switch_folder_and_packages_have_their_own_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env, packages = {"HOME": str(tmp_path)}, tmp_path / "packages"
    packages.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(packages))
    found = {front.find_recording([], env), front.find_recording(["--sandbox"], env)}
    (packages / "mcp-9.dist-info").mkdir()
    os.utime(packages, (1, 1))
    found.add(front.find_recording([], env))
    monkeypatch.chdir(packages)
    found.add(front.find_recording([], env))
    assert len(found) == 4
    assert None not in found


def test_changed_code_is_seen_wherever_it_lies(tmp_path: Path) -> None:
    for name in ("a.py", "inner/b.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1")
    before = list(front.list_code(str(tmp_path)))
    for name in ("a.py", "inner/b.py"):
        os.utime(tmp_path / name, (1, 1))
        assert list(front.list_code(str(tmp_path))) != before
        before = list(front.list_code(str(tmp_path)))
    (tmp_path / "inner" / "c.py").write_text("")
    assert list(front.list_code(str(tmp_path))) != before


def test_prices_that_a_file_of_settings_names_mean_no_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env.local").write_text("RING_PRESETS_FILE=own.json")
    assert front.find_recording([], {"HOME": str(tmp_path)}) is None


def test_no_setting_is_taken_for_one_of_a_terminal() -> None:
    names = [name for names in config.all_variables() for name in names]
    assert not [name for name in names if name.startswith(front.PER_SESSION)]


def test_a_new_window_of_a_terminal_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    env = {"HOME": str(tmp_path)}
    windows = [{**env, "TERM_SESSION_ID": number, "CLAUDE_CODE_SSE_PORT": number} for number in "12"]
    assert len({front.find_recording([], each) for each in windows}) == 1


def test_folders_are_those_that_platformdirs_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for cache in ("", "/elsewhere/cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", cache)
        monkeypatch.setenv("XDG_CONFIG_HOME", cache)
        assert front.cache_folder(os.environ) == str(user_cache_path("ring-mcp", appauthor=False))
        assert front.trust_file(os.environ) == str(config_trust._own_list())


def test_without_a_home_there_is_no_recording() -> None:
    assert front.find_recording([], {}) is None


@pytest.mark.parametrize("identity", [b"0", b"7", b"123456789012345", b'"a"', b'"server-discover-probe-1"'])
def test_ids_with_one_spelling_are_plain(identity: bytes) -> None:
    assert front.is_plain(identity)


@pytest.mark.parametrize(
    "identity",
    [
        b"",
        b"-1",
        b"01",
        b"1.0",
        b"1e3",
        b"true",
        b"null",
        b'""',
        b'"',
        b'"a\\u0061"',
        b'"a" ',
        b"1234567890123456",
        b"[1]",
    ],
)
def test_other_ids_are_left_to_the_server(identity: bytes) -> None:
    assert not front.is_plain(identity)
