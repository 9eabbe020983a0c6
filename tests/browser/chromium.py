"""Where the Chromium of these tests is, and what drives and judges pages in it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock

from tests.conformance.__main__ import install

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
SHOTS = HERE / "shots"


def find_chromium(packages: Path | None = None) -> str:
    """The path of a Chromium; what package.json of the folder ``packages`` names is installed from npm.

    Its absence, and that of npm, skips the test, but for CI.
    """
    named = os.environ.get("RING_TEST_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    npm = shutil.which("npm")
    if found is None or npm is None:
        missing = "Chromium" if found is None else "npm"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{missing} is not installed")
        pytest.skip(f"{missing} is not installed")
    # Several workers of pytest come here at once.
    with FileLock(Path(tempfile.gettempdir()) / f"ring-mcp-npm-{os.getuid()}.lock", timeout=600):
        if packages is None:
            install(npm)
        else:
            install(npm, packages)
    return found
