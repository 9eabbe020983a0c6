"""The product with a third vendor, as a contributor makes it: two folders, a line in the list, rows in presets.json."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.server.wire import LIMIT_S, environment, eventually

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent / "acme"


@pytest.fixture(scope="package")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree that differs from this one in just these four places."""
    copy = tmp_path_factory.mktemp("product")
    shutil.copytree(ROOT / "ring_mcp", copy / "ring_mcp")  # with what is compiled, which is the same there
    shutil.copytree(ROOT / "sql", copy / "sql")
    shutil.copytree(ROOT / "icons", copy / "icons")
    for part, seam in {"vendor.py": "providers", "service.py": "sandbox"}.items():
        folder = copy / "ring_mcp" / seam / "acme"
        folder.mkdir()
        shutil.copy(FOLDER / part, folder / part)
    vendors = copy / "ring_mcp/providers/vendors.py"
    text, last = vendors.read_text(), "    GOOGLE,\n)"
    assert text.count(last) == 1
    text = text.replace(last, "    GOOGLE,\n    ACME,\n)")
    vendors.write_text(text.replace("\nVENDORS:", "\nfrom ring_mcp.providers.acme.vendor import ACME\n\nVENDORS:", 1))
    rows = json.loads((FOLDER / "presets.json").read_text())
    write_presets(copy, merged(json.loads((ROOT / "presets.json").read_text()), rows))
    return copy


def merged(table: dict[str, Any], rows: dict[str, Any]) -> dict[str, Any]:
    return {**table, **{key: merged(table[key], row) if key in table else row for key, row in rows.items()}}


def write_presets(product: Path, presets: dict[str, Any]) -> None:
    (product / "presets.json").write_text(json.dumps(presets))


@dataclass(frozen=True)
class Acme:
    """The running service, seen from behind. ``settings`` are the variables that lead to it."""

    sandbox_url: str
    settings: dict[str, str]

    @property
    def prompts(self) -> list[str]:
        """What was paid for, in order."""
        books = httpx2.get(f"{self.sandbox_url}/control/books", timeout=LIMIT_S, trust_env=False, verify=False).json()
        return [charge["prompt"] for charge in books["charges"]]


@pytest.fixture(scope="package")
def sandbox_of_acme(product: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Acme]:
    """``ring-mcp sandbox`` of that product."""
    folder = tmp_path_factory.mktemp("sandbox")
    process = subprocess.Popen(
        [sys.executable, "-m", "ring_mcp", "sandbox", "--port", "0"],
        env=environment(folder, PYTHONPATH=str(product)),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    said: list[str] = []

    def read() -> None:
        assert process.stdout is not None
        said.extend(iter(process.stdout.readline, ""))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        [url] = eventually("the sandbox", lambda: re.findall(r"^ring-mcp .* RING_SANDBOX=(\S+)\n", "".join(said), re.M))
        settings = dict(re.findall(r"^(ACME_\w+)=(\S+)$", "".join(said), re.M))
        yield Acme(url, settings)
    finally:
        process.terminate()
        process.wait(LIMIT_S)
        reader.join(LIMIT_S)
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def acme(sandbox_of_acme: Acme) -> Acme:
    """With empty books."""
    httpx2.post(
        f"{sandbox_of_acme.sandbox_url}/control/reset", timeout=LIMIT_S, trust_env=False, verify=False
    ).raise_for_status()
    return sandbox_of_acme


@pytest.fixture
def env(product: Path, acme: Acme, tmp_path: Path) -> dict[str, str]:
    """What a process of that product gets to see: the service is real to it."""
    return environment(tmp_path, PYTHONPATH=str(product), VIDEO_GEN_POLL_INTERVAL_MS="50", **acme.settings)
