"""The bundle for clients that install by a click: ``uv run python packaging/build_bundle.py FOLDER`` writes it there.

The official packer makes it (npm); inside are the package with its data, and what `uv` needs to install the rest.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKER = "@anthropic-ai/mcpb@2.1.2"
FILES = ("pyproject.toml", "README.md", "LICENSE", "presets.json")
FOLDERS = ("ring_mcp", "sql", "icons")


def build_bundle(folder: Path) -> Path:
    """Stage the files, have the packer check the manifest and pack them. Raises CalledProcessError."""
    bundle = folder.resolve() / "ring-mcp.mcpb"
    with tempfile.TemporaryDirectory() as name:
        stage = Path(name)
        for file in FILES:
            shutil.copy(ROOT / file, stage)
        for each in FOLDERS:
            shutil.copytree(ROOT / each, stage / each, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "packaging" / "mcpb" / "manifest.json", stage)
        shutil.copy(ROOT / "icons" / "ring-mcp.png", stage / "icon.png")
        for arguments in (["validate", str(stage / "manifest.json")], ["pack", str(stage), str(bundle)]):
            subprocess.run(["npx", "--yes", PACKER, *arguments], check=True, timeout=600)  # noqa: S603, S607
    return bundle


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "dist")
    target.mkdir(parents=True, exist_ok=True)
    build_bundle(target)
