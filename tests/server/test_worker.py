"""`ring-mcp worker`, and a server that leaves jobs to workers: what they say where nobody would drive."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.one_now import one_now

LIMIT_S = 120.0


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    one_now(
        [
            (["worker"], {}, "DATABASE_URL: a worker needs it"),
            (
                ["serve", "--port", "0"],
                {"RING_DRIVE": "off"},
                "RING_DRIVE: off needs DATABASE_URL, and workers beside it",
            ),
            (
                ["worker", "--metrics-port", "0", "--metrics-host", "0.0.0.0"],
                {"DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none"},
                "RING_METRICS_TOKEN: of 16 characters or more is needed to listen on 0.0.0.0",
            ),
            (["worker", "--concurrency", "0"], {}, "Invalid value for '--concurrency'"),
        ]
    ),
)
def test_a_process_that_makes_no_sense_does_not_start(
    arguments: list[str], environment: dict[str, str], said: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ring_mcp", *arguments],
        env={**os.environ, "RING_STATE_DIR": str(tmp_path), **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""
