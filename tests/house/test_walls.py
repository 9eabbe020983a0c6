"""The walls of the house stand: each is broken once, in a copy, and the linter must see it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"

VIOLATIONS = {
    "a call goes down, never up": ("ring_mcp/storage/planted.py", "import ring_mcp.conductors.results"),
    "the engine's steps stand above their record": ("ring_mcp/jobs/record.py", "import ring_mcp.jobs.steps"),
    "only backends.py names concrete adapters": ("ring_mcp/tools/planted.py", "import ring_mcp.storage.s3"),
    "only vendors.py names vendors": ("ring_mcp/plans/planted.py", "import ring_mcp.providers.xai.replies"),
    "backends of a seam do not know each other": ("ring_mcp/storage/s3.py", "import ring_mcp.storage.local"),
    "the sandbox plays a stranger": ("ring_mcp/sandbox/planted.py", "import ring_mcp.errors"),
    "a script is read, compiled and recorded without the machinery": (
        "ring_mcp/scripted/compiler.py",
        "import ring_mcp.ledger.base",
    ),
    "mcp where the protocol is spoken": ("ring_mcp/conductors/planted.py", "import mcp_types"),
    "psycopg in the PostgreSQL ledger alone": ("ring_mcp/planted.py", "import psycopg"),
    "pgqueuer where its tasks are dispatched and its tables are made": ("ring_mcp/jobs/planted.py", "import pgqueuer"),
    "PgQueuer's tasks are the business of its queue and of the PostgreSQL ledger": (
        "ring_mcp/conductors/planted.py",
        "import ring_mcp.ledger.tasks",
    ),
    "obstore in the S3 storage alone": ("ring_mcp/scripted/planted.py", "import obstore"),
    "OpenTelemetry in one module": ("ring_mcp/jobs/planted.py", "import opentelemetry.trace"),
    "httpx2 where connections are made": ("ring_mcp/clock.py", "import httpx2"),
    "jinja2 where pages are rendered": ("ring_mcp/server/planted.py", "import jinja2"),
    "cryptography where cookies are sealed": ("ring_mcp/web/planted.py", "import cryptography.fernet"),
    "av where clips are opened": ("ring_mcp/jobs/planted.py", "import av"),
    "native decoders are asked, never called": ("ring_mcp/jobs/storing.py", "import ring_mcp.media.pictures"),
    "Pillow where pictures are opened": ("ring_mcp/plans/planted.py", "import PIL.Image"),
}
"""For each wall a module, new or old, and the line that may not stand in it."""


def test_every_wall_has_a_violation_planted() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert {contract["name"] for contract in contracts} == set(VIOLATIONS)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the linter says of a copy in which every line stands."""
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "ring_mcp", copy / "ring_mcp", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    for name, line in VIOLATIONS.values():
        with (copy / name).open("a") as module:
            module.write(f"\n{line}\n")
    done = subprocess.run(
        [sys.executable, "-c", LINT], cwd=copy, capture_output=True, text=True, timeout=120, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("wall", VIOLATIONS)
def test_a_planted_violation_breaks_its_wall(wall: str, report: str) -> None:
    """Each under the name of its own wall, by the very line: what else is broken there proves nothing."""
    name, line = VIOLATIONS[wall]
    importer = name.removesuffix(".py").replace("/", ".")
    [found] = re.findall(rf"^{re.escape(wall)}\n-+\n(.*?)(?:\n\n\n|\Z)", report, re.MULTILINE | re.DOTALL) or [report]
    arrows = re.findall(rf"^- +{re.escape(importer)} -> (\S+) \(l\.\d+\)$", found, re.MULTILINE)
    imported = line.removeprefix("import ")
    assert [arrow for arrow in arrows if f"{imported}.".startswith(f"{arrow}.")], found
