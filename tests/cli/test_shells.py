"""Completion as a person has it: in bash, zsh and fish themselves, by the lines that ``ring-mcp completion`` prints."""

from __future__ import annotations

import os
import re
import select
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.one_now import one_now
from tests.server.wire import LIMIT_S, RingProcess
from tests.warm import command

if sys.platform == "win32":
    pytest.skip("these shells and their terminals are those of Unix", allow_module_level=True)

import fcntl
import pty
import struct
import termios

_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|[=>]|\][^\x07]*\x07)")
_BEGIN = {"bash": ["bash", "--noprofile", "--norc", "-i"], "zsh": ["zsh", "-f", "-i"]}
_FIRST = {"bash": "", "zsh": "autoload -Uz compinit; compinit -u -D; "}


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


TERMINALS = [pytest.param(shell, marks=needs(shell)) for shell in _BEGIN]
needs_fish = needs("fish")


def taught(shell: str, env: dict[str, str], folder: Path) -> tuple[Path, dict[str, str]]:
    """The script that teaches a shell, and an environment with ring-mcp on its PATH."""
    script = folder / f"completion.{shell}"
    script.write_text(command(env, folder, "completion", shell).stdout, encoding="utf-8")
    own = folder / "bin" / "ring-mcp"
    own.parent.mkdir(exist_ok=True)
    own.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m ring_mcp "$@"\n', encoding="utf-8")
    own.chmod(0o755)
    path = f"{own.parent}{os.pathsep}{env['PATH']}"
    return script, {**env, "PATH": path, "TERM": "xterm", "HOME": str(folder)}


def ask_fish(env: dict[str, str], folder: Path, line: str) -> list[str]:
    """What fish offers behind ``line``."""
    script, env = taught("fish", env, folder)
    asked = f"source {shlex.quote(str(script))}; complete -C {shlex.quote(line)}"
    done = subprocess.run(
        ["fish", "--no-config", "-c", asked],
        env=env,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


class Terminal:
    """A shell in a terminal, with ring-mcp on its PATH and its completion loaded."""

    def __init__(self, shell: str, env: dict[str, str], folder: Path) -> None:
        script, env = taught(shell, env, folder)
        ours, theirs = pty.openpty()
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
        self._fd, self._seen = ours, ""
        self._process = subprocess.Popen(
            _BEGIN[shell],
            env=env,
            cwd=folder,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.type(f"{_FIRST[shell]}source {shlex.quote(str(script))}; echo is-''loaded\n")
        self.until("is-loaded")

    def type(self, keys: str) -> None:
        self._seen = ""
        os.write(self._fd, keys.encode())

    def until(self, text: str) -> str:
        """All that is shown from the last keys on until ``text`` is, without colours and jumps."""
        end = time.monotonic() + LIMIT_S
        while text not in self._seen:
            ready, _, _ = select.select([self._fd], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{text!r} never came: {self._seen!r}"
            read = os.read(self._fd, 65536).decode("utf-8", "replace")
            self._seen = _ESCAPES.sub("", self._seen + read)
        return self._seen

    def close(self) -> None:
        self._process.kill()
        self._process.wait(LIMIT_S)
        os.close(self._fd)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for each in opened:
        each.close()


@pytest.fixture
def silent_database() -> Iterator[str]:
    """One that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"postgresql://ring@127.0.0.1:{listening.getsockname()[1]}/ring"


@pytest.mark.parametrize("shell", one_now(TERMINALS))
def test_a_tab_completes_command_and_job(
    env: dict[str, str], tmp_path: Path, terminals: list[Terminal], shell: str
) -> None:
    with RingProcess(env, tmp_path) as ring:
        job_id = ring.create(prompt="a kite").data["jobId"]
    terminals.append(terminal := Terminal(shell, env, tmp_path))
    terminal.type("ring-mcp jo\t")
    terminal.until("jobs ")
    terminal.type(f"show {job_id[:3]}\t")
    terminal.until(job_id[3:8])
    terminal.type(" --js\t\n")
    terminal.until(f'"{job_id}"')


@pytest.mark.parametrize("shell", one_now(TERMINALS))
def test_what_a_prompt_says_is_never_offered(
    env: dict[str, str], tmp_path: Path, terminals: list[Terminal], shell: str
) -> None:
    with RingProcess(env, tmp_path) as ring:
        ring.create(prompt="a kite\nplain\nrm-all\nplain,rm-all\tand, so on")
    terminals.append(terminal := Terminal(shell, env, tmp_path))
    # The only job is completed at once; beside a word of its prompt it would not be.
    terminal.type("ring-mcp jobs show \t\n")
    terminal.until("a kite")


@pytest.mark.parametrize("shell", one_now(TERMINALS))
def test_a_ledger_that_says_nothing_gives_the_prompt_back(
    env: dict[str, str], tmp_path: Path, terminals: list[Terminal], silent_database: str, shell: str
) -> None:
    terminals.append(terminal := Terminal(shell, {**env, "DATABASE_URL": silent_database}, tmp_path))
    terminal.type("ring-mcp jobs show \t\x15echo is-''back\n")
    terminal.until("is-back")


@pytest.mark.long
@needs_fish
def test_fish_completes_commands_options_and_jobs(env: dict[str, str], tmp_path: Path) -> None:
    with RingProcess(env, tmp_path) as ring:
        job_id = ring.create(prompt="a kite, red\nplain,rm-all").data["jobId"]
    assert ask_fish(env, tmp_path, "ring-mcp jo")[:1] == ["jobs\tLook at jobs, carry them on, settle..."]
    assert ask_fish(env, tmp_path, "ring-mcp jobs show ") == [f"{job_id[:8]}\tdone: a kite, red plain,rm-all"]
    assert "--json" in " ".join(ask_fish(env, tmp_path, f"ring-mcp jobs show {job_id[:8]} --"))
    assert "state/" in ask_fish(env, tmp_path, "ring-mcp backup st")


@pytest.mark.long
@needs_fish
def test_fish_waits_for_no_ledger_that_says_nothing(env: dict[str, str], tmp_path: Path, silent_database: str) -> None:
    assert ask_fish({**env, "DATABASE_URL": silent_database}, tmp_path, "ring-mcp jobs show ") == []
