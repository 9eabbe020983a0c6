"""What a shell asks in the middle of a line: it gets an answer or nothing, and never waits for a server.

``test_shells`` has shells themselves ask, of a command that starts cold.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import click
import pytest

from ring_mcp.cli.commands import cli
from ring_mcp.cli.job_lookup import complete_job_id
from tests.server.wire import LIMIT_S, RingProcess, eventually
from tests.warm import Server, command

JOBS = cli.commands["jobs"]
assert isinstance(JOBS, click.Group)
ABOUT_A_JOB = {
    name: vars(param)["_custom_shell_complete"]
    for name, each in JOBS.commands.items()
    for param in each.params
    if param.name in ("job_id", "job_ids")
}


def complete(env: dict[str, str], folder: Path, line: str, shell: str = "bash_complete") -> str:
    words = line.split(" ")
    asked = {"_RING_MCP_COMPLETE": shell, "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    if shell.startswith("fish"):
        asked["COMP_CWORD"] = words[-1]
    # Its stdin stays open, as that of a terminal does: a server would wait for a client.
    with contextlib.closing(Server({**env, **asked}, folder, piped=True)) as asking:
        stdout, stderr = asking.communicate(LIMIT_S)
    assert "Traceback" not in stderr
    return stdout


def test_commands_and_jobs_are_completed(env: dict[str, str], tmp_path: Path) -> None:
    with RingProcess(env, tmp_path) as ring:
        job_id = ring.create(prompt="one").data["jobId"]

    def offers(what: str, line: str, shell: str = "bash_complete") -> None:
        # A machine that is too busy to answer within the patience of a shell offers nothing, that time.
        eventually(f"{what!r} is offered after {line!r}", lambda: what in complete(env, tmp_path, line, shell))

    offers("plain,resolve", "ring-mcp jobs re")
    offers(f"plain,{job_id[:8]}\n", f"ring-mcp jobs show {job_id[:3]}")
    offers("done: one", "ring-mcp jobs resume ", "zsh_complete")
    offers(f"plain,{job_id[:8]}\tdone: one", "ring-mcp jobs show ", "fish_complete")


def test_every_command_that_takes_a_job_completes_it() -> None:
    assert dict.fromkeys(("adopt", "cancel", "resolve", "resume", "show"), complete_job_id) == ABOUT_A_JOB


def test_a_ledger_that_is_being_written_completes_all_the_same(env: dict[str, str], tmp_path: Path) -> None:
    with RingProcess(env, tmp_path) as ring:
        ring.create(prompt="one")
    blocker = sqlite3.connect(tmp_path / "state" / "sandbox" / "ledger.db", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    try:
        eventually("it is offered", lambda: complete(env, tmp_path, "ring-mcp jobs show ").startswith("plain,"))
    finally:
        blocker.close()


def test_settings_that_are_wrong_complete_nothing(env: dict[str, str], tmp_path: Path) -> None:
    assert complete({**env, "RING_MAX_USD_PER_DAY": "much"}, tmp_path, "ring-mcp jobs show ").strip() == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_taught_to_ask(env: dict[str, str], tmp_path: Path, shell: str) -> None:
    done = command(env, tmp_path, "completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_RING_MCP_COMPLETE={shell}_complete" in done.stdout
