"""Merging our entry into a client's file: whatever stood there stands there afterwards, or nothing is written."""

from __future__ import annotations

import json
import os
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ring_mcp.cli.client_configs import CLIENTS, NAME, Command, as_toml, endpoint, server_command
from ring_mcp.cli.client_files import NotMerged, merge_json, merge_toml, read_file, write
from ring_mcp.errors import ConfigError, InvalidRequest

COMMAND = Command("uv", ("run", "--no-dev", "--directory", '/a clone/of "it"', "ring-mcp"))
URL = "https://ring.example.org"
JSON_CLIENTS = [name for name, kind in CLIENTS.items() if not kind.is_toml]

names = st.text(max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(names, values, max_size=4)
servers = st.dictionaries(names.filter(lambda name: name != NAME), objects, max_size=3)


def ours(name: str, url: str | None = None) -> dict[str, Any]:
    return CLIENTS[name].document(COMMAND, url)


@given(
    client=st.sampled_from(JSON_CLIENTS),
    others=objects,
    known=servers,
    indent=st.sampled_from([None, 2, 4, "\t"]),
    ascii_only=st.booleans(),
)
def test_other_servers_and_keys_survive_and_a_second_time_changes_nothing(
    client: str, others: dict[str, Any], known: dict[str, Any], indent: Any, ascii_only: bool
) -> None:
    section = CLIENTS[client].section
    others.pop("inputs", None)
    before = {**others, section: known}
    text = json.dumps(before, indent=indent, ensure_ascii=ascii_only)
    merged = merge_json(text, ours(client))
    after = json.loads(merged)
    entry = after[section].pop(NAME)
    after.pop("inputs", None)
    assert after == before
    assert list(after) == list(before)
    assert entry == ours(client)[section][NAME]
    assert merge_json(merged, ours(client)) == merged


@given(mine=objects, env=st.dictionaries(names, st.text(max_size=5), max_size=3))
def test_what_a_person_added_to_our_entry_stays(mine: dict[str, Any], env: dict[str, str]) -> None:
    theirs = {**mine, "env": {**env, "RING_SERVICE_TOKEN": "pasted"}, "timeout": 1, "command": "old", "url": "http://x"}
    theirs.pop("headers", None)
    entry = json.loads(merge_json(json.dumps({"mcpServers": {NAME: theirs}}), ours("gemini")))["mcpServers"][NAME]
    assert (entry["command"], entry["timeout"]) == ("uv", 1)
    assert entry["env"] == {**ours("gemini")["mcpServers"][NAME]["env"], **theirs["env"]}
    assert "url" not in entry
    new = {"command", "args", "env", "timeout", "url", "httpUrl", "serverUrl", "headers", "bearer_token_env_var"}
    assert {key: value for key, value in entry.items() if key not in new} == {
        key: value for key, value in mine.items() if key not in new
    }


def test_another_transport_takes_the_place_of_the_first() -> None:
    stdio = merge_json("", ours("claude-code"))
    entry = json.loads(merge_json(stdio, ours("claude-code", URL)))["mcpServers"][NAME]
    assert entry == ours("claude-code", URL)["mcpServers"][NAME]
    assert "command" not in entry


def test_the_question_for_the_token_is_added_once_beside_other_inputs() -> None:
    text = '{"inputs": [{"id": "mine"}], "servers": {}}'
    merged = merge_json(text, ours("vscode"))
    assert [item["id"] for item in json.loads(merged)["inputs"]] == ["mine", "ring-service-token"]
    assert merge_json(merged, ours("vscode")) == merged


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1} // a comment',
        '/* c */ {"a": 1}',
        '{"a": 1,}',
        "[]",
        '"text"',
        "{",
        '{"a": 1, "a": 2}',
        '{"mcpServers": {"x": {"y": 1, "y": 2}}}',
        '{"mcpServers": []}',
        '{"mcpServers": {"ring-mcp": "x"}}',
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": 0.12345678901234567890123}',
        "[" * 100_000,
        '{"a": ' + "9" * 5000 + "}",
    ],
)
def test_a_file_that_would_lose_something_is_refused(text: str) -> None:
    with pytest.raises(NotMerged):
        merge_json(text, ours("cursor"))


def test_half_a_character_and_the_indentation_of_the_file_are_kept() -> None:
    merged = merge_json('{\n\t"a": "\\ud800"\n}', ours("cursor"))
    assert '\n\t"a": "\\ud800"' in merged
    assert json.loads(merged)["a"] == "\ud800"


toml_lines = st.lists(
    st.sampled_from(
        [
            'model = "o9"  # a comment',
            "[mcp_servers.other]",
            'command = "x"',
            "[tools]",
            "flags = [1, 2,\n  3]",
            "",
            'text = """\n[mcp_servers.ring-mcp]\n"""',
            "[mcp_servers]",
            'mcp_servers = { a = { command = "y" } }',
            "mcp_servers.b.command = 'z'",
            "[[profiles]]",
            "x = 1",
        ]
    ),
    max_size=6,
    unique=True,
)


@given(lines=toml_lines, end=st.sampled_from(["\n", "\r\n"]), last=st.booleans(), url=st.sampled_from([None, URL]))
def test_a_toml_file_keeps_every_byte_or_is_refused(lines: list[str], end: str, last: bool, url: str | None) -> None:
    text = "\n".join(lines).replace("\n", end) + (end if last else "")
    document = ours("codex", url)
    try:
        before = tomllib.loads(text)
        merged = merge_toml(text, document)
    except (tomllib.TOMLDecodeError, NotMerged):
        return
    assert merged.startswith(text)
    after = tomllib.loads(merged)
    assert after["mcp_servers"].pop(NAME) == document["mcp_servers"][NAME]
    assert after == {**before, "mcp_servers": before.get("mcp_servers", {})}
    assert merge_toml(merged, document) == merged


def test_another_codex_table_of_ours_is_the_persons_to_change() -> None:
    text = '[mcp_servers.ring-mcp]\ncommand = "mine"\n'
    with pytest.raises(NotMerged, match=r"another \[mcp_servers.ring-mcp\]"):
        merge_toml(text, ours("codex"))
    added = as_toml(ours("codex")) + 'enabled_tools = ["ring-health"]\n'
    assert merge_toml(added, ours("codex")) == added
    for broken in ("[", "mcp_servers = 1", "mcp_servers = {}"):
        with pytest.raises(NotMerged):
            merge_toml(broken, ours("codex"))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_folder_name_is_written_as_the_toml_string_that_it_is(folder: str) -> None:
    command = Command("uv", ("run", "--no-dev", "--directory", folder, "ring-mcp"))
    document = CLIENTS["codex"].document(command, None)
    assert tomllib.loads(as_toml(document))["mcp_servers"][NAME]["args"][3] == folder


def test_a_file_is_replaced_in_one_step_with_mode_link_and_backup(tmp_path: Path) -> None:
    real, link = tmp_path / "dotfiles" / "real.json", tmp_path / "home" / "mcp.json"
    for path in (real, link):
        path.parent.mkdir()
    real.write_bytes(b"old")
    real.chmod(0o640)
    link.symlink_to(real)
    backup = write(link, b"old", b"new")
    assert backup is not None
    assert (real.read_bytes(), backup.read_bytes()) == (b"new", b"old")
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert set(real.parent.iterdir()) == {real, backup}


def test_a_file_that_somebody_else_has_just_changed_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_bytes(b"theirs")
    with pytest.raises(NotMerged, match="somebody else"):
        write(path, b"what we read", b"ours")
    assert path.read_bytes() == b"theirs"
    new = tmp_path / "deep" / "er" / "new.json"
    assert write(new, None, b"x") is None
    assert stat.S_IMODE(new.stat().st_mode) == 0o600


def test_the_command_is_the_clone_the_script_or_the_module() -> None:
    clone, script = Path("/clone"), Path("/opt/bin/ring-mcp")
    for name, uv in (("codex", "uv"), ("cursor", "/opt/uv"), ("claude-desktop", "/opt/uv"), ("vscode", "uv")):
        command = server_command(CLIENTS[name], clone=clone, extras=(), uv="/opt/uv", script=script, python="/py")
        assert command == Command(uv, ("run", "--no-dev", "--directory", "/clone", "ring-mcp"))
    installed = server_command(CLIENTS["cursor"], clone=None, extras=("s3",), uv="/opt/uv", script=script, python="/py")
    assert installed == Command("/opt/bin/ring-mcp", ())
    module = server_command(
        CLIENTS["cursor"], clone=None, extras=(), uv=None, script=Path("/x/__main__.py"), python="/py"
    )
    assert module == Command("/py", ("-m", "ring_mcp"))
    for extras, wanted in (((), "/src"), (("s3", "video"), "/src[s3,video]")):
        passing = server_command(
            CLIENTS["cursor"], clone=None, extras=extras, uv="/opt/uv", script=script, python="/py", source="/src"
        )
        assert passing == Command("/opt/uv", ("tool", "run", "--from", wanted, "ring-mcp"))


@pytest.mark.parametrize(
    "url", ["", "ring.example", "ftp://x", "http://", "https://u:p@x", "http://x:99999", "http://a\nb"]
)
def test_an_address_that_is_none_or_holds_a_password_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        endpoint(url)


def test_an_address_is_completed_and_claude_desktop_takes_none() -> None:
    assert endpoint(f"{URL}/") == f"{URL}/mcp"
    assert endpoint(f"{URL}/behind/mcp/") == f"{URL}/behind/mcp"
    with pytest.raises(InvalidRequest, match="connector"):
        ours("claude-desktop", URL)


@pytest.mark.parametrize("exists", [True, False])
def test_a_projects_link_to_somewhere_else_is_not_followed(tmp_path: Path, exists: bool) -> None:
    project, outside = tmp_path / "project", tmp_path / "outside" / "rc"
    for folder in (project, outside.parent):
        folder.mkdir()
    if exists:
        outside.write_bytes(b"{}")
    before = b"{}" if exists else None
    (project / "mcp.json").symlink_to(outside)
    (project / "folder").symlink_to(outside.parent)
    for path in (project / "mcp.json", project / "folder" / "rc"):
        with pytest.raises(NotMerged, match="a link out of"):
            write(path, before, b"ours", project=project)
    assert (outside.read_bytes() if exists else outside.exists()) == (b"{}" if exists else False)
    assert [path.name for path in outside.parent.iterdir()] == (["rc"] if exists else [])


def test_a_link_that_stays_in_its_project_is_followed(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "mcp.json").symlink_to(tmp_path / "config" / "mcp.json")
    write(tmp_path / "mcp.json", None, b"ours", project=tmp_path)
    assert (tmp_path / "config" / "mcp.json").read_bytes() == b"ours"


def test_a_device_or_a_pipe_is_no_file_of_a_client(tmp_path: Path) -> None:
    (tmp_path / "endless.json").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "waiting.json")
    for name in ("endless.json", "waiting.json"):
        with pytest.raises(NotMerged, match="it is not a file"):
            read_file(tmp_path / name)
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(65 * 1024 * 1024)
    with pytest.raises(NotMerged, match="more than 67,108,864 bytes"):
        read_file(tmp_path / "large.json")


def test_a_ring_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(NotMerged):
        write(tmp_path / "a", None, b"ours", project=tmp_path)
