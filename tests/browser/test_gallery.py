"""The gallery in a real Chromium: what it shows, what it obeys, what it loads, and what axe-core says of it.

    uv run pytest -m browser tests/browser/test_gallery.py

axe-core and what drives the browser come from npm into this folder, which git ignores; see ``test_inspector_form``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from ring_mcp.sandbox.server import SandboxServer
from tests.browser import chromium as browser
from tests.browser.chromium import HERE, MODULES, find_chromium
from tests.http.http_reach import ALICE, API, TOKENS, HttpRing, environment

SHOTS = browser.SHOTS / "gallery"
LIMIT_S = 400.0
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>\"' onfocus=alert(3) autofocus {{ 7 * 7 }} </pre></title>"
    "<svg onload=alert(4)>\u202ereversed\u202c " + "w" * 300
)


@pytest.fixture(scope="module")
def chromium() -> str:
    return find_chromium(HERE)


@pytest.mark.browser
def test_the_gallery_is_what_a_person_would_want(chromium: str, sandbox: SandboxServer, tmp_path: Path) -> None:
    shutil.rmtree(SHOTS, ignore_errors=True)
    SHOTS.mkdir(parents=True)
    env = environment(
        tmp_path,
        RING_SANDBOX=sandbox.url,
        RING_MCP_SERVICE_TOKENS=TOKENS,
        RING_MAX_USD_PER_DAY="20",
        RING_MAX_CALLS_PER_MINUTE="100000",
        VIDEO_GEN_POLL_INTERVAL_MS="100",
    )
    with HttpRing(env, tmp_path) as ring:
        hostile = ring.create(prompt=HOSTILE)["jobId"]
        for number in range(52):
            ring.create(prompt=f"a small picture, number {number}", resolution="1k")
        thumbnail = {"enabled": True, "overlays": [{"text": "News", "role": "title"}]}
        arguments = {"prompt": "a buoy", "firstFramePrompt": "a red buoy", "thumbnail": thumbnail}
        done = ring.post(f"{API}/videos/generate", arguments).json()["data"]["jobId"]
        given = {"url": ring.url, "token": ALICE, "chromium": chromium, "shots": str(SHOTS)}
        seen = look(ring, sandbox, tmp_path, {**given, "jobs": {"done": done, "hostile": hostile}})
    judged = {name: found for name, found in seen.items() if name.startswith("axe ")}
    assert len(judged) == 20
    assert {name: found for name, found in judged.items() if found} == {}
    assert {name: over for name, over in seen.items() if name.startswith("wide ") and over > 0} == {}
    scroll = seen["scroll"]
    assert (scroll["all"], scroll["distinct"]) == (55, 55)
    assert scroll["headings"] == scroll["days"], "a day that goes on has one heading"
    assert (seen["slash"], seen["arrows"]) == ("kind", [5, 1])
    assert seen["copied"]["arguments"]["prompt"] == HOSTILE
    assert seen["shown"].startswith("<script>alert(1)</script>")
    assert (seen["live"]["progress"], seen["ended"]["progress"]) == (1, 0)
    assert seen["plain"] == {"plain": 24, "media": 1}
    assert seen["log out"] == 1
    assert (seen["troubles"], seen["foreign"]) == ([], [])


def look(ring: HttpRing, sandbox: SandboxServer, folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    """What the script saw, by name. When it is ready for a clip under way, one is asked for."""
    process = subprocess.Popen(
        ["node", str(HERE / "gallery.mjs")],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "RING_TEST_MODULES": str(MODULES)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    limit = threading.Timer(LIMIT_S, process.kill)
    limit.start()
    seen: dict[str, Any] = {}
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        process.stdin.write(json.dumps(given))
        process.stdin.close()
        for line in process.stdout:
            told = json.loads(line)
            seen[told["name"]] = told["seen"]
            if told["name"] == "ready":
                sandbox.state.configure(render_s=600.0)
                ring.post(f"{API}/videos/generate?waitSeconds=0", {"prompt": "a clip to be followed"})
            if told["name"] == "live":
                sandbox.state.configure(render_s=0.0)
        said = process.stderr.read()
        assert (process.wait(LIMIT_S), said) == (0, ""), f"see {SHOTS}; {seen.get('troubles')}"
    finally:
        limit.cancel()
        process.kill()
        process.wait(60)
        process.stdout.close()
        process.stderr.close()
    SHOTS.rmdir()
    return seen
