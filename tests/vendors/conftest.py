"""The product with a third vendor, as a contributor makes it: a folder, a line in the list, rows in presets.json."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.wire import environment
from tests.vendors.acme_service import KEY, Acme, acme_service

ROOT = Path(__file__).parents[2]
ACME = Path(__file__).parent / "acme"


@pytest.fixture(scope="package")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree that differs from this one in just these three places."""
    copy = tmp_path_factory.mktemp("product")
    shutil.copytree(ROOT / "ring_mcp", copy / "ring_mcp", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "sql", copy / "sql")
    (copy / "ring_mcp/providers/acme").mkdir()
    shutil.copy(ACME / "vendor.py", copy / "ring_mcp/providers/acme/vendor.py")
    listed = copy / "ring_mcp/providers/vendors.py"
    text, last = listed.read_text(), "    GOOGLE,\n)"
    assert text.count(last) == 1
    text = text.replace(last, "    GOOGLE,\n    ACME,\n)")
    listed.write_text(text.replace("\nVENDORS:", "\nfrom ring_mcp.providers.acme.vendor import ACME\n\nVENDORS:", 1))
    rows = json.loads((ACME / "presets.json").read_text())
    write_presets(copy, merged(json.loads((ROOT / "presets.json").read_text()), rows))
    return copy


def merged(table: dict[str, Any], rows: dict[str, Any]) -> dict[str, Any]:
    return {**table, **{k: merged(table[k], v) if k in table else v for k, v in rows.items()}}


def write_presets(product: Path, presets: dict[str, Any]) -> None:
    (product / "presets.json").write_text(json.dumps(presets))


@pytest.fixture
def acme() -> Iterator[Acme]:
    with acme_service() as running:
        yield running


@pytest.fixture
def env(product: Path, acme: Acme, tmp_path: Path) -> dict[str, str]:
    """What a process of that product gets to see."""
    return environment(
        tmp_path,
        PYTHONPATH=str(product),
        ACME_API_BASE_URL=acme.url,
        ACME_API_KEY=KEY,
        VIDEO_GEN_POLL_INTERVAL_MS="50",
    )
