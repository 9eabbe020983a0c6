"""The benchmarks run: what they print is looked at by people, never judged here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.wire import LIMIT_S, environment

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_the_dearest_comparison_prints_its_figures(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "picture", "--rounds", "2"],
        env=environment(tmp_path),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * LIMIT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for figure in ("bare HTTP", "ring-image-create, with preview", "synced commit", "ms more"):
        assert figure in done.stdout
