"""``python -m ring_mcp`` for tests that start it hundreds of times: a process each time, whose modules are loaded once.

To load its modules takes a command or a server longer than all that it then does. So a process that has loaded them is
forked for each, which has its own environment, folder, streams, signals and status. That they start cold as well is
shown by ``tests/cli``, ``tests/server/test_starting.py``, ``tests/kill``, the servers that folders of tests share, and
the commands of the pages.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.process
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from multiprocessing.context import ForkServerContext
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any

from ring_mcp.providers.connections import load_authorities

LIMIT_S = 120.0
"""How long a test waits for a command. Reached only when something is broken."""

LOADED_ONCE = [
    "pytest",  # what runs the tests is looked at by each fork
    "anyio._backends._asyncio",
    "filelock",
    "httpcore2",
    "rich.console",
    "rich.table",
    "ring_mcp.app",
    "ring_mcp.cli.asking",
    "ring_mcp.cli.commands",
    "ring_mcp.cli.job_table",
    "ring_mcp.cli.progress",
    "ring_mcp.cli.script_table",
    "ring_mcp.clients.gateway",
    "ring_mcp.clients.in_process",
    "ring_mcp.jobs.queue.in_process",
    "ring_mcp.ledger.sqlite",
    "ring_mcp.presets_agreement",
    "ring_mcp.providers.google.adapter",
    "ring_mcp.providers.xai.adapter",
    "ring_mcp.sandbox.app",
    "ring_mcp.sandbox.server",
    "ring_mcp.scripted.run",
    "ring_mcp.server.http",
    "ring_mcp.server.listener",
    "ring_mcp.server.mcp",
    "ring_mcp.server.process",
    "ring_mcp.server.stdio",
    "ring_mcp.storage.local",
    "ring_mcp.tools.image_create",
    "ring_mcp.tools.video_create",
    "tests.warm",
    "tests.warm_start",
]


@cache
def _forks() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED_ONCE)
    return context


def command(env: Mapping[str, str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``ring-mcp`` with these arguments to its end. Raises subprocess.TimeoutExpired.

    An environment with a PYTHONPATH means another tree than the one that is loaded here: its commands start cold.
    """
    if "PYTHONPATH" in env:
        cold = [sys.executable, "-m", "ring_mcp", *arguments]
        return subprocess.run(
            cold, env=dict(env), cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    with (
        Path(os.devnull).open("rb") as nothing,
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
    ):
        process = _forks().Process(
            target=_become_ring_mcp,
            args=(arguments, dict(env), folder, _Streams(nothing.fileno(), stdout.fileno(), stderr.fileno())),
        )
        process.start()
        try:
            process.join(LIMIT_S)
            if process.exitcode is None:
                raise subprocess.TimeoutExpired(["ring-mcp", *arguments], LIMIT_S)
        finally:
            process.kill()
            process.join()
        return subprocess.CompletedProcess(
            ["ring-mcp", *arguments], process.exitcode, _text_of(stdout), _text_of(stderr)
        )


def start_at_terminal(
    env: Mapping[str, str], folder: Path, end: int, *arguments: str
) -> multiprocessing.process.BaseProcess:
    """Run ``ring-mcp`` with this end of a terminal for all three streams, in a session of its own."""
    process = _forks().Process(
        target=_become_ring_mcp, args=(arguments, dict(env), folder, _Streams(end, end, end), True), daemon=True
    )
    process.start()
    return process


class Server:
    """``ring-mcp`` that goes on running, with what tests use of subprocess.Popen. It ends with the process of its test.

    ``stdin`` and ``stdout`` are pipes if asked for, else nothing; ``stderr`` is one. All are of bytes. ``first``: what
    it runs before anything else, as if Python's sitecustomize; then it loads the modules of ring_mcp anew.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        folder: Path,
        *arguments: str,
        piped: bool = False,
        own_session: bool = False,
        first: str | None = None,
    ) -> None:
        with contextlib.ExitStack() as theirs:
            nothing = os.open(os.devnull, os.O_RDWR)
            theirs.callback(os.close, nothing)
            self.stdin: IO[bytes] | None = None
            self.stdout: IO[bytes] | None = None
            given, written = nothing, nothing
            if piped:
                given, own = os.pipe()
                theirs.callback(os.close, given)
                self.stdin = os.fdopen(own, "wb")
                own, written = os.pipe()
                theirs.callback(os.close, written)
                self.stdout = os.fdopen(own, "rb")
            own, told = os.pipe()
            theirs.callback(os.close, told)
            self.stderr: IO[bytes] = os.fdopen(own, "rb")
            self._process = _forks().Process(
                target=_become_ring_mcp,
                args=(arguments, dict(env), folder, _Streams(given, written, told), own_session, first),
                daemon=True,
            )
            self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """The exit status, if it has ended: minus the signal's number if one has ended it."""
        return self._process.exitcode

    def wait(self, limit_s: float) -> int:
        """The exit status. subprocess.TimeoutExpired if it does not end."""
        self._process.join(limit_s)
        if (status := self._process.exitcode) is None:
            raise subprocess.TimeoutExpired(["ring-mcp"], limit_s)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended this moment
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, limit_s: float) -> tuple[str, str]:
        """Wait for its end; what it has written on stdout and stderr and nobody has read. subprocess.TimeoutExpired."""
        streams = [stream for stream in (self.stdout, self.stderr) if stream is not None]
        with ThreadPoolExecutor(len(streams)) as pool:
            reading = [pool.submit(stream.read) for stream in streams]
            try:
                self.wait(limit_s)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            *out, errors = [each.result(limit_s).decode() for each in reading]
        return "".join(out), errors

    def close(self) -> None:
        """Kill it, if it still runs, and close the pipes."""
        self.kill()
        self._process.join()
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()


def _text_of(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode()


class _Streams:
    """Two files, as another process gets them."""

    def __init__(self, *numbers: int) -> None:
        self._numbers = numbers

    def __reduce__(self) -> tuple[Any, ...]:
        return _Arrived, tuple(DupFd(number) for number in self._numbers)


class _Arrived:
    def __init__(self, *numbers: Any) -> None:
        self.numbers = [number.detach() for number in numbers]


def _become_ring_mcp(
    arguments: Sequence[str],
    env: Mapping[str, str],
    folder: Path,
    streams: Any,
    own_session: bool = False,
    first: str | None = None,
) -> None:
    if own_session:
        os.setsid()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    for number, own in zip(streams.numbers, (0, 1, 2), strict=True):
        os.dup2(number, own)
        os.close(number)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if {"SSL_CERT_FILE", "SSL_CERT_DIR"} & env.keys():
        load_authorities.cache_clear()
    sys.argv = ["ring_mcp", *arguments]
    if first is not None:
        for name in [each for each in sys.modules if each.partition(".")[0] == "ring_mcp"]:
            del sys.modules[name]
        exec(first, {})
    runpy.run_module("ring_mcp", run_name="__main__", alter_sys=True)
