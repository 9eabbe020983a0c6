"""``ring-mcp`` as a person or a script runs it: a subprocess with its own environment, streams and exit status."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ring_mcp.backends import open_ledger
from ring_mcp.config import load_config
from ring_mcp.domain import Job
from ring_mcp.ledger.base import JobQuery
from tests import warm
from tests.server.wire import LIMIT_S, environment, eventually
from tests.warm import command

ALICE, BOB = "the-token-of-alice", "the-token-of-bob"

DONE, FAILED, BAD_USAGE, UNDER_WAY = 0, 1, 2, 3


class Person:
    """One environment and one folder to type commands in."""

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self.env = dict(env)
        self.folder = folder

    def with_env(self, **variables: str) -> Person:
        return Person({**self.env, **variables}, self.folder)

    def types(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return command(self.env, self.folder, *arguments)

    def json(self, *arguments: str, status: int = DONE) -> dict[str, Any]:
        """The one JSON object on stdout."""
        done = self.types(*arguments, "--json")
        assert done.returncode == status, done.stdout + done.stderr
        [line] = done.stdout.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found

    def jobs(self) -> Sequence[Job]:
        """What is in this person's own ledger, newest first."""

        async def read() -> Sequence[Job]:
            ledger = open_ledger(load_config(self.env, folder=self.folder))
            await ledger.start()
            try:
                return (await ledger.list_jobs(JobQuery(limit=100))).jobs
            finally:
                await ledger.aclose()

        return asyncio.run(read())

    @contextmanager
    def begins(self, *arguments: str) -> Iterator[warm.Server]:
        """The command as it runs. Leaving the ``with`` kills it."""
        process = warm.Server(self.env, self.folder, *arguments, piped=True)
        try:
            assert process.stdin is not None
            process.stdin.close()
            yield process
        finally:
            process.close()


@contextmanager
def terminal() -> Iterator[tuple[int, bytearray]]:
    """The end of a terminal that a command gets, and what it has drawn there so far, all of it after the ``with``.

    Somebody reads at all times: a terminal holds a few kilobytes, and who draws on a full one waits.
    """
    screen, end = pty.openpty()
    drawn = bytearray()

    def read() -> None:
        with os.fdopen(screen, "rb", buffering=0) as file, suppress(OSError):  # the other end is closed
            while piece := file.read(65536):
                drawn.extend(piece)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield end, drawn
    finally:
        os.close(end)
        reader.join(LIMIT_S)


def ctrl_c(process: warm.Server) -> tuple[int, str, str]:
    """Its exit status, and what it writes until then on stdout and stderr."""
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(LIMIT_S)
    return process.wait(LIMIT_S), stdout, stderr


@contextmanager
def serving(env: Mapping[str, str], folder: Path, *switches: str) -> Iterator[str]:
    """A real ``ring-mcp serve`` on a free port; gives its address. Another tree's, with a PYTHONPATH, starts cold."""
    process: warm.Server | subprocess.Popen[bytes]
    if "PYTHONPATH" in env:
        process = subprocess.Popen(
            [sys.executable, "-m", "ring_mcp", "serve", "--port", "0", *switches],
            env=dict(env),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    else:
        process = warm.Server(env, folder, "serve", "--port", "0", *switches)
    said: list[str] = []

    def read() -> None:
        assert process.stderr is not None
        said.extend(line.decode() for line in process.stderr)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield eventually("the server's address", lambda: re.findall(r"listens on (http://\S+):", "".join(said)))[0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(LIMIT_S)
        reader.join(LIMIT_S)
        assert process.stderr is not None
        process.stderr.close()


__all__ = [
    "ALICE",
    "BAD_USAGE",
    "BOB",
    "DONE",
    "FAILED",
    "UNDER_WAY",
    "Person",
    "ctrl_c",
    "environment",
    "serving",
    "terminal",
]
