"""presets.json against the price map in the newest wheel of litellm: ``uv run python -m tests.registry``.

Nobody looks from outside otherwise: a model that its provider ends, or prices anew, is first seen in such lists. The
wheel is fetched without its dependencies into a folder of its own, and nothing in it is run. Exit status as of
``ring-mcp presets check --against``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = "litellm"
PRICE_MAP = "model_prices_and_context_window_backup.json"


def fetch(folder: Path) -> Path:
    """The price map of the newest wheel, below ``folder``. Raises CalledProcessError, or FileNotFoundError."""
    uv = os.environ.get("UV", "uv")  # set by `uv run`
    where = ["--no-deps", "--no-config", "--only-binary", ":all:", "--target", str(folder)]
    subprocess.run([uv, "pip", "install", "--quiet", "--upgrade", *where, PACKAGE], cwd=folder, check=True)
    found = next(folder.rglob(PRICE_MAP), None)
    if found is None:
        raise FileNotFoundError(f"the wheel of {PACKAGE} has no {PRICE_MAP} any more")
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        price_map = fetch(Path(folder))
        (version,) = (path.name for path in Path(folder).glob(f"{PACKAGE}-*.dist-info"))
        print(f"{version.removesuffix('.dist-info')}:", flush=True)
        check = [sys.executable, "-m", "ring_mcp", "presets", "check", "--against", str(price_map), *sys.argv[1:]]
        sys.exit(subprocess.run(check, check=False).returncode)


if __name__ == "__main__":
    main()
