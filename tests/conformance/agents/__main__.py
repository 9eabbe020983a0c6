"""Real agent clients against this server, each with the configuration that ``ring-mcp config`` wrote for it.

    uv run python -m tests.conformance.agents

They come from npm (about 1.1 GB) into ``node_modules`` beside this file. None needs an account for what is asked of it
here: Claude Code and Gemini CLI connect and list the server, Codex calls tools through its app-server. Then Claude Code
makes a clip at a terminal (``claude_code``): as a task, over a server that is killed meanwhile, and after a question.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ring_mcp.sandbox.server import SandboxServer
from tests.conformance.__main__ import CALL_LIMIT_S, TOKEN, install, serving
from tests.conformance.agents.claude_code import answer_a_question, take_a_task
from tests.conformance.agents.newcomer import HERE, RING, environment, run
from tests.conformance.agents.terminal import Terminal, wait_for

Check = Callable[[Path], str | None]
"""Takes a fresh home; returns what went wrong, None if nothing did."""


def main() -> int:
    npm = shutil.which("npm")
    if npm is None:
        print("agents: npm is not installed, so no agent client is asked")
        return 1
    install(npm, HERE)
    with tempfile.TemporaryDirectory(prefix="ring-agents-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        served = environment(folder / "served", RING_MCP_SERVICE_TOKENS=TOKEN)
        with serving(served, "-m", "ring_mcp", "serve", "--port", "0") as url:
            verdicts = [
                session(folder / f"{client}-{way}", client, way, [] if way == "stdio" else ["--http", f"{url}/mcp"])
                for client in ("claude-code", "gemini", "codex")
                for way in ("stdio", "http")
            ]
        verdicts += [judge(name, check, folder / f"at-a-terminal-{name}") for name, check in AT_A_TERMINAL.items()]
        verdicts.append(judge("codex asked to spend", codex_is_asked, folder / "codex-asked"))
    print(f"agents: {'passed' if all(verdicts) else 'FAILED'}")
    return 0 if all(verdicts) else 1


AT_A_TERMINAL: Mapping[str, Check] = {
    **{
        f"claude-code over {way}: a task{', its server killed meanwhile' if kills else ''}": partial(
            take_a_task, way=way, kills=kills
        )
        for way in ("stdio", "http")
        for kills in (False, True)
    },
    **{
        f"claude-code asked to spend, answered {'yes' if accepts else 'no'}": partial(
            answer_a_question, accepts=accepts
        )
        for accepts in (True, False)
    },
}


def judge(name: str, check: Check, home: Path) -> bool:
    try:
        wrong = check(home)
    except (TimeoutError, OSError) as exc:
        wrong = str(exc)
    print(f"{name}: {'ok' if wrong is None else f'FAILED: {wrong}'}", flush=True)
    return wrong is None


def session(home: Path, client: str, way: str, options: list[str]) -> bool:
    """Whether this client, configured by the product, gets on with the server."""
    env = environment(home)
    run(env, *RING, "config", client, "--write", *options)
    said = {"claude-code": claude_lists, "gemini": gemini_lists, "codex": codex_calls}[client](env)
    good = re.search(r"✔|✓|SANDBOX", said) is not None
    print(f"{client} over {way}: {'ok' if good else 'FAILED'}", flush=True)
    if not good:
        print(said[-2000:])
    return good


def claude_lists(env: Mapping[str, str]) -> str:
    """A project's file waits for the person's approval, which is given here."""
    settings = Path(env["HOME"], ".claude", "settings.json")
    settings.parent.mkdir(exist_ok=True)
    settings.write_text(json.dumps({"enableAllProjectMcpServers": True}))
    return run(env, "claude", "mcp", "list")


def gemini_lists(env: Mapping[str, str]) -> str:
    path = Path(env["HOME"], ".gemini", "settings.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "security": {"folderTrust": {"enabled": False}}}))
    return run(env, "gemini", "mcp", "list")


def codex_calls(env: Mapping[str, str]) -> str:
    """The texts of a picture that Codex asked for, empty if anything went wrong."""
    result = codex_makes_a_picture(env)
    assert result.get("structuredContent", {}).get("success"), result
    return "\n".join(block["text"] for block in result.get("content", []) if block["type"] == "text")


def codex_is_asked(home: Path) -> str | None:
    """Codex declares that it can ask, and answers by itself while nobody is there: nothing may be spent, until a person
    lets exactly that call through, at a terminal."""
    with SandboxServer() as sandbox:
        env = environment(home, RING_SANDBOX=sandbox.url, RING_CONFIRM="ask")
        run(env, *RING, "config", "codex", "--write")
        # Codex hands on those variables alone that its file names.
        named = [f'{name} = "{env[name]}"' for name in ("RING_SANDBOX", "RING_CONFIRM", "RING_STATE_DIR")]
        with (home / ".codex" / "config.toml").open("a") as file:
            file.write("\n".join(["", "[mcp_servers.ring-mcp.env]", *named, ""]))

        def ask() -> tuple[dict[str, Any], int]:
            told = codex_makes_a_picture(env).get("structuredContent", {})
            return told, len(sandbox.state.books.charges())

        told, charges = ask()
        if told.get("code") != "confirmation_needed" or charges:
            return f"{charges} charges after {told}"
        with Terminal([*RING, "approve", told["approvalId"]], env, home) as person:
            wait_for("what is approved is shown", lambda: "Let exactly this through" in person.shown)
            person.enter("y")
            wait_for("it is approved", lambda: "Approved." in person.shown)
        approved, charges = ask()
        if not approved.get("success") or charges != 1:
            return f"{charges} charges after it was approved, and {approved}"
        again, charges = ask()
    good = again.get("code") == "confirmation_needed" and charges == 1
    return None if good else f"{charges} charges after a second call, and {again}"


def codex_makes_a_picture(env: Mapping[str, str]) -> dict[str, Any]:
    """The result of the call; empty if there is none."""
    with subprocess.Popen(
        ["codex", "app-server"],
        env={**env},
        cwd=env["HOME"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as codex:
        limit = threading.Timer(CALL_LIMIT_S, codex.kill)
        limit.start()
        try:
            return _call_by_codex(codex, env)
        finally:
            limit.cancel()
            codex.kill()


def _call_by_codex(codex: subprocess.Popen[str], env: Mapping[str, str]) -> dict[str, Any]:
    def ask(number: int, method: str, params: Mapping[str, Any]) -> Any:
        _send(codex, {"id": number, "method": method, "params": params})
        assert codex.stdout is not None
        for line in codex.stdout:
            message = json.loads(line)
            if message.get("id") == number and "method" not in message:
                return message.get("result") or {}
        return {}

    ask(1, "initialize", {"clientInfo": {"name": "ring-mcp", "version": "0"}})
    _send(codex, {"method": "initialized"})
    # Nobody is there to ask: it answers questions by itself then, and would put them to us otherwise.
    unattended = {"cwd": env["HOME"], "approvalPolicy": "never"}
    thread = ask(2, "thread/start", unattended).get("thread", {}).get("id")
    picture = {"server": "ring-mcp", "tool": "ring-image-create", "arguments": {"prompt": "a cat on a wall"}}
    return dict(ask(3, "mcpServer/tool/call", {"threadId": thread, **picture}))


def _send(codex: subprocess.Popen[str], message: Mapping[str, Any]) -> None:
    assert codex.stdin is not None
    codex.stdin.write(json.dumps(message) + "\n")
    codex.stdin.flush()


if __name__ == "__main__":
    sys.exit(main())
