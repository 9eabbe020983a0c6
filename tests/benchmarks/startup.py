"""From spawn to the first answers, as clients ask for them, and to the first result of a tool.

Two sequences: ``discover``, as Claude Code begins (``server/discover``, then three lists at once), and ``initialize``,
as all others do (``initialize``, then ``tools/list``). Beside the installed ``ring-mcp``: ``python -c pass``, a bare
server of the same SDK, and one of the official TypeScript SDK where npm is at hand.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.measuring import BARE, INITIALIZE, Pipe, Series, folder, show, title
from tests.server.wire import environment

SCRIPT = str(Path(sys.executable).with_name("ring-mcp"))
RING, NORMAL = [SCRIPT], [SCRIPT, "--no-fast-start"]
TYPESCRIPT = "@modelcontextprotocol/sdk@1.32.2"

_META = {
    "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "benchmark", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
}
_LISTS = ("prompts/list", "resources/list", "tools/list")


def run(rounds: int) -> None:
    title(f"startup: spawn to the first answers, {rounds} times each, interleaved, in milliseconds")
    with folder() as home:
        servers: dict[str, Sequence[str]] = {"ring-mcp": RING, "ring-mcp --no-fast-start": NORMAL, "bare server": BARE}
        node = _install_typescript(home)
        if node is None:
            print("  (the TypeScript server is left out: no npm, or it could not fetch the SDK)")
        else:
            servers["TypeScript server"] = node
        nothing = Series("python -c pass")
        figures: dict[str, Series] = {}

        def add(name: str, value_ms: float, *, counts: bool) -> None:
            if counts:
                figures.setdefault(name, Series(name)).values_ms.append(value_ms)

        for turn in range(-2, rounds):  # the first two warm the disk, make the ledger and the recordings
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", "pass"], check=True, env=environment(home), cwd=home)
            if turn >= 0:
                nothing.values_ms.append((time.perf_counter() - started) * 1000)
            for name, command in servers.items():
                for era in ("initialize", "discover"):
                    if era == "discover" and name in ("bare server", "TypeScript server"):
                        continue  # the one has no prompts, the other not this era
                    for what, value_ms in start_once(command, home, era).items():
                        add(f"{name}: {what}", value_ms, counts=turn >= 0)
    show([nothing, *figures.values()])
    base_ms, bare_ms = nothing.median_ms, figures["bare server: first tool result"].median_ms
    for name, series in figures.items():
        of_bare = f", {series.median_ms / bare_ms:.2f} x the bare server's" if name.endswith("result") else ""
        least = min(series.values_ms) / min(nothing.values_ms)  # on a machine under load it says more than the median
        print(f"  {name:<56}{series.median_ms / base_ms:6.1f} x python -c pass, least {least:.1f} x{of_bare}")
    print("  (goals: first answer 2.0 x, with the lists 2.5 x, both before the TypeScript server's; a result 1.05 x)")


def start_once(command: Sequence[str], home: Path, era: str) -> dict[str, float]:
    """Milliseconds from spawn to the first answer, to the last list, and to the first result of a tool."""
    started = time.perf_counter()
    seen: dict[str, float] = {}

    def stop(what: str) -> None:
        seen[what] = (time.perf_counter() - started) * 1000

    with Pipe(command, environment(home, XAI_API_KEY="no key is used"), home) as server:
        if era == "initialize":
            server.request("initialize", INITIALIZE)
            stop("initialize")
            server.notify("notifications/initialized")
            names = [tool["name"] for tool in server.request("tools/list", {})["tools"]]
            stop("initialize, tools/list")
            tool = "ring-whoami" if "ring-whoami" in names else names[0]
            server.call(tool, {})
            stop("first tool result")
        else:
            server.request("server/discover", _META)
            stop("server/discover")
            server.request_all([(method, _META) for method in _LISTS])
            stop("server/discover, three lists")
    return seen


def _install_typescript(folder: Path) -> list[str] | None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        return None
    (folder / "package.json").write_text(json.dumps({"type": "module"}))
    quiet = ("--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error")
    done = subprocess.run([npm, "install", *quiet, TYPESCRIPT], cwd=folder, check=False, timeout=300)
    if done.returncode:
        return None
    script = folder / "server.mjs"
    shutil.copy(Path(__file__).with_name("server.mjs"), script)
    return [node, str(script)]
