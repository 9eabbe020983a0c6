"""A person who has never used any of the agents, and whose server is the sandbox's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.conformance.__main__ import CALL_LIMIT_S, TOKEN

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
RING = [sys.executable, "-m", "ring_mcp"]


def environment(home: Path, **variables: str) -> dict[str, str]:
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
