"""Outside judges: the official MCP conformance suite and the MCP Inspector, against this server; and the clients of
xAI and Google for JavaScript, against the sandbox.

    uv run python -m tests.conformance

They come from npm into ``node_modules`` beside this file (which git ignores), with the Node that they need. A machine
without npm prints a line and skips them; with CI=true that is a failure.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ring_mcp.sandbox.server import SandboxServer

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MODULES = HERE / "node_modules"
VERSIONS = ("2025-11-25", "2026-07-28")
TOKEN = "conformance-token"
INSTALL_LIMIT_S, SUITE_LIMIT_S, CALL_LIMIT_S, START_LIMIT_S = 600, 300, 120, 60

TASK_SCENARIOS = tuple(
    f"tasks-{name}"
    for name in (
        *("lifecycle", "capability-negotiation", "wire-fields", "request-state-removal", "request-headers"),
        *("dispatch-and-envelope", "required-task-error", "mrtr-composition"),
    )
)
"""All but two. tasks-mrtr-input wants tasks that wait for an answer: ours ask before there is a task, as SEP-2663
recommends. tasks-status-notifications is empty so far."""

OK, TOOL_FAILED, AUTH_REQUIRED = 0, 5, 3
"""Exit statuses of the Inspector."""


def main() -> int:
    npm = shutil.which("npm")
    if npm is None:
        print("conformance: npm is not installed, so the outside judges are skipped")
        return 1 if os.environ.get("CI") == "true" else 0
    install(npm)
    with tempfile.TemporaryDirectory(prefix="ring-conformance-") as name:
        folder = Path(name)
        verdicts = [suite(version, folder) for version in VERSIONS]
        verdicts += judge_tasks(folder)
        verdicts += inspect(folder)
        verdicts.append(vendor_clients(folder))
    failed = [verdict for verdict in verdicts if not verdict]
    print(f"conformance: {'FAILED' if failed else 'passed'}")
    return 1 if failed else 0


def install(npm: str, folder: Path = HERE) -> None:
    """Nothing, if the exact versions of the folder's package.json are there already."""
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    if all(installed(folder, name) == version for name, version in wanted.items()):
        return
    print("conformance: installing " + ", ".join(f"{name} {version}" for name, version in wanted.items()), flush=True)
    quiet = ("--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error")
    subprocess.run([npm, "install", *quiet], cwd=folder, check=True, timeout=INSTALL_LIMIT_S)


def installed(folder: Path, name: str) -> str | None:
    try:
        return str(json.loads((folder / "node_modules" / name / "package.json").read_text())["version"])
    except OSError:
        return None


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """Nothing of the person's own settings; our Node before theirs."""
    path = os.pathsep.join([str(MODULES / "node" / "bin"), str(MODULES / ".bin"), os.environ["PATH"]])
    return {
        "PATH": path,
        "HOME": str(folder),
        "RING_STATE_DIR": str(folder / "state"),
        "RING_SANDBOX": "1",
        **variables,
    }


@contextlib.contextmanager
def serving(env: Mapping[str, str], *arguments: str) -> Iterator[str]:
    """A Python process that prints its address; ends with the ``with``."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=dict(env),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        until = time.monotonic() + START_LIMIT_S
        while (found := re.search(r"http://[0-9.:]+[0-9]", line := process.stdout.readline())) is None:
            if not line or time.monotonic() > until:
                raise RuntimeError("the server did not start")
        yield found[0]
    finally:
        process.terminate()
        process.communicate(timeout=START_LIMIT_S)


def suite(version: str, folder: Path) -> bool:
    """Every scenario that applies to this version of the protocol."""
    env = environment(folder / version, RING_MAX_CALLS_PER_MINUTE="100000")
    baseline = HERE / f"expected_failures_{version}.yml"
    with serving(env, "-m", "tests.conformance.fixture_server") as url:
        judged = subprocess.run(
            [
                *("conformance", "server", "--url", f"{url}/mcp", "--suite", "all", "--spec-version", version),
                *("--expected-failures", str(baseline), "--output-dir", str(folder / f"results-{version}")),
            ],
            env=env,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=SUITE_LIMIT_S,
            check=False,
        )
    totals = re.findall(r"Total: .*", judged.stdout)
    print(f"conformance {version}: {totals[-1] if totals else 'no result'}", flush=True)
    if judged.returncode:
        print(judged.stdout.partition("=== SUMMARY ===")[2] or judged.stdout[-4000:], judged.stderr[-2000:])
    return judged.returncode == 0


def judge_tasks(folder: Path) -> list[bool]:
    """The scenarios of the extension, which belong to no version, so that no suite has them."""
    env = environment(folder / "tasks", RING_MAX_CALLS_PER_MINUTE="100000")
    with serving(env, "-m", "tests.conformance.fixture_server") as url:
        return [judge_scenario(name, url, env, folder) for name in TASK_SCENARIOS]


def judge_scenario(name: str, url: str, env: Mapping[str, str], folder: Path) -> bool:
    judged = subprocess.run(
        ["conformance", "server", "--url", f"{url}/mcp", "--scenario", name, "--spec-version", VERSIONS[-1], "--force"],
        env=dict(env),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SUITE_LIMIT_S,
        check=False,
    )
    totals = re.findall(r"Passed: .*", judged.stdout)
    print(f"conformance {name}: {totals[-1] if totals else 'no result'}", flush=True)
    if judged.returncode:
        print(judged.stdout.partition("=== Failed Checks ===")[2] or judged.stdout[-4000:], judged.stderr[-2000:])
    return judged.returncode == 0 and bool(totals)


@dataclass(frozen=True)
class Call:
    """One run of the Inspector, and how it should exit."""

    name: str
    arguments: Sequence[str]
    status: int = OK
    says: str = ""


def inspect(folder: Path) -> list[bool]:
    """The Inspector over the three transports, with its checks of schemas switched to strict."""
    env = environment(folder / "inspector")
    tokens = environment(folder / "served", RING_MCP_SERVICE_TOKENS=TOKEN)
    stdio = [sys.executable, "-m", "ring_mcp", "--sandbox"]  # it hands its environment on in part only
    with serving(tokens, "-m", "ring_mcp", "serve", "--port", "0") as url, ThreadPoolExecutor(2) as pool:
        header = ["--header", f"Authorization: Bearer {TOKEN}"]
        http, sse = [f"{url}/mcp", "--transport", "http"], [f"{url}/sse", "--transport", "sse"]
        calls = [
            *(
                call
                for name, target in (("stdio", stdio), ("http", http + header), ("sse", sse + header))
                for call in (
                    Call(
                        f"{name} tools/list", [*target, "--method", "tools/list", "--strict"], says="ring-video-create"
                    ),
                    Call(f"{name} ring-health", called(target, "ring-health"), says="ring-mcp-gateway"),
                    Call(f"{name} a picture", called(target, "ring-image-create", "prompt=cat"), says="SANDBOX"),
                    Call(f"{name} bad", called(target, "ring-image-create", "prompt=x", "n=99"), TOOL_FAILED, "n must"),
                    Call(f"{name} resources", [*target, "--method", "resources/list"], says="ring://presets"),
                )
            ),
            *(
                Call(f"{name} 2026-07-28", [*target, "--method", "tools/list", "--strict", "--protocol-era", "modern"])
                for name, target in (("stdio", stdio), ("http", http + header))
            ),
            Call("http without token", [*http, "--method", "tools/list"], AUTH_REQUIRED),
            Call("sse without token", [*sse, "--method", "tools/list"], AUTH_REQUIRED),
        ]
        return list(pool.map(lambda call: run(call, env), calls))


def vendor_clients(folder: Path) -> bool:
    """The clients of xAI and Google, unchanged but for address and key."""
    with SandboxServer() as sandbox:
        judged = subprocess.run(
            ["node", str(HERE / "vendor_clients.mjs"), sandbox.url],
            env=environment(folder),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=SUITE_LIMIT_S,
            check=False,
        )
    print(judged.stdout + judged.stderr[-2000:], end="", flush=True)
    return judged.returncode == 0


def called(target: Sequence[str], tool: str, *arguments: str) -> list[str]:
    more = ["--tool-arg", *arguments] if arguments else []
    return [*target, "--method", "tools/call", "--tool-name", tool, *more]


def run(call: Call, env: Mapping[str, str]) -> bool:
    judged = subprocess.run(
        ["mcp-inspector", "--cli", *call.arguments],
        env=dict(env),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=CALL_LIMIT_S,
        check=False,
    )
    good = judged.returncode == call.status and call.says in judged.stdout + judged.stderr
    print(f"inspector {call.name}: {'ok' if good else f'exit {judged.returncode}, not {call.status}'}", flush=True)
    if not good:
        print(judged.stdout[-1500:], judged.stderr[-1500:])
    return good


if __name__ == "__main__":
    sys.exit(main())
