"""Servers whose loading stands still until a test lets it go on, so that it is known who answers."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests import warm
from tests.server.wire import LEGACY, LIMIT_S, MODERN

GATE = '''
"""Loaded by the interpreter before anything else: what is heavy is not loaded until there is a file, and the start
fails if another says so."""

import os
import sys
import time

waits = [True]


def hook(event, arguments):
    if event == "import" and arguments[0] == "ring_mcp.config" and waits:
        waits.clear()
        sys.stderr.write("AT THE GATE\\n")
        sys.stderr.flush()
        while not os.path.exists(os.environ["GATE"]):
            time.sleep(0.005)
    if event == "import" and arguments[0] == "ring_mcp.app" and os.path.exists(os.environ["HOME"] + "/broken"):
        raise RuntimeError("this start fails")


sys.addaudithook(hook)
'''
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "tests", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def gate_of(folder: Path) -> dict[str, str]:
    """Makes the gate of one folder, and says what a server's environment needs for it."""
    place = folder / "gate"
    place.mkdir()
    (place / "sitecustomize.py").write_text(GATE)
    (place / "work").mkdir()
    (place / "door").mkdir()  # of its own: nothing of a start depends on this folder
    return {"PYTHONPATH": str(place), "GATE": str(place / "door" / "is-open"), "PYTHONDONTWRITEBYTECODE": "1"}


def line(method: str, number: int | str | None = None, params: Mapping[str, Any] | None = None) -> bytes:
    identity = {} if number is None else {"id": number}
    given = {} if params is None else {"params": dict(params)}
    return json.dumps({"jsonrpc": "2.0", **identity, "method": method, **given}).encode() + b"\n"


def initialize(number: int | str, version: str = LEGACY) -> bytes:
    client = {"name": "tests", "version": "1"}
    return line("initialize", number, {"protocolVersion": version, "capabilities": {}, "clientInfo": client})


INITIALIZED = line("notifications/initialized")


def modern(method: str, number: int | str, **params: Any) -> bytes:
    return line(method, number, {**params, "_meta": META})


class Session:
    """One server, and every byte it says. Leaving the ``with`` ends it.

    ``is_warm``: it is forked from what has its modules, so that there is no gate; what it says is the same. With
    ``is_gated`` it has those of other packages alone, and loads ours behind the gate, for which it takes a third.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        folder: Path,
        *switches: str,
        is_open: bool,
        is_warm: bool = False,
        is_gated: bool = False,
    ) -> None:
        # A file and no pipe: whatever else waits there, a child of this server or of one before, takes nothing away.
        self._gate = Path(env["GATE"])
        self._gate.unlink(missing_ok=True)
        self.said: list[bytes] = []
        self._process: warm.Server | subprocess.Popen[bytes]
        if is_warm or is_gated:
            first = GATE if is_gated else None
            self._process = warm.Server(env, folder / "gate" / "work", *switches, piped=True, first=first)
        else:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ring_mcp", *switches],
                env=dict(env),
                cwd=folder / "gate" / "work",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        self._limit = threading.Timer(LIMIT_S, self._process.kill)
        self._limit.start()
        self.status: int | None = None
        self.stderr = ""
        if is_open:
            self.open_gate()

    def open_gate(self) -> None:
        self._gate.touch()

    def send(self, content: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(content)
        self._process.stdin.flush()

    def read(self, lines: int = 1) -> None:
        assert self._process.stdout is not None
        for _ in range(lines):
            said = self._process.stdout.readline()
            assert said, f"the server has left: {self._last_words()}"
            self.said.append(said)

    def _last_words(self) -> str:
        assert self._process.stderr is not None
        self._process.kill()
        return f"{self._process.wait(LIMIT_S)}, {self._process.stderr.read().decode()}"

    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(each) for each in self.said]

    def wait_for_gate(self) -> None:
        """Until nothing more is loaded."""
        assert self._process.stderr is not None
        assert b"AT THE GATE" in self._process.stderr.readline()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self, last: bytes = b"") -> None:
        """Close stdin after these bytes and read all that is still said."""
        if isinstance(self._process, warm.Server):
            assert self._process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(last)
                self._process.stdin.close()
            text, self.stderr = self._process.communicate(LIMIT_S)
            stdout, self.status = text.encode(), self._process.poll()
        else:
            stdout, stderr = self._process.communicate(last or None, LIMIT_S)
            self.status, self.stderr = self._process.returncode, stderr.decode()
        self.said += stdout.splitlines(keepends=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._limit.cancel()
        if isinstance(self._process, warm.Server):
            self._process.close()
        elif self.status is None:
            self._process.kill()
            self._process.communicate()


def record(
    env: Mapping[str, str], folder: Path, steps: Sequence[tuple[bytes, int]], *switches: str, is_gated: bool = False
) -> None:
    """A session of the real server, so that the next one with these lines is answered from its recording."""
    with Session(env, folder, *switches, is_open=True, is_gated=is_gated) as session:
        for content, answers in steps:
            session.send(content)
            session.read(answers)
        session.end()
        assert session.status == 0, session.stderr
