"""``ring-mcp config CLIENT``: printed, and written into the client's own file."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.cli.client_configs import CLIENTS
from ring_mcp.config import load_config
from tests.cli_people.people import BAD_USAGE, DONE, FAILED, Person, environment
from tests.one_now import one_now
from tests.server.wire import LIMIT_S

ROOT = Path(__file__).parents[2]
EXAMPLES = {
    "cursor": "cursor.mcp.json",
    "claude-desktop": "claude_desktop_config.json",
    "claude-code": "claude_code.mcp.json",
    "vscode": "vscode.mcp.json",
    "codex": "codex.config.toml",
    "gemini": "gemini.settings.json",
}
OWN_FILES = {
    "cursor": ".cursor/mcp.json",
    "claude-desktop": ".config/Claude/claude_desktop_config.json",
    "claude-code": "project/.mcp.json",
    "vscode": "project/.vscode/mcp.json",
    "codex": ".codex/config.toml",
    "gemini": ".gemini/settings.json",
}
SECRET = "a-token-that-is-nobodys-business"


@pytest.fixture
def person(tmp_path: Path) -> Person:
    project = tmp_path / "project"
    project.mkdir()
    return Person(environment(tmp_path, RING_SERVICE_TOKEN=SECRET, XAI_API_KEY=SECRET), project)


def parsed(client: str, text: str) -> dict[str, Any]:
    return tomllib.loads(text) if CLIENTS[client].is_toml else json.loads(text)


def core(document: dict[str, Any]) -> dict[str, Any]:
    """An entry without what differs by machine (where uv is) or by what a client can do with a secret."""
    [section] = [value for key, value in document.items() if key != "inputs"]
    entry = dict(section["ring-mcp"])
    for key in ("command", "env", "env_vars"):
        entry.pop(key, None)
    return entry


@pytest.mark.parametrize("client", CLIENTS)
def test_the_configuration_is_the_examples_and_goes_into_the_clients_file(
    person: Person, tmp_path: Path, client: str
) -> None:
    printed = person.types("config", client)
    assert printed.returncode == DONE
    example = (ROOT / "examples" / "clients" / EXAMPLES[client]).read_text(encoding="utf-8")
    assert core(parsed(client, printed.stdout)) == core(parsed(client, example.replace("/path/to/ring-mcp", str(ROOT))))
    assert SECRET not in printed.stdout + printed.stderr
    assert "--write" in printed.stderr
    assert not list(person.folder.iterdir())
    written = person.types("config", client, "--write")
    file = tmp_path / OWN_FILES[client]
    assert (written.returncode, written.stdout) == (DONE, f"written to {file}\n")
    assert file.read_text(encoding="utf-8") == printed.stdout


@pytest.mark.parametrize(
    ("settings", "extras"),
    [
        ({"FILE_BACKEND": "s3", "RING_S3_BUCKET": "mine"}, ["--extra", "s3"]),
        ({"RING_SANDBOX": "on"}, ["--extra", "video"]),
        ({"FILE_BACKEND": "nonsense"}, []),
    ],
)
def test_the_command_installs_the_extras_that_the_settings_need(
    person: Person, settings: dict[str, str], extras: list[str]
) -> None:
    printed = person.with_env(**settings).types("config", "claude-desktop")
    assert printed.returncode == DONE, printed.stderr
    args = json.loads(printed.stdout)["mcpServers"]["ring-mcp"]["args"]
    assert args == ["run", "--no-dev", *extras, "--directory", str(ROOT), "ring-mcp"]


@pytest.mark.parametrize("client", ["vscode", "codex"])
def test_writing_it_twice_changes_nothing_and_leaves_no_backup(person: Person, tmp_path: Path, client: str) -> None:
    file = tmp_path / "own"
    person.types("config", client, "--write", "--path", str(file))
    first = (file.stat().st_ino, file.stat().st_mtime_ns, file.read_bytes())
    again = person.types("config", client, "--write", "--path", str(file))
    assert (again.returncode, again.stdout) == (DONE, f"{file} has it already\n")
    assert (file.stat().st_ino, file.stat().st_mtime_ns, file.read_bytes()) == first
    assert list(tmp_path.glob("own*")) == [file]


def test_write_keeps_what_is_there_line_ends_and_byte_order_mark_included(person: Person, tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    before = b'\xef\xbb\xbf{\r\n    "mcpServers": {\r\n        "other": {"command": "\xc3\xa9"}\r\n    }\r\n}\r\n'
    file.write_bytes(before)
    done = person.types("config", "cursor", "--http", "https://ring.example.org", "--write", "--path", str(file))
    assert done.returncode == DONE, done.stderr
    after = file.read_bytes()
    assert after.startswith(b'\xef\xbb\xbf{\r\n    "mcpServers"')
    assert after.count(b"\n") == after.count(b"\r\n")
    servers = json.loads(after.decode("utf-8-sig"))["mcpServers"]
    assert servers["other"] == {"command": "é"}
    assert servers["ring-mcp"]["url"] == "https://ring.example.org/mcp"
    assert servers["ring-mcp"]["headers"] == {"Authorization": "Bearer ${env:RING_SERVICE_TOKEN}"}
    [backup] = tmp_path.glob("*.bak")
    assert backup.read_bytes() == before


@pytest.mark.parametrize("content", [b'{"a": 1} // mine', b"\xff\xfe{}", b"not json"])
def test_a_file_not_understood_stays_and_the_text_is_printed(person: Person, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "mcp.json"
    file.write_bytes(content)
    done = person.types("config", "cursor", "--write", "--path", str(file))
    assert done.returncode == FAILED
    assert "ring-mcp" in json.loads(done.stdout)["mcpServers"]
    assert "left as it is" in done.stderr
    assert "Traceback" not in done.stderr
    assert file.read_bytes() == content
    assert [path.name for path in tmp_path.glob("mcp.json*")] == ["mcp.json"]


def test_a_folder_in_the_way_and_a_stdio_client_are_told(person: Person, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    blocked = person.types("config", "cursor", "--write", "--path", str(tmp_path / "file" / "mcp.json"))
    assert blocked.returncode == FAILED
    assert "Traceback" not in blocked.stderr
    desktop = person.types("config", "claude-desktop", "--http", "https://ring.example.org")
    assert (desktop.returncode, desktop.stdout) == (BAD_USAGE, "")
    assert "connector" in desktop.stderr
    nonsense = person.types("config", "codex", "--http", "nonsense")
    assert (nonsense.returncode, nonsense.stdout) == (BAD_USAGE, "")
    assert person.types("config", "emacs").returncode == BAD_USAGE


@pytest.fixture
def installed(person: Person, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The program where pip puts it: beside no clone, whose folder would be that of its settings."""
    shutil.copytree(ROOT / "ring_mcp", tmp_path / "site" / "ring_mcp")  # with what is compiled, which is the same there

    def types(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ring_mcp", *arguments],
            env={**person.env, "PYTHONPATH": str(tmp_path / "site")},
            cwd=person.folder,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    return types


@pytest.mark.parametrize("client", one_now(CLIENTS))
def test_an_installed_server_has_a_file_for_its_keys(
    installed: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, client: str
) -> None:
    place = tmp_path / ".config" / "ring-mcp" / "settings.env"
    printed = installed("config", client)
    assert f"Keys and other settings go into {place}" in printed.stderr
    assert "--write makes it" in printed.stderr
    assert not place.exists()
    written = installed("config", client, "--write", "--path", str(tmp_path / "own"))
    assert written.returncode == DONE, written.stderr
    assert "--write makes it" not in written.stderr
    assert (tmp_path / "own").read_text(encoding="utf-8") == printed.stdout
    [section] = [value for key, value in parsed(client, printed.stdout).items() if key != "inputs"]
    assert section["ring-mcp"]["env"]["RING_ENV_FILE"] == str(place)
    assert place.stat().st_mode & 0o777 == 0o600
    assert load_config({"RING_ENV_FILE": str(place)}).vendors["xai"].key is None
    place.write_text(place.read_text(encoding="utf-8").replace("# XAI", "XAI"), encoding="utf-8")
    again = installed("config", client, "--write", "--path", str(tmp_path / "own"))
    assert again.stdout == f"{tmp_path / 'own'} has it already\n"
    key = load_config({"RING_ENV_FILE": str(place)}).vendors["xai"].key
    assert key is not None
    assert key.get_secret_value() == "your-key"


def test_the_place_for_keys_is_told_where_the_server_is_started_here(person: Person) -> None:
    assert f"Keys and other settings go into {ROOT}/.env.local" in person.types("config", "cursor").stderr
    there = person.types("config", "cursor", "--http", "https://ring.example.org")
    assert "Keys" not in there.stderr
