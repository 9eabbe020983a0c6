"""demo, sandbox, migrate and the rest of what a person types, as real processes."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import httpx2
import pytest
from click.testing import CliRunner
from PIL import Image

from ring_mcp import __version__
from ring_mcp.cli.commands import cli
from tests.server.wire import LIMIT_S, RingProcess, environment
from tests.server.wire import command as cold_command
from tests.warm import command


def files_of(output: str) -> list[Path]:
    return [Path(url2pathname(urlparse(url).path)) for url in re.findall(r"file://\S+\.jpg", output)]


@pytest.mark.long
def test_the_demo_shows_where_its_pictures_are_and_their_cost(tmp_path: Path) -> None:
    # A key and a database in the environment: the demo touches neither.
    env = environment(tmp_path, XAI_API_KEY="xai-hunter2", DATABASE_URL="postgresql://ring:hunter2@127.0.0.1:1/ring")
    done = command(env, tmp_path, "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("SANDBOX")
    for part in ("ring-health", "status: ok", "ring-image-create", "aspectRatio: '16:9'", "n: 2", "stdio subprocess"):
        assert part in done.stdout
    pictures = files_of(done.stdout)
    assert len(pictures) >= 3
    for path in pictures:
        with Image.open(path) as image:
            assert f"{image.width} x {image.height} px, {path.stat().st_size:,} bytes, image/jpeg" in done.stdout
    assert done.stdout.count("estimated $0.06, billed $0.06 (by the sandbox)") == 1
    assert done.stdout.count("estimated $0.12, billed $0.12 (by the sandbox)") == 1
    assert len(re.findall(r"record +generated_images [0-9a-f-]{36}", done.stdout)) == len(pictures)
    assert re.search(r"ledger +media_jobs [0-9a-f-]{36}: done, settled \$0\.12", done.stdout)
    assert re.search(r"^Done in \d+\.\d s\.", done.stdout, re.MULTILINE)
    assert "hunter2" not in done.stdout + done.stderr
    assert "\x1b" not in done.stdout


@pytest.mark.long
def test_the_demo_makes_the_picture_that_was_asked_for(tmp_path: Path) -> None:
    done = command(environment(tmp_path), tmp_path, "demo", "--prompt", "[/b] a red kite")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "prompt: '[/b] a red kite'" in done.stdout
    assert len(files_of(done.stdout)) == 1


def test_the_demo_says_what_is_wrong_when_it_cannot_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    done = command({**environment(tmp_path), "RING_STATE_DIR": str(tmp_path / "file")}, tmp_path, "demo")
    assert done.returncode == 1
    assert "RING_STATE_DIR" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@contextlib.contextmanager
def started(env: Mapping[str, str], folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "ring_mcp", *arguments],
        env=dict(env),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=LIMIT_S)


def announced(process: subprocess.Popen[str]) -> dict[str, str]:
    """The settings that the sandbox prints when it is ready."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if line.startswith("faults, settings, books"):
            break
    assert lines[0].startswith("SANDBOX")
    settings = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))
    settings["RING_SANDBOX"] = next(line.split("RING_SANDBOX=")[1] for line in lines if "RING_SANDBOX=" in line)
    return settings


@pytest.mark.long
def test_the_sandbox_stands_alone_and_serves_whoever_takes_its_settings(tmp_path: Path) -> None:
    env = environment(tmp_path)
    with started(env, tmp_path, "sandbox", "--port", "0") as process:
        settings = announced(process)
        url = settings.pop("RING_SANDBOX")
        providers = {"XAI_API_BASE_URL", "XAI_API_KEY", "GOOGLE_GENAI_BASE_URL", "GOOGLE_GENAI_API_KEY"}
        assert settings.keys() == providers | {"RINGBASE_API_URL", "RINGBASE_API_TOKEN"}
        with RingProcess({**env, **settings, "FILE_BACKEND": "ringbase"}, tmp_path) as ring:
            data = ring.create(prompt="as with the real ones", resolution="1k").data
        assert "sandbox" not in data
        assert data["url"].startswith(url)
        with httpx2.Client(verify=False, trust_env=False, timeout=LIMIT_S) as client:
            assert client.get(data["url"]).content.startswith(b"\xff\xd8\xff")
            assert client.get(f"{url}/control/books").json()["count"] == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = command(environment(tmp_path), tmp_path, "sandbox", "--port", port)
    assert done.returncode == 1
    assert f"port {port} cannot be used" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_migrate_makes_the_ledger_and_may_be_repeated(env: dict[str, str], tmp_path: Path) -> None:
    ledger = tmp_path / "state" / "sandbox" / "ledger.db"
    for run in (cold_command, command):
        done = run(env, tmp_path, "migrate")
        assert (done.returncode, done.stderr) == (0, "")
        assert f"{ledger} is up to date" in done.stdout
    assert ledger.read_bytes().startswith(b"SQLite format 3")


def test_migrate_tells_of_a_database_that_is_not_there_without_its_address(tmp_path: Path) -> None:
    env = environment(tmp_path, DATABASE_URL="postgresql://ring:hunter2@127.0.0.1:1/ring")
    done = command(env, tmp_path, "migrate")
    assert done.returncode == 1
    assert "DATABASE_URL" in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words", [("frobnicate",), ("jobs", "frobnicate"), ("--sandbox", "migrate"), ("sandbox", "--port", "x")]
)
def test_what_is_not_a_command_is_refused_with_the_way_to_help(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = command(environment(tmp_path), tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--help" in done.stderr or "RING_SANDBOX=1" in done.stderr


def test_the_installed_script_answers_for_itself(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("ring-mcp")
    for words, expected in ((["--version"], __version__), (["--help"], "demo")):
        done = subprocess.run(
            [script, *words], env=environment(tmp_path), capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert expected in done.stdout


def test_the_server_ends_when_there_is_no_client_at_all(env: dict[str, str], tmp_path: Path) -> None:
    done = cold_command(env, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_server_started_in_a_terminal_says_what_it_waits_for(env: dict[str, str], tmp_path: Path) -> None:
    terminal, end_of_it = os.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "ring_mcp"],
            env=env,
            cwd=tmp_path,
            stdin=end_of_it,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        assert "waiting for an MCP client on stdin (Ctrl-C to end)" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=LIMIT_S)
    finally:
        os.close(terminal)
        os.close(end_of_it)
    assert process.returncode in (0, 130)
    assert (out, errors) == ("", "")


def test_a_command_that_has_ended_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    asked = CliRunner(env=environment(tmp_path)).invoke(cli, ["health", "--json", "--gateway", ""])
    assert asked.exit_code == 1, "without a key"
    filtered = [name for name, each in logging.root.manager.loggerDict.items() if getattr(each, "filters", None)]
    assert [name for name in filtered if name.startswith("ring_mcp")] == []


@pytest.mark.parametrize(
    "arguments", [("health",), ("doctor",), ("image", "a kite"), ("prune",), ("spend",)], ids=lambda each: each[0]
)
def test_a_state_folder_nobody_may_look_into_is_told(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    # A name that no disk takes fails at each look, as a stranger's folder does, whoever runs the tests.
    done = command(environment(tmp_path, RING_STATE_DIR=str(tmp_path / ("x" * 300))), tmp_path, *arguments)
    assert done.returncode == 1
    assert "cannot be used: File name too long" in " ".join(done.stderr.split())
    assert "RING_STATE_DIR" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_without_its_state_folder_says_so_and_ends(tmp_path: Path) -> None:
    env = environment(tmp_path, RING_STATE_DIR=str(tmp_path / ("x" * 300)), FILE_BACKEND="local")
    done = cold_command(env, tmp_path)
    assert done.returncode == 2
    assert "cannot be used: File name too long" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_backup_into_a_folder_nobody_may_enter_is_told(env: dict[str, str], tmp_path: Path) -> None:
    assert command(env, tmp_path, "migrate").returncode == 0
    done = command(env, tmp_path, "backup", str(tmp_path / ("x" * 300)))
    assert done.returncode == 1
    assert "File name too long" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("text", [None, "{", "[]"], ids=["missing", "no JSON", "no map"])
def test_a_price_map_nobody_can_read_is_no_difference(env: dict[str, str], tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "map.json").write_text(text)
    done = command(env, tmp_path, "presets", "check", "--against", "map.json")
    assert done.returncode == 2
    assert "price map" in done.stderr
    assert "Traceback" not in done.stderr
