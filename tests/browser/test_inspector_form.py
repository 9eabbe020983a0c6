"""The web form of the MCP Inspector, in a real Chromium: it fills and runs every tool as it stands.

    uv run pytest -m browser

The Inspector, its Node and what drives the browser come from npm, as for tests.conformance, into the same folder.
Chromium is the system's (``apt-get install chromium``; ``RING_TEST_CHROMIUM`` names another). Without either the test
is skipped; with CI=true that is a failure. What a page looked like when it failed is left in ``tests/browser/shots``,
which git ignores.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.browser.chromium import find_chromium
from tests.conformance.__main__ import MODULES, environment

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SHOTS = HERE / "shots" / "inspector"
LIMIT_S = 150.0

SCRIPT = {
    "schemaVersion": "1.0",
    "requestId": "harbour",
    "clips": [{"id": "one", "duration": 3, "scene": {"action": "A boat leaves.", "camera": "slow dolly in"}}],
}
STEPS: list[dict[str, Any]] = [
    {"tool": "ring-health"},
    {"tool": "ring-image-create", "fill": {"prompt": "a lighthouse at dusk"}},
    {"tool": "ring-job-get", "fill": {"jobId": "$job"}},
    {"tool": "ring-image-create", "fill": {"prompt": "a gull"}, "pick": {"aspectRatio": "16:9", "preview": "none"}},
    {"tool": "ring-video-create", "fill": {"prompt": "a boat turns into the wind"}},
    {
        "tool": "ring-video-create", "fill": {"prompt": "a buoy"}, "pick": {"qualityMode": "production"},
        "check": ["dryRun"],
    },
    {"tool": "ring-script-run", "json": {"request": SCRIPT}},
    {"tool": "ring-job-list"},
]  # fmt: skip


@pytest.fixture(scope="module")
def chromium() -> str:
    return find_chromium()


@contextlib.contextmanager
def inspector(folder: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The page's address while the Inspector runs on a free port, and the environment for a program beside it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    env = environment(
        folder,
        CLIENT_PORT=str(port),
        MCP_SANDBOX_PORT="0",
        MCP_AUTO_OPEN_ENABLED="false",
        MCP_INSPECTOR_SECRET_STORE="memory",
        RING_TEST_MODULES=str(MODULES),
    )
    server = [sys.executable, "-m", "ring_mcp", "--sandbox"]
    process = subprocess.Popen(
        ["mcp-inspector", "--web", "-e", f"RING_STATE_DIR={folder / 'state'}", "--", *server],
        env=env,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    limit = threading.Timer(2 * LIMIT_S, process.kill)  # its reader below ends with it
    limit.start()
    assert process.stdout is not None
    rest = threading.Thread(target=process.stdout.read, daemon=True)
    try:
        said = ""
        for line in process.stdout:
            said += line
            if found := re.search(r"http://127\.0\.0\.1:\d+\S*TOKEN=\w+", line):
                break
        else:
            pytest.fail(f"the Inspector did not start: {said[-2000:]}")
        rest.start()
        yield found[0], env
    finally:
        limit.cancel()
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        if rest.is_alive():
            rest.join(10)
        process.stdout.close()


@pytest.mark.browser
def test_the_inspectors_form_runs_every_tool_with_its_defaults(chromium: str, tmp_path: Path) -> None:
    shutil.rmtree(SHOTS, ignore_errors=True)
    SHOTS.mkdir(parents=True)
    with inspector(tmp_path) as (url, env):
        given = {"url": url, "chromium": chromium, "shots": str(SHOTS), "steps": STEPS}
        done = subprocess.run(
            ["node", str(HERE / "inspector_form.mjs")],
            input=json.dumps(given),
            env=dict(env),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, ""), f"see {SHOTS.relative_to(ROOT)}; {answers[-1:]}"
    SHOTS.rmdir()
    said = [answer["answer"].partition("Results")[2] for answer in answers]
    assert [answer["tool"] for answer in answers] == [step["tool"] for step in STEPS]
    assert "status: ok" in said[0]
    assert "2048x2048" in said[1]
    assert said[2].split()[:1] == said[1].split()[:1], "the same picture, by the short id"
    assert [answer["image"] for answer in answers] == [False, True, True, False, True, False, False, False]
    assert "854x480, 6 s, draft" in said[4]
    assert "DRY RUN" in said[5]
    assert "production" in said[5]
    assert "1 clip of harbour" in said[6]
    assert said[7].count(" done ") + said[7].count(" rendering ") + said[7].count(" submitting ") >= 3
    assert all("Error" not in each and 'success": false' not in each for each in said)
