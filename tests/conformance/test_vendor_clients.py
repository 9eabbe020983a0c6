"""The vendors' own clients for JavaScript, from npm, against the sandbox."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conformance.__main__ import install, vendor_clients


@pytest.mark.conformance
def test_the_clients_of_xai_and_google_work_against_the_sandbox(tmp_path: Path) -> None:
    npm = shutil.which("npm")
    assert npm is not None, "these come from npm"
    install(npm)
    assert vendor_clients(tmp_path)
