"""Real agent clients against this server, each with the configuration that ``ring-mcp config`` wrote for it.

    uv run python -m tests.conformance.agents

They come from npm (about 1.1 GB) into ``node_modules`` beside this file. None needs an account for what is asked of it
here: Claude Code and Gemini CLI connect and list the server, Codex calls tools through its app-server.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.conformance.__main__ import CALL_LIMIT_S, TOKEN, install, serving

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
RING = [sys.executable, "-m", "ring_mcp"]


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
    print(f"agents: {'passed' if all(verdicts) else 'FAILED'}")
    return 0 if all(verdicts) else 1


def environment(home: Path, **variables: str) -> dict[str, str]:
    """A person who has never used any of them, and whose server is the sandbox's."""
    home.mkdir(parents=True)
    path = os.pathsep.join([str(MODULES / "node" / "bin"), str(MODULES / ".bin"), os.environ["PATH"]])
    return {
        "PATH": path,
        "HOME": str(home),
        "RING_SANDBOX": "1",
        "RING_STATE_DIR": str(home / "state"),
        "RING_SERVICE_TOKEN": TOKEN,
        **variables,
    }


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
            return "\n".join(_told(codex, env))
        finally:
            limit.cancel()
            codex.kill()


def _told(codex: subprocess.Popen[str], env: Mapping[str, str]) -> Iterator[str]:
    def ask(number: int, method: str, params: Mapping[str, Any]) -> Any:
        _send(codex, {"id": number, "method": method, "params": params})
        assert codex.stdout is not None
        for line in codex.stdout:
            message = json.loads(line)
            if message.get("id") == number:
                return message.get("result") or {}
        return {}

    ask(1, "initialize", {"clientInfo": {"name": "ring-mcp", "version": "0"}})
    _send(codex, {"method": "initialized"})
    thread = ask(2, "thread/start", {"cwd": env["HOME"]}).get("thread", {}).get("id")
    picture = {"server": "ring-mcp", "tool": "ring-image-create", "arguments": {"prompt": "a cat on a wall"}}
    result = ask(3, "mcpServer/tool/call", {"threadId": thread, **picture})
    assert result.get("structuredContent", {}).get("success"), result
    yield from (block["text"] for block in result.get("content", []) if block["type"] == "text")


def _send(codex: subprocess.Popen[str], message: Mapping[str, Any]) -> None:
    assert codex.stdin is not None
    codex.stdin.write(json.dumps(message) + "\n")
    codex.stdin.flush()


def run(env: Mapping[str, str], *command: str) -> str:
    done = subprocess.run(
        command,
        env=dict(env),
        cwd=env["HOME"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=CALL_LIMIT_S,
        check=False,
    )
    return done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main())
