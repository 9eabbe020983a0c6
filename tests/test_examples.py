"""Every file under examples/ does what it says: programs end well, client configurations start the server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import jsonschema
import pytest
from mcp import Client, StdioServerParameters

from ring_mcp.config import all_variables, load_config
from ring_mcp.sandbox.server import SandboxServer
from ring_mcp.scripted.compiler import compile_clip
from ring_mcp.scripted.schema import read_script, script_schema
from tests.one_now import one_now
from tests.server.wire import path_of

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
PROGRAMS = sorted(EXAMPLES.glob("*.py"))
CLIENTS = sorted((EXAMPLES / "clients").iterdir())
SCRIPTS = sorted(path for path in EXAMPLES.glob("scripted-*.json") if path.name.count(".") == 1)
SCHEMA = EXAMPLES / "scripted-request.schema.json"
JOBS = EXAMPLES / "xai-video-jobs.json"
PLACEHOLDER = "/path/to/ring-mcp"
TOKEN = "a-token-of-the-test"


def run(program: Path, state: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """As a person would, in a folder without settings."""
    state.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, str(program)],
        cwd=state,
        env={**os.environ, "RING_STATE_DIR": str(state), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def pictures(text: str) -> list[Path]:
    return [Path(unquote(urlsplit(word).path)) for word in text.replace(",", " ").split() if word.startswith("file://")]


@pytest.mark.parametrize("program", one_now(PROGRAMS), ids=lambda path: path.stem)
def test_an_example_program_makes_its_pictures_and_ends_well(program: Path, tmp_path: Path) -> None:
    done = run(program, tmp_path / "state")

    assert done.returncode == 0, done.stdout + done.stderr
    made = pictures(done.stdout)
    assert made
    assert all(path.read_bytes().startswith(b"\xff\xd8\xff") for path in made)
    assert all(path.is_relative_to(tmp_path / "state" / "sandbox") for path in made)
    if program.name == "quote_before_spending.py":  # the quote is what is billed, and the cap stops the rest
        assert "in all: $0.06" in done.stdout
        assert "billed $0.06" in done.stdout
        assert "refused: RING_MAX_USD_PER_CALL is $0.10" in done.stdout
        assert len(made) == 1


@pytest.mark.long
def test_the_client_example_reports_a_fault_of_the_sandbox(tmp_path: Path) -> None:
    with SandboxServer() as sandbox:
        sandbox.state.faults.add("drop_after_accept")

        done = run(EXAMPLES / "image_over_mcp.py", tmp_path / "state", RING_SANDBOX=sandbox.url)

        assert done.returncode == 1, done.stdout + done.stderr
        assert "unknown_outcome (billed: unknown)" in done.stdout
        assert sandbox.state.books.as_json()["count"] == 1


def server_of(path: Path) -> dict[str, Any]:
    """The one server entry of a client's configuration, whatever that client calls the table."""
    text = path.read_text(encoding="utf-8")
    content = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    [table] = [content[key] for key in ("mcpServers", "servers", "mcp_servers") if key in content]
    [(name, entry)] = table.items()
    assert name == "ring-mcp"
    return dict(entry)


@pytest.mark.parametrize("path", CLIENTS, ids=lambda path: path.name)
def test_a_client_configuration_starts_the_clone_with_variables_that_exist(path: Path) -> None:
    entry = server_of(path)

    extras = ["--extra", "video"] if "RING_SANDBOX" in entry["env"] else []  # what the sandbox makes clips with
    assert entry["command"] == "uv"
    assert entry["args"] == ["run", "--no-dev", *extras, "--directory", PLACEHOLDER, "ring-mcp"]
    known = {name for names in all_variables() for name in names}
    assert set(entry["env"]) <= known
    assert entry.get("type", "stdio") == "stdio"


def test_time_outs_of_clients_are_longer_than_a_call_waits() -> None:
    wait_s = load_config({}).inline_wait_s
    entries = [server_of(path) for path in CLIENTS]
    limits_s = [entry[key] / 1000 for entry in entries for key in ("timeout", "requestTimeout") if key in entry]
    limits_s += [entry["tool_timeout_sec"] for entry in entries if "tool_timeout_sec" in entry]

    assert len(limits_s) == 4
    assert min(limits_s) > wait_s


@pytest.mark.long
async def test_the_command_of_the_configurations_serves_a_client_that_has_the_token(tmp_path: Path) -> None:
    entry = server_of(EXAMPLES / "clients" / "cursor.mcp.json")
    empty = tmp_path / "empty.env"
    empty.touch()
    passed_on = dict.fromkeys(entry["env"], TOKEN)
    env_local = {"RING_MCP_SERVICE_TOKENS": TOKEN, "RING_SANDBOX": "on", "RING_STATE_DIR": str(tmp_path)}
    server = StdioServerParameters(
        command=entry["command"],
        args=[arg.replace(PLACEHOLDER, str(ROOT)) for arg in entry["args"]],
        env={**os.environ, **env_local, **passed_on, "RING_ENV_FILE": str(empty)},
    )

    async with Client(server) as client:
        health = await client.call_tool("ring-health", {})
        picture = await client.call_tool("ring-image-create", {"prompt": "A red kite", "resolution": "1k"})

    assert health.structured_content is not None
    assert health.structured_content["data"]["status"] == "ok"
    assert picture.structured_content is not None
    assert path_of(picture.structured_content["data"]["url"]).is_file()


async def test_the_same_command_refuses_a_client_without_the_token(tmp_path: Path) -> None:
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "ring_mcp"],
        cwd=str(tmp_path),
        env={**os.environ, "RING_MCP_SERVICE_TOKENS": TOKEN, "RING_STATE_DIR": str(tmp_path)},
    )

    async with Client(server) as client:
        refused = await client.call_tool("ring-health", {})

    assert refused.is_error
    assert refused.structured_content is not None
    assert refused.structured_content["error"] == "RING_SERVICE_TOKEN is not set"


def check_written(path: Path, content: Any) -> None:
    """The file holds ``content``; ``RING_UPDATE_SNAPSHOTS=1`` writes it anew."""
    if os.environ.get("RING_UPDATE_SNAPSHOTS") == "1":
        path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8")) == content, (
        "look at the difference, then run this test with RING_UPDATE_SNAPSHOTS=1"
    )


def test_the_schema_of_scripts_is_that_of_the_product() -> None:
    check_written(SCHEMA, script_schema())


def test_there_are_scripts_with_dialogue_first_frames_and_thumbnails() -> None:
    clips = [clip for path in SCRIPTS for clip in read_script(path).clips]

    assert len(SCRIPTS) == 2
    assert any(clip.scene and clip.scene.dialogue for clip in clips)
    assert any(clip.first_frame for clip in clips)
    assert any(clip.thumbnail for clip in clips)
    assert any(clip.prompt for clip in clips)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_valid_and_compiles_to_what_is_shown_beside_it(path: Path) -> None:
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["$schema"] == f"./{SCHEMA.name}"
    jsonschema.validate(written, script_schema())

    script = read_script(path)
    check_written(path.with_suffix(".compiled.json"), [compile_clip(script, clip) for clip in script.clips])
