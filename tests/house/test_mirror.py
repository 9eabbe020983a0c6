"""Where money and results are decided, every module has a test beside it, in the folder of the same name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WINGS = ("conductors", "jobs", "ledger", "plans")
CONTRACTS = {
    "ring_mcp.jobs.queue.base": "tests/contracts/test_queue.py",
    "ring_mcp.ledger.base": "tests/contracts/test_ledger.py",
    "ring_mcp.ledger.claims": "tests/contracts/test_ledger_accounts.py",
    "ring_mcp.ledger.opening": "tests/contracts/test_ledger_stills.py",
    "ring_mcp.ledger.statements": "tests/contracts/test_ledger.py",
    "ring_mcp.ledger.transactional": "tests/contracts/test_ledger.py",
    "ring_mcp.ledger.transactions": "tests/contracts/test_ledger.py",
}
"""Modules that a suite over every backend tests."""

WHOLE = {
    "ring_mcp.conductors.conductor": "tests/conductors/test_images.py",
    "ring_mcp.conductors.image": "tests/conductors/test_images.py",
    "ring_mcp.conductors.video": "tests/conductors/test_videos.py",
    "ring_mcp.ledger.postgres_session": "tests/ledger/test_postgres_session.py",
}
"""Modules that are tested through the product, and so are not imported by their tests."""


def modules() -> list[str]:
    found = (path for wing in WINGS for path in (ROOT / "ring_mcp" / wing).rglob("*.py") if path.stem != "__init__")
    return sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in found)


def imported_by(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    if "tests.jobs.engine" in found:  # which is made of the modules that it wires
        found |= imported_by(ROOT / "tests" / "jobs" / "engine.py")
    return found


@pytest.mark.parametrize("module", [name for name in modules() if name not in CONTRACTS | WHOLE])
def test_a_module_is_imported_by_a_test_of_its_name(module: str) -> None:
    _, wing, *_, stem = module.split(".")
    beside = sorted((ROOT / "tests" / wing).glob(f"test_{stem}*.py"))
    assert [path.name for path in beside if module in imported_by(path)], f"tests/{wing} has no test_{stem}*.py"


@pytest.mark.parametrize(("module", "test"), (CONTRACTS | WHOLE).items())
def test_a_module_tested_elsewhere_is_there_with_its_test(module: str, test: str) -> None:
    assert module in modules()
    assert (ROOT / test).exists()
