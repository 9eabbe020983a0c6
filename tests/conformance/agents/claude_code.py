"""Claude Code at a terminal, interactively: only there it takes tasks and shows questions. A stand-in plays its model.

Each check takes a fresh home and returns what went wrong, as a text; None if nothing did. ``wire.log`` in that home has
what went over stdio, ``screen.tty`` what was drawn.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ring_mcp.sandbox.server import SandboxServer
from tests.conformance.__main__ import ROOT, START_LIMIT_S, TOKEN
from tests.conformance.agents.newcomer import HERE, RING, environment, run
from tests.conformance.agents.stand_in_model import WORD, StandInModel
from tests.conformance.agents.terminal import Terminal, wait_for

RENDER_S = 20.0
"""Longer than a call waits, and than it takes to kill a server."""

READING_S = 1.5
"""How long a person reads a question, at least."""

PROMPT = "a red kite over the harbour"
_KEY = "sk-ant-stand-in-" + "0" * 24
_ATTEMPTS, _ATTEMPT_S = 12, 15.0
_STARTS = 5
_UNAIDED_S = 90.0
_QUIET = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}

Restart = Callable[[], None]


@dataclass(frozen=True)
class Session:
    """A running Claude Code whose model is about to make a clip. ``restart``: its server is killed, and is back."""

    terminal: Terminal
    model: StandInModel
    sandbox: SandboxServer
    restart: Restart

    def ask_for_the_clip(self, seen: Callable[[], object]) -> None:
        """Say the word until ``seen``: the client may still be connecting, and its model have no tool yet."""
        for _ in range(_ATTEMPTS):
            self.terminal.enter(f"please {WORD}")
            with contextlib.suppress(TimeoutError):
                wait_for("the call", seen, _ATTEMPT_S)
                return
        raise TimeoutError("the model never had the tool")

    def wait_until_told(self, *words: str) -> str:
        """What woke the model. Claude Code tries to reconnect a few times only: a server that takes longer to start
        again is one that the person has it reconnect to."""
        with contextlib.suppress(TimeoutError):
            return str(wait_for("the model is woken", lambda: self.model.find_told(*words), _UNAIDED_S))
        self.terminal.enter("/mcp reconnect ring-mcp")
        return str(wait_for("the model is woken", lambda: self.model.find_told(*words)))

    @property
    def charges(self) -> int:
        return len(self.sandbox.state.books.charges())


def take_a_task(home: Path, way: str, *, kills: bool) -> str | None:
    """The clip becomes a task, and the model is woken with its result; ``kills``: the server dies in between."""
    with in_session(home, way) as session:
        session.ask_for_the_clip(lambda: session.model.tool_result)
        told = session.model.tool_result or ""
        found = re.search(r"server-side task ([0-9a-f-]{36})", told)
        if found is None:
            return f"it took no task: {told[:500]}"
        if kills:
            session.restart()
        ended = f"MCP task {found[1]} (ring-mcp/ring-video-create) completed."
        woken = session.wait_until_told("<task-notification>", ended)
        if not all(word in woken for word in ("billedCostUsd", ".mp4")):
            return f"it was woken without the result: {woken[:500]}"
        return None if session.charges == 1 else f"{session.charges} charges, not one"


def answer_a_question(home: Path, *, accepts: bool) -> str | None:
    """RING_CONFIRM: the person reads the price in the terminal, and nothing but a yes spends."""
    with in_session(home, "stdio", RING_CONFIRM="require", RING_MAX_USD_PER_DAY="5") as session:
        asked = session.terminal
        session.ask_for_the_clip(lambda: "Decline" in asked.shown)
        missing = [words for words in ("Spend up to $0.10", "Caps leave", PROMPT) if words not in asked.shown]
        if missing or session.charges:
            return f"the dialog lacks {missing}, and {session.charges} charges came before it"

        # A person reads first: a no that comes sooner is taken for the client's own.
        time.sleep(READING_S)
        if not accepts:
            choose(asked, "Decline")

        def press() -> str | None:
            asked.press("enter")
            return session.model.tool_result

        told = str(wait_for("the answer", press))
        as_wanted = ("server-side task" if accepts else "the person declined") in told
        if not as_wanted or session.charges != (1 if accepts else 0):
            return f"{session.charges} charges after {told[:500]}"
    return None


def choose(terminal: Terminal, words: str) -> None:
    """Have the pointer on this answer. A dialog that has just come up takes no key yet, and Enter would be a yes."""
    for _ in range(_ATTEMPTS):
        terminal.press("down")
        with contextlib.suppress(TimeoutError):
            wait_for(f"{words} is marked", lambda: terminal.points_at(words), _ATTEMPT_S)
            return
    raise TimeoutError(f"{words} was never marked")


@contextlib.contextmanager
def in_session(home: Path, way: str, **variables: str) -> Iterator[Session]:
    """Claude Code, set up by ``ring-mcp config``."""
    with contextlib.ExitStack() as stack:
        sandbox = stack.enter_context(SandboxServer(settings={"render_s": RENDER_S}))
        model = stack.enter_context(StandInModel("ring-video-create", {"prompt": PROMPT, "duration": 2}))
        env = environment(home, RING_SANDBOX=sandbox.url, **variables)
        served = stack.enter_context(Served(env)) if way == "http" else None
        configure(home, env, served)
        # All tools at once: to look one up first is a turn more, and none of ours.
        asked = {"ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": _KEY, "ENABLE_TOOL_SEARCH": "false"}
        claude = {**env, **_QUIET, **asked}
        opened = open_over_stdio if served is None else open_claude
        terminal = stack.enter_context(opened(home, claude))
        stack.callback(lambda: (home / "screen.tty").write_bytes(terminal.drawn))
        restart = served.restart if served is not None else lambda: restart_over_stdio(home, terminal)
        yield Session(terminal, model, sandbox, restart)


def open_claude(home: Path, env: Mapping[str, str]) -> Terminal:
    terminal = Terminal(["claude"], env, home)
    wait_for("Claude Code takes lines", lambda: "auto mode" in terminal.shown)
    return terminal


def open_over_stdio(home: Path, env: Mapping[str, str]) -> Terminal:
    """A session of the newer protocol: Claude Code takes a server that needs three seconds for its first answer for
    one of the older, which has no tasks. The next start is answered from the recording of the one before."""
    log, starts = home / "wire.log", home / ".cache" / "ring-mcp" / "starts"
    for _ in range(_STARTS):
        terminal = open_claude(home, env)
        wait_for("the server is there", lambda: log.exists() and b'"tools":[' in log.read_bytes())
        if b'"method":"initialize"' not in log.read_bytes():
            return terminal
        wait_for("its start is recorded", lambda: starts.is_dir() and any(starts.iterdir()))
        terminal.close()
        log.unlink()
    raise TimeoutError(f"in {_STARTS} starts the server was never quick enough")


def configure(home: Path, env: Mapping[str, str], served: Served | None) -> None:
    """The file that ``ring-mcp config`` writes, with a tee before a server over stdio; and answers to what Claude Code
    asks a newcomer."""
    options = [] if served is None else ["--http", f"{served.url}/mcp"]
    run(env, *RING, "config", "claude-code", "--write", *options)
    if served is None:
        file = home / ".mcp.json"
        document = json.loads(file.read_text())
        entry = document["mcpServers"]["ring-mcp"]
        entry["args"] = [str(HERE / "tee.py"), str(home / "wire.log"), entry["command"], *entry["args"]]
        entry["command"] = sys.executable
        file.write_text(json.dumps(document))
    (home / ".claude").mkdir()
    allowed = {"enableAllProjectMcpServers": True, "permissions": {"allow": ["mcp__ring-mcp"]}}
    (home / ".claude" / "settings.json").write_text(json.dumps(allowed))
    project = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
    known = {"approved": [_KEY[-20:]], "rejected": []}
    settings = {"hasCompletedOnboarding": True, "theme": "dark", "customApiKeyResponses": known}
    (home / ".claude.json").write_text(json.dumps({**settings, "projects": {str(home): project}}))


def restart_over_stdio(home: Path, terminal: Terminal) -> None:
    """Claude Code does not start such a server again by itself: the person has it reconnect."""
    os.killpg(int((home / "wire.group").read_text()), signal.SIGKILL)
    log = home / "wire.log"
    wait_for("the client is told", lambda: b"the server has ended" in log.read_bytes())
    terminal.enter("/mcp reconnect ring-mcp")


class Served:
    """``ring-mcp serve``, which can be killed and started again where it was."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = {**env, "RING_MCP_SERVICE_TOKENS": TOKEN}
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self, port: str = "0") -> None:
        self._process = subprocess.Popen(
            [*RING, "serve", "--port", port],
            env=self._env,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        lines = iter(self._process.stderr.readline, "")
        self.url = next(found[0] for line in lines if (found := re.search(r"http://[0-9.:]+[0-9]", line)))

    def restart(self) -> None:
        self._end(signal.SIGKILL)
        self.start(self.url.rsplit(":", 1)[1])

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.communicate(timeout=START_LIMIT_S)

    def __enter__(self) -> Served:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end(signal.SIGTERM)
